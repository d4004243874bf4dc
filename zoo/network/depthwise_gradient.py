"""An exact weight gradient for depthwise convolutions on CPUs where torch's own is slow.

oneDNN, which torch calls on x86, has a fast kernel for the weight gradient of a depthwise
convolution. It takes filters of at most three columns (AVX2) on maps in which they fit; everything
else falls to routines that are up to fifty times slower on small maps.

The remedy asks for the same sums of products in pieces that the fast kernel takes:

    5x5 filter            its live taps      strips of <= 3 columns
    . . . . .
    . x x x .             x x x              on a 3x3 map all five columns live,
    . x x x .  2x2 map:   x x x              so there are two strips: x x x | x x
    . x x x .             x x x
    . . . . .   taps that see only padding have a gradient of zero

Images pass a few at a time through a small buffer with a border of zeros, one for each strip.

What stands here works for every shape, dtype and device; :func:`wins` says where it pays, and
:mod:`zoo.network.depthwise` puts it into a network.

Shapes: B batch, C channels, H W rows and columns of the input, K L those of the filter, P Q those
of the output. Padding is (left, right, top, bottom), as in ``torch.nn.functional.pad``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Padding", "Pair", "depthwise_conv2d", "weight_gradient", "wins"]

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]

# Of 0.25, 0.5, 1, 2 and 8 MB, 2 MB was the fastest or near it from 1x1 to 56x56 maps, with 512 KB
# of L2 and 32 MB of L3 cache: smaller pays more for calls, larger leaves the cache.
BUFFER_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The rows or the columns of a convolution, and the taps that see more than padding there."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int

    @property
    def outputs(self) -> int:
        """Length of the output."""
        return (self.size + self.before + self.after - self.kernel) // self.stride + 1

    @property
    def first(self) -> int:
        """The first live tap."""
        return max(0, self.before - (self.outputs - 1) * self.stride)

    @property
    def taps(self) -> int:
        """How many taps are live. They are neighbours."""
        return min(self.kernel, self.size + self.before) - self.first

    @property
    def lead(self) -> int:
        """Padding that the live taps need before the map."""
        return self.before - self.first

    @property
    def trail(self) -> int:
        """Padding that the live taps need after the map; negative where its end is not seen."""
        return (self.outputs - 1) * self.stride + self.taps - self.lead - self.size

    @property
    def symmetric(self) -> bool:
        """Whether the live taps need no more than torch's padding argument can say."""
        return (self.size + 2 * self.lead - self.taps) // self.stride + 1 == self.outputs

    @property
    def fits(self) -> bool:
        """Whether oneDNN has better than its slowest routine for torch's own call."""
        if self.before != self.after:  # made real by a copy, so that no padding is left
            return True
        # The kernel for three columns starts at the padding's offset from the stride; those for
        # more do not.
        offset = -self.before % self.stride if self.kernel <= 3 else 0
        return self.before <= self.kernel // 2 and self.size >= self.kernel + offset


def axes(*, size: Pair, kernel: Pair, stride: Pair, padding: Padding) -> tuple[Axis, Axis]:
    """Returns the rows and the columns of a convolution."""
    left, right, top, bottom = padding
    return (
        Axis(size=size[0], kernel=kernel[0], stride=stride[0], before=top, after=bottom),
        Axis(size=size[1], kernel=kernel[1], stride=stride[1], before=left, after=right),
    )


def wins(
    *,
    batch: int,
    channels: int,
    size: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    capability: str,
) -> bool:
    """Returns whether our method is faster than torch's own for a shape.

    Args:
        batch: B.
        channels: C.
        size: (H, W).
        kernel: (K, L).
        stride: Of rows and columns.
        padding: (left, right, top, bottom).
        capability: ``torch.backends.cpu.get_cpu_capability()``.

    Measured with ``benchmarks/depthwise.py shapes``: how many times as long torch's own takes, for
    the weight gradient and (forward and backward of the layer). channels_last, least to most of
    two runs of medians of CPU time, one thread of an AMD EPYC (Zen 3, AVX2) that was also at other
    work, torch 2.14.1. In contiguous layout the gain is mostly larger.

    =======================  ====================  ==========================  ==========
    filter                   map                   batch 64                    batch 16
    =======================  ====================  ==========================  ==========
    3x3 that does not fit    1x1, 2x2; stride 2    2.1 to 18 (1.3 to 12)       1.4 to 9.7
                             also 3x3
    5x5 that does not fit    1x1 to 4x4            7.7 to 58 (4.9 to 23)       3.9 to 17
    7x7 that does not fit    1x1 to 4x4            12 to 50 (6.9 to 22)        6.1 to 16
    5x5, stride 1            6x6 to 56x56          1.4 to 2.3 (1.1 to 1.6)     1.2 to 2.0
    7x7, stride 1            7x7 to 28x28          1.4 to 1.9 (1.2 to 1.4)     1.2 to 1.7
    5x5 and 7x7, stride 2    6x6 to 56x56          0.9 to 1.4 (1.0 to 1.2)     0.8 to 1.5
    3x3                      3x3 to 56x56          0.4 to 0.7 (0.5 to 0.9)     0.3 to 0.8
    =======================  ====================  ==========================  ==========

    With AVX512 (another AMD EPYC, idle, batch 64), one thread and two:

    =======================  ====================  ==========================
    5x5, stride 1            6x6 to 56x56, one     2.2 to 3.7 (1.6 to 2.2)
                             two threads           1.2 to 2.9 (1.1 to 1.9)
    7x7, stride 1            7x7 to 28x28, one     2.9 to 4.2 (1.9 to 2.4)
                             two threads           1.4 to 2.0 (1.2 to 1.6)
    =======================  ====================  ==========================
    """
    rows, columns = axes(size=size, kernel=kernel, stride=stride, padding=padding)
    # Below 16 images torch takes small calls to slower code than oneDNN's: 0.1 to 14 at batch 4.
    if batch < 16 or channels % 8 or capability not in {"AVX2", "AVX512"}:
        return False
    if min(rows.outputs, columns.outputs, rows.taps, columns.taps) < 1:
        return False
    if not (rows.fits and columns.fits):
        return True
    return kernel[1] > 3 and stride == (1, 1)


def _own_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Returns torch's gradients of the input and the weight; what is not wanted is None."""
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], (*wanted, False)
    )
    return gradients[0], gradients[1]


def weight_gradient(
    x: Tensor, grad: Tensor, *, kernel: Pair, stride: Pair, padding: Padding
) -> Tensor:
    """Returns the gradient of a depthwise convolution's weight, (C, 1, K, L).

    The sums are those of the definition in another order, the same in each run that has as many
    threads. It works for every shape; :func:`wins` says where it is worth it.

    Args:
        x: Input, (B, C, H, W), any strides.
        grad: Gradient of the output, (B, C, P, Q), any strides.
        kernel: (K, L).
        stride: Of rows and columns.
        padding: (left, right, top, bottom).
    """
    num_images, num_channels, height, width = x.shape
    rows, columns = axes(size=(height, width), kernel=kernel, stride=stride, padding=padding)
    result = x.new_zeros(num_channels, 1, *kernel)
    # With one output a stride has no meaning, and oneDNN takes a single column only with stride 1.
    step = (
        rows.stride if rows.outputs > 1 else 1,
        columns.stride if columns.outputs > 1 else 1,
    )
    span_rows = (rows.outputs - 1) * step[0] + rows.taps
    seen_rows = min(height, span_rows - rows.lead)

    # Even strips: 7 columns are 3 + 2 + 2, 4 are 2 + 2.
    num_strips = -(-columns.taps // 3)
    widths = [(columns.taps + strip) // num_strips for strip in reversed(range(num_strips))]
    span_columns = (columns.outputs - 1) * step[1]
    image_bytes = num_channels * span_rows * (span_columns + widths[0]) * x.element_size()
    # Even slices: torch gives a rest of a few images to slower code than oneDNN's.
    num_slices = -(-num_images // max(1, BUFFER_BYTES // image_bytes))
    num_slice = -(-num_images // num_slices)

    strips = []
    for start, stop in pairwise(accumulate(widths, initial=0)):
        lead = columns.lead - start
        span = span_columns + stop - start
        buffer_BCHW = x.new_zeros(num_slice, span_rows, span, num_channels).permute(0, 3, 1, 2)
        window = slice(max(0, -lead), min(width, span - lead))
        target = buffer_BCHW[
            :, :, rows.lead : rows.lead + seen_rows, window.start + lead : window.stop + lead
        ]
        filter_C1KL = x.new_empty(num_channels, 1, rows.taps, stop - start)  # only its shape counts
        live = result[
            :, :, rows.first : rows.first + rows.taps, columns.first + start : columns.first + stop
        ]
        strips.append((buffer_BCHW, target, window, filter_C1KL, live))

    for begin in range(0, num_images, num_slice):
        x_slice = x[begin : begin + num_slice, :, :seen_rows]
        grad_slice = grad[begin : begin + num_slice].contiguous(memory_format=torch.channels_last)
        count = len(x_slice)
        for buffer_BCHW, target, window, filter_C1KL, live in strips:
            target[:count].copy_(x_slice[..., window])
            live += _own_gradients(
                grad_slice, buffer_BCHW[:count], filter_C1KL, step, (0, 0), (False, True)
            )[1]
    return result


def _cropped(
    x: Tensor, weight: Tensor, stride: Pair, padding: Padding
) -> tuple[Tensor, Padding, Pair]:
    """Returns the live taps of a weight, and the padding they need, explicit and implicit."""
    rows, columns = axes(
        size=(x.shape[2], x.shape[3]),
        kernel=(weight.shape[2], weight.shape[3]),
        stride=stride,
        padding=padding,
    )
    live = weight[
        :, :, rows.first : rows.first + rows.taps, columns.first : columns.first + columns.taps
    ]
    if rows.symmetric and columns.symmetric:
        return live, (0, 0, 0, 0), (rows.lead, columns.lead)
    return live, (columns.lead, columns.trail, rows.lead, rows.trail), (0, 0)


def _input_gradient(
    x: Tensor, grad: Tensor, weight: Tensor, stride: Pair, padding: Padding
) -> Tensor:
    live, explicit, implicit = _cropped(x, weight, stride, padding)
    if not any(explicit):
        return _own_gradients(grad, x, live, stride, implicit, (True, False))[0]
    left, right, top, bottom = explicit
    shape = (len(x), x.shape[1], x.shape[2] + top + bottom, x.shape[3] + left + right)
    # The values of the input have no part in its gradient, only the shape has.
    padded = torch.empty_like(x[:1, :1, :1, :1]).expand(shape)
    whole = _own_gradients(grad, padded, live, stride, implicit, (True, False))[0]
    return functional.pad(whole, (-left, -right, -top, -bottom))


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with our weight gradient, in which dead taps cost nothing."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Padding
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        live, explicit, implicit = _cropped(x, weight, stride, padding)
        if any(explicit):
            x = functional.pad(x, explicit)
        return functional.conv2d(x, live, bias, stride, implicit, 1, x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        stride, padding = ctx.stride, ctx.padding
        need_x, need_weight, need_bias, *_ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = None
        if torch.is_grad_enabled():  # a second derivative is asked for: torch's own has one
            grad_x, grad_weight = _own_gradients(
                grad, functional.pad(x, padding), weight, stride, (0, 0), (need_x, need_weight)
            )
            if need_x:
                left, right, top, bottom = padding
                grad_x = functional.pad(grad_x, (-left, -right, -top, -bottom))
        else:
            if need_x:
                grad_x = _input_gradient(x, grad, weight, stride, padding)
            if need_weight:
                kernel = (weight.shape[2], weight.shape[3])
                grad_weight = weight_gradient(
                    x, grad, kernel=kernel, stride=stride, padding=padding
                )
        if need_bias:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias, None, None


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: Pair, padding: Padding
) -> Tensor:
    """Returns a depthwise convolution, (B, C, P, Q), that is differentiated by our method.

    For every shape, dtype and device; whether it pays is :func:`wins`'s business. First and second
    derivatives are those of ``torch.nn.functional.conv2d`` with ``groups=C``.

    Args:
        x: Input, (B, C, H, W).
        weight: Filters, (C, 1, K, L).
        bias: (C,), or None.
        stride: Of rows and columns.
        padding: (left, right, top, bottom), each less than the filter is long.
    """
    result: Tensor = _Depthwise.apply(x, weight, bias, stride, padding)
    return result
