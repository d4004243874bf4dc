"""A depthwise convolution with the norms and activations around it, as one step of a graph.

:mod:`zoo.network.fast.native` computes it. Of what stands before and after the convolution, nothing
between is written to memory but what the norm after it is given.

Shapes: B batch, C channels, H W rows and columns of the input, K L those of the filter, P Q those
of the output. Padding is (left, right, top, bottom).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.network.fast.depthwise_shapes import Padding, Pair, axes
from zoo.network.fast.native.kernels import ACTIVATIONS, Kernels, Layer, Norm

__all__ = ["depthwise_block"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Around:
    """What is around a convolution; see :func:`depthwise_block`."""

    stride: Pair
    padding: Padding
    before: type[nn.Module] | None
    after: type[nn.Module] | None
    norm_before: nn.BatchNorm2d | None
    norm_after: nn.BatchNorm2d | None


def depthwise_block(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair,
    padding: Padding,
    before: type[nn.Module] | None,
    after: type[nn.Module] | None,
    norm_before: nn.BatchNorm2d | None = None,
    norm_after: nn.BatchNorm2d | None = None,
    kernels: Kernels,
) -> Tensor:
    """Returns the output of two norms and activations around a convolution, in channels_last.

    It is ``after(norm_after(conv2d(before(norm_before(x)), weight, bias, groups=C)))``, of shape
    (B, C, P, Q). Output and derivatives are those of the five operations, in float32; the first
    derivatives are the same to the bit in each run with as many threads.

    Args:
        x: Input, (B, C, H, W), float32 on the CPU.
        weight: Filters, (C, 1, K, L).
        bias: (C,), or None.
        stride: Of rows and columns.
        padding: Each less than the filter is long.
        before: Class of the activation before the convolution, one of
            :data:`~zoo.network.fast.native.kernels.ACTIVATIONS`.
        after: That of the one after it.
        norm_before: A norm that trains, before the activation. It has a gain and a shift and a
            momentum, and more than one value of each channel; its running statistics and its
            count of batches are brought up to date.
        norm_after: The like, between convolution and activation.
        kernels: The compiled library.
    """
    around = _Around(
        stride=stride, padding=padding, before=before, after=after, norm_before=norm_before,
        norm_after=norm_after,
    )  # fmt: skip
    norms = (
        one for norm in (norm_before, norm_after)
        for one in ((None, None) if norm is None else (norm.weight, norm.bias))
    )  # fmt: skip
    output: Tensor = _Block.apply(x, weight, bias, *norms, around, kernels)
    return output


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gain_before: Tensor | None,
        shift_before: Tensor | None, gain_after: Tensor | None, shift_after: Tensor | None,
        around: _Around, kernels: Kernels,
    ) -> Tensor:  # fmt: skip
        layer = _layer_of(
            x.shape, weight.shape, around.stride, around.padding,
            ACTIVATIONS[around.before], ACTIVATIONS[around.after], torch.get_num_threads(),
        )  # fmt: skip
        norms = {
            "before": _training(around.norm_before, gain_before, shift_before),
            "after": _training(around.norm_after, gain_after, shift_after),
        }
        output, kept = kernels.forward(
            layer, x.contiguous(memory_format=torch.channels_last), weight.contiguous(),
            None if bias is None else bias.contiguous(), **norms,
        )  # fmt: skip
        ctx.save_for_backward(
            x, weight, bias, gain_before, shift_before, gain_after, shift_after, kept
        )
        ctx.layer, ctx.kernels, ctx.around, ctx.norms = layer, kernels, around, norms
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        *given, kept = ctx.saved_tensors
        needed = ctx.needs_input_grad[: len(given)]
        if torch.is_grad_enabled():  # a second derivative is asked for: torch has one
            leaves = [one for one in given if one is not None and one.requires_grad]
            output = _in_torch(*given, around=ctx.around)
            made = iter(torch.autograd.grad(output, leaves, grad, create_graph=True))
            return (*(next(made) if one else None for one in needed), None, None)
        x, weight, *_ = given
        found = ctx.kernels.backward(
            ctx.layer, grad.contiguous(memory_format=torch.channels_last), kept,
            x.contiguous(memory_format=torch.channels_last), weight.contiguous(), of_x=needed[0],
            **ctx.norms,
        )  # fmt: skip
        every = (found.x, found.weight, found.bias, *found.before, *found.after)
        return (
            *(one if wanted else None for one, wanted in zip(every, needed, strict=True)),
            None, None,
        )  # fmt: skip


@lru_cache(maxsize=256)
def _layer_of(
    shape: torch.Size, weight: torch.Size, stride: Pair, padding: Padding, before: int, after: int,
    threads: int,
) -> Layer:  # fmt: skip
    """Returns the geometry of a block, which nobody writes to; made once for all steps."""
    rows, columns = axes(
        size=(shape[2], shape[3]), kernel=(weight[2], weight[3]), stride=stride, padding=padding
    )
    return Layer(
        *shape, rows.outputs, columns.outputs, rows.kernel, columns.kernel, *stride, rows.before,
        columns.before, before, after, min(threads, shape[0]),
    )  # fmt: skip


def _training(
    norm: nn.BatchNorm2d | None, gain_C: Tensor | None, shift_C: Tensor | None
) -> Norm | None:
    """Returns a norm as the library takes it."""
    if norm is None or gain_C is None or shift_C is None:
        return None
    assert norm.momentum is not None
    running = norm.running_mean, norm.running_var
    for one in running:
        if one is not None:  # whoever kept one for a derivative is told that it changes
            torch.autograd.graph.increment_version(one)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Norm(
        gain_C.contiguous(), shift_C.contiguous(), *running, momentum=norm.momentum, eps=norm.eps,
        batch=gain_C.new_empty(4, *gain_C.shape),
    )  # fmt: skip


def _in_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, gain_before: Tensor | None,
    shift_before: Tensor | None, gain_after: Tensor | None, shift_after: Tensor | None,
    *, around: _Around,
) -> Tensor:  # fmt: skip
    """Returns the same by torch's operations."""

    def side(
        x: Tensor, norm: nn.BatchNorm2d | None, gain: Tensor | None, shift: Tensor | None,
        activation: type[nn.Module] | None,
    ) -> Tensor:  # fmt: skip
        if norm is not None:
            x = functional.batch_norm(x, None, None, gain, shift, training=True, eps=norm.eps)
        output: Tensor = x if activation is None else activation()(x)
        return output

    x = side(x, around.norm_before, gain_before, shift_before, around.before)
    x = functional.pad(x, around.padding)
    x = functional.conv2d(x, weight, bias, around.stride, groups=len(weight))
    return side(x, around.norm_after, gain_after, shift_after, around.after)
