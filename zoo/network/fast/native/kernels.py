"""Calls of the library for depthwise convolutions, with tensors.

Shapes: B batch, C channels, H W rows and columns of the input, P Q those of the output, K L those
of the filter.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.network.fast.native.compiler import Code, loaded

__all__ = ["ACTIVATIONS", "DEPTHWISE", "Gradients", "Kernels", "Layer", "Maps", "Norm"]

ACTIVATIONS: Mapping[type[nn.Module] | None, int] = {
    None: 0,
    nn.ReLU: 1,
    nn.ReLU6: 2,
    nn.Hardswish: 3,
    nn.SiLU: 4,
}
"""The numbers of activations in C. None is the identity."""

_SLOPE_OF_OUTPUT = (0, 1, 2)
# Activations whose slope follows from their output, too.

_FUNCTIONS = tuple(
    (name, (ctypes.c_void_p,) * num_pointers, ctypes.c_int)
    for name, num_pointers in (
        ("zoo_depthwise_forward", 8), ("zoo_depthwise_backward", 10), ("zoo_mean", 3),
        ("zoo_scale", 4), ("zoo_scale_backward", 4), ("zoo_mean_backward", 5),
    )
)  # fmt: skip


class Layer(ctypes.Structure):
    """A block's geometry, as ``depthwise.h`` declares it.

    ``top`` and ``left`` are zeros before the first row and column; those behind the last follow
    from the sizes. Each padding is less than the filter is long. ``before`` and ``after`` are
    numbers of :data:`ACTIVATIONS`; threads are no more than images.
    """

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in (
            "images", "channels", "height", "width", "out_height", "out_width", "kernel_height",
            "kernel_width", "stride_height", "stride_width", "top", "left", "before", "after",
            "threads",
        )
    )  # fmt: skip


class Maps(ctypes.Structure):
    """The sizes of maps, as ``squeeze.c`` declares them."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "pixels", "channels", "threads"))

    @classmethod
    def of(cls, x: Tensor) -> Maps:
        """Returns the sizes of maps (B, C, H, W)."""
        images, channels, height, width = x.shape
        threads = max(1, min(torch.get_num_threads(), images))
        return cls(images, height * width, channels, threads)


class Gradients(NamedTuple):
    """Gradients of what a block was given; None where none was asked for.

    Those of a norm are of its gain and shift.
    """

    x: Tensor | None
    weight: Tensor
    bias: Tensor
    before: tuple[Tensor, Tensor] | tuple[None, None]
    after: tuple[Tensor, Tensor] | tuple[None, None]


class _NormInC(ctypes.Structure):
    """A batch norm, as ``norms.h`` declares it."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in (
                "gain", "shift", "running_mean", "running_variance", "batch", "of_gain", "of_shift",
            )
        ),
        ("momentum", ctypes.c_double),
        ("eps", ctypes.c_double),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """A batch norm that trains, beside a convolution.

    Args:
        gain: Its weight, (C,), contiguous.
        shift: Its bias, the like.
        running_mean: Brought up to date by the forward pass; None if there is none.
        running_variance: The like.
        momentum: What the batch counts in those.
        eps: Added to the variance.
        batch: (4, C): mean and 1/deviation of the batch, and the scale and offset that they and
            gain and shift make. The forward pass writes it.
    """

    gain: Tensor
    shift: Tensor
    running_mean: Tensor | None
    running_variance: Tensor | None
    momentum: float
    eps: float
    batch: Tensor


@dataclass(frozen=True, slots=True)
class Kernels:
    """A compiled library, by its path, so that it can be copied and pickled."""

    path: Path

    @property
    def usable(self) -> bool:
        """Whether the library can be loaded here."""
        return _library(self.path) is not None

    def forward(
        self, layer: Layer, x_BCHW: Tensor, weight_C1KL: Tensor, bias_C: Tensor | None, *,
        before: Norm | None = None, after: Norm | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Returns a block's output (B, C, P, Q), and what the slope of what is after is of.

        Args:
            layer: The geometry.
            x_BCHW: In channels_last, without gaps.
            weight_C1KL: Contiguous.
            bias_C: Contiguous, or None.
            before: The norm whose output the activation before is given.
            after: The norm that is given what is convolved.

        Raises:
            MemoryError: There is none for the buffers.
        """
        shape = (layer.images, layer.channels, layer.out_height, layer.out_width)
        output = torch.empty(shape, memory_format=torch.channels_last)
        kept = after is not None or layer.after not in _SLOPE_OF_OUTPUT
        convolved = torch.empty_like(output) if kept else None
        norms = _in_c(before), _in_c(after)
        self._call(
            "zoo_depthwise_forward", layer, norms, x_BCHW, weight_C1KL, bias_C, output, convolved
        )
        return output, output if convolved is None else convolved

    def backward(
        self, layer: Layer, grad: Tensor, kept: Tensor, x: Tensor, weight: Tensor, *, of_x: bool,
        before: Norm | None = None, after: Norm | None = None,
    ) -> Gradients:  # fmt: skip
        """Returns the gradients of what :meth:`forward` was given.

        Args:
            layer: The geometry.
            grad: Gradient of the output, (B, C, P, Q), in channels_last without gaps.
            kept: What :meth:`forward` returned besides the output.
            x: What it was given.
            weight: The like.
            of_x: Whether the gradient of x is wanted.
            before: As in :meth:`forward`.
            after: The like.

        Raises:
            MemoryError: There is none for the buffers.
        """
        grad_x = torch.empty_like(x) if of_x or before is not None else None
        grad_weight, grad_bias = torch.empty_like(weight), weight.new_empty(layer.channels)
        of_before, of_after = (
            (None, None) if norm is None
            else (torch.empty_like(norm.gain), torch.empty_like(norm.shift))
            for norm in (before, after)
        )  # fmt: skip
        norms = _in_c(before, *of_before), _in_c(after, *of_after)
        self._call(
            "zoo_depthwise_backward", layer, norms, grad, kept, x, weight, grad_x, grad_weight,
            grad_bias,
        )  # fmt: skip
        return Gradients(grad_x, grad_weight, grad_bias, of_before, of_after)

    def mean(self, x: Tensor) -> Tensor:
        """Returns the mean of each map, (B, C, 1, 1), of (B, C, H, W) in channels_last."""
        mean = x.new_empty(*x.shape[:2], 1, 1)
        self._call("zoo_mean", Maps.of(x), (), x, mean)
        return mean

    def scaled(self, x: Tensor, gate: Tensor) -> Tensor:
        """Returns maps in channels_last, each times its gate, (B, C, 1, 1)."""
        scaled = torch.empty_like(x)
        self._call("zoo_scale", Maps.of(x), (), x, gate, scaled)
        return scaled

    def of_gate(self, grad: Tensor, x: Tensor) -> Tensor:
        """Returns the gradient of a gate, of that of the scaled maps, and the maps."""
        of_gate = x.new_empty(*x.shape[:2], 1, 1)
        self._call("zoo_scale_backward", Maps.of(x), (), grad, x, of_gate)
        return of_gate

    def of_maps(self, grad: Tensor, gate: Tensor, of_mean: Tensor) -> Tensor:
        """Returns the gradient of maps, of that of the scaled ones, the gate, and of the mean's."""
        of_maps = torch.empty_like(grad)
        self._call("zoo_mean_backward", Maps.of(grad), (), grad, gate, of_mean, of_maps)
        return of_maps

    def computes_right(self) -> bool:
        """Returns whether the library gives what torch gives, for one layer of each kind.

        A compiler that makes wrong code of it would train a wrong network.
        """
        return _computes_right(self)

    def _call(
        self,
        name: str,
        sizes: Layer | Maps,
        norms: Sequence[_NormInC | None],
        *tensors: Tensor | None,
    ) -> None:
        library = _library(self.path)
        assert library is not None  # whoever calls has asked whether it is usable
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        sides = [None if norm is None else ctypes.byref(norm) for norm in norms]
        if getattr(library, name)(ctypes.byref(sizes), *sides, *addresses):
            raise MemoryError("no memory for the buffers of a depthwise convolution")


@functools.cache
def _library(path: Path) -> ctypes.CDLL | None:
    """Returns a library; asked for by each call, which a look at all functions would delay."""
    return loaded(path, _FUNCTIONS)


def _in_c(
    norm: Norm | None, of_gain: Tensor | None = None, of_shift: Tensor | None = None
) -> _NormInC | None:
    """Returns a norm as the library takes it, with room for its gradients."""
    if norm is None:
        return None
    addresses = (
        None if one is None else one.data_ptr()
        for one in (
            norm.gain, norm.shift, norm.running_mean, norm.running_variance, norm.batch, of_gain,
            of_shift,
        )
    )  # fmt: skip
    return _NormInC(*addresses, norm.momentum, norm.eps)


@functools.cache
def _computes_right(kernels: Kernels) -> bool:
    """Returns whether the library gives what torch gives, for one layer of each kind."""
    layers = (_computes_layer_right(kernels, normed=normed) for normed in (False, True))
    return all(layers) and _computes_gates_right(kernels)


def _computes_gates_right(kernels: Kernels) -> bool:
    numbers = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 3, 20, 9, 8, generator=numbers)
    x, grad = (one.contiguous(memory_format=torch.channels_last) for one in (x, grad))
    gate, of_mean = torch.randn(2, 3, 20, 1, 1, generator=numbers)
    found = (
        kernels.mean(x), kernels.scaled(x, gate), kernels.of_gate(grad, x),
        kernels.of_maps(grad, gate, of_mean),
    )  # fmt: skip
    expected = (
        x.mean((2, 3), keepdim=True), x * gate, (grad * x).sum((2, 3), keepdim=True),
        grad * gate + of_mean / 72,
    )  # fmt: skip
    return all(
        torch.allclose(one, other, rtol=1e-4, atol=1e-4)
        for one, other in zip(found, expected, strict=True)
    )


def _computes_layer_right(kernels: Kernels, *, normed: bool) -> bool:
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(3, 24, 9, 7, generator=numbers).contiguous(memory_format=torch.channels_last)
    weight, bias, *affine = (
        torch.randn(24, *rest, generator=numbers) for rest in ((1, 5, 3), (), (), (), (), ())
    )
    norms = {}
    if normed:
        sides = zip(("before", "after"), (affine[:2], affine[2:]), strict=True)
        norms = {
            side: Norm(gain, shift, None, None, momentum=0.0, eps=0.1, batch=torch.empty(4, 24))
            for side, (gain, shift) in sides
        }
    layer = Layer(3, 24, 9, 7, 5, 4, 5, 3, 2, 2, 2, 1, *[ACTIVATIONS[nn.SiLU]] * 2, 2)
    output, kept = kernels.forward(layer, x, weight, bias, **norms)
    grad = torch.randn(output.shape, generator=numbers)
    grad = grad.contiguous(memory_format=torch.channels_last)
    of = kernels.backward(layer, grad, kept, x, weight, of_x=True, **norms)
    found = [output, *of[:3], *(of.before + of.after if normed else ())]

    def activated(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        if normed:
            x = functional.batch_norm(x, None, None, gain, shift, training=True, eps=0.1)
        return functional.silu(x)

    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = [one.clone().requires_grad_() for one in (x, weight, bias, *affine)]
        given, filters, shift, *numbers_of_norms = leaves
        inner = activated(given, *numbers_of_norms[:2])
        convolved = functional.conv2d(inner, filters, shift, 2, (2, 1), groups=24)
        expected = activated(convolved, *numbers_of_norms[2:])
        wanted = torch.autograd.grad(expected, leaves[: len(found) - 1], grad)
    return all(
        one is not None and torch.allclose(one, other, rtol=1e-4, atol=1e-4)
        for one, other in zip(found, (expected.detach(), *wanted), strict=True)
    )


DEPTHWISE = Code(
    what="depthwise convolutions", library=Kernels, openmp=True,
    sources=("lanes.h", "depthwise.h", "norms.h", "forward.c", "backward.c", "squeeze.c"),
)  # fmt: skip
"""The code of :class:`Kernels`."""
