"""A depthwise convolution with the activations before and after it, as one step of a graph.

:mod:`zoo.network.fast.native` computes it. What the activations are given and return is never
written to memory.

Shapes: B batch, C channels, H W rows and columns of the input, K L those of the filter, P Q those
of the output. Padding is (left, right, top, bottom).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.network.fast.depthwise_shapes import Padding, Pair, axes
from zoo.network.fast.native.kernels import ACTIVATIONS, Kernels, Layer

__all__ = ["depthwise_block"]

_Activation = type[nn.Module] | None


def depthwise_block(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair,
    padding: Padding,
    before: _Activation,
    after: _Activation,
    kernels: Kernels,
) -> Tensor:
    """Returns ``after(conv2d(before(x), weight, bias, groups=C))``, (B, C, P, Q) in channels_last.

    Output and derivatives are those of the three operations, in float32; the first derivatives are
    the same to the bit in each run with as many threads.

    Args:
        x: Input, (B, C, H, W), float32 on the CPU.
        weight: Filters, (C, 1, K, L).
        bias: (C,), or None.
        stride: Of rows and columns.
        padding: Each less than the filter is long.
        before: Class of the activation before the convolution, one of
            :data:`~zoo.network.fast.native.kernels.ACTIVATIONS`.
        after: That of the one after it.
        kernels: The compiled library.
    """
    output: Tensor = _Block.apply(x, weight, bias, stride, padding, before, after, kernels)
    return output


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Padding,
        before: _Activation, after: _Activation, kernels: Kernels,
    ) -> Tensor:  # fmt: skip
        rows, columns = axes(
            size=(x.shape[2], x.shape[3]), kernel=(weight.shape[2], weight.shape[3]),
            stride=stride, padding=padding,
        )  # fmt: skip
        layer = Layer(
            *x.shape, rows.outputs, columns.outputs, rows.kernel, columns.kernel, *stride,
            rows.before, columns.before, ACTIVATIONS[before], ACTIVATIONS[after],
            min(torch.get_num_threads(), len(x)),
        )  # fmt: skip
        output, kept = kernels.forward(
            layer, x.contiguous(memory_format=torch.channels_last), weight.contiguous(),
            None if bias is None else bias.contiguous(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias, kept)
        ctx.layer, ctx.kernels, ctx.geometry = layer, kernels, (stride, padding, before, after)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, bias, kept = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled():  # a second derivative is asked for: torch has one
            leaves = [one for one in (x, weight, bias) if one is not None and one.requires_grad]
            output = _in_torch(x, weight, bias, *ctx.geometry)
            made = iter(torch.autograd.grad(output, leaves, grad, create_graph=True))
            found = [next(made) if needed else None for needed in (of_x, of_weight, of_bias)]
            return (*found, None, None, None, None, None)
        grad_x, grad_weight, grad_bias = ctx.kernels.backward(
            ctx.layer, grad.contiguous(memory_format=torch.channels_last), kept,
            x.contiguous(memory_format=torch.channels_last), weight.contiguous(), of_x=of_x,
        )  # fmt: skip
        return (
            grad_x, grad_weight if of_weight else None, grad_bias if of_bias else None,
            None, None, None, None, None,
        )  # fmt: skip


def _in_torch(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Padding,
    before: _Activation, after: _Activation,
) -> Tensor:  # fmt: skip
    """Returns the same by torch's operations."""
    x = functional.pad(x if before is None else before()(x), padding)
    output = functional.conv2d(x, weight, bias, stride, groups=len(weight))
    return output if after is None else after()(output)
