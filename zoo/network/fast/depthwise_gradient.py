"""An exact gradient for depthwise convolutions on CPUs where torch's own is slow.

oneDNN, which torch calls on x86, has a fast kernel for the weight gradient of a depthwise
convolution. It takes filters of at most three columns on maps in which they fit; everything else
falls to routines that are up to fifty times slower on small maps. It also wants the same padding on
both sides, and torch copies the input to give it that.

Taps that see only padding are cut off: they have a gradient of zero. The others are asked for as
the taps of a filter of three columns, over groups of neighbouring columns. With channels last, such
a group is one column with as many times the channels, in the same memory:

    5 taps, stride 2           x0 x1 | x2 x3 | x4 x5      a group is 2 columns of the input, the
                               a  b    c  d    e          gradient stands in both: 3 groups of taps

    5 taps, stride 1        x0 x1 | x2 x3 | x4 x5 | x6 x7     a group is 2 columns of either, first
      output 0              a  b    c  d    e                 as they lie (taps a c e), then from
      output 1                 a    b  c    d  e              the second column on (taps b d)

Images pass a few at a time through a small buffer with a border of zeros, unless the input itself
will do, as it does on the most common maps with stride 2.

What stands here works for every shape, dtype and device. :mod:`zoo.network.fast.depthwise_shapes`
says where it pays, and :mod:`zoo.network.fast.depthwise` puts it into a network.

Shapes: B batch, C channels, H W rows and columns of the input, K L those of the filter, P Q those
of the output; G groups of D columns. Padding is (left, right, top, bottom), as in
``torch.nn.functional.pad``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from zoo.network.fast.depthwise_shapes import Axis, Padding, Pair, axes

__all__ = ["depthwise_conv2d", "input_gradient", "weight_gradient"]

# On one thread and two, 4 MB was the fastest of 0.5 to 16 MB or near it, with 1 MB of L2 and 32 MB
# of L3 cache: smaller pays more for calls (60 microseconds each), larger leaves the cache.
BUFFER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows that oneDNN is given.

    Attributes:
        count: Rows of the input.
        above: How many of them stand before the map, as zeros.
        padding: What the call says of either side.
        taps: Rows of the filter.
        first: Which of them is the first live one.
        step: The stride.
    """

    count: int
    above: int
    padding: int
    taps: int
    first: int
    step: int


def _rows(rows: Axis) -> _Rows:
    embedded = rows.embedded_fast
    if embedded is not None:
        padding, taps = embedded
        first = padding - rows.lead
        return _Rows(
            count=rows.size, above=0, padding=padding, taps=taps, first=first, step=rows.step
        )
    count = (rows.outputs - 1) * rows.step + rows.taps
    return _Rows(count=count, above=rows.lead, padding=0, taps=rows.taps, first=0, step=rows.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Columns put together so that a filter of at most three groups does the work of all taps.

    Attributes:
        outputs: Neighbouring columns of the output in a group.
        repeats: Columns of the input for each of them, in which it stands as often.
        count: Groups of the output, the last one filled with zeros.
        step: The stride from group to group.
        taps: Groups in the filter.
    """

    outputs: int
    repeats: int
    count: int
    step: int
    taps: int

    @property
    def columns(self) -> int:
        """Columns of the input in a group."""
        return self.outputs * self.repeats

    @property
    def width(self) -> int:
        """Columns of the input in all."""
        return ((self.count - 1) * self.step + self.taps) * self.columns


def _groups(columns: Axis) -> _Groups:
    taps, step = columns.taps, columns.step
    if taps <= 3:
        return _Groups(outputs=1, repeats=1, count=columns.outputs, step=step, taps=taps)
    # The last output of a group must find its taps in the two groups that follow.
    outputs = max(1, -(-(taps - step) // (2 * step)))
    count = -(-columns.outputs // outputs)
    return _Groups(outputs=outputs, repeats=step, count=count, step=1, taps=3)


def _fits_in_place(x: Tensor, rows: _Rows, columns: Axis, groups: _Groups) -> bool:
    """Returns whether the input's own columns are the groups, with a padding of one group."""
    return (
        x.is_contiguous(memory_format=torch.channels_last)
        and rows.count == x.shape[2]
        and rows.above == 0
        and groups.outputs == 1 < groups.repeats
        and columns.outputs >= 3
        and columns.size == columns.outputs * groups.repeats
        and columns.lead <= groups.repeats
        and columns.taps - columns.lead <= 2 * groups.repeats
    )


def _own_gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Returns torch's gradients of the input and the weight; what is not wanted is None."""
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], (*wanted, False)
    )
    return gradients[0], gradients[1]


def _grouped(grad: Tensor, groups: _Groups) -> Tensor:
    """Returns the gradient of the output by groups, (B, D * C, P, G) in channels_last."""
    num_images, num_channels, height, width = grad.shape
    if groups.columns == 1:
        return grad.contiguous(memory_format=torch.channels_last)
    grad_BPQC = grad.permute(0, 2, 3, 1)
    rest = groups.count * groups.outputs - width
    if rest:
        grad_BPQC = functional.pad(grad_BPQC, (0, 0, 0, rest))
    shape = (num_images, height, groups.count, groups.outputs, 1, num_channels)
    repeated = grad_BPQC.reshape(shape).expand(*shape[:4], groups.repeats, num_channels)
    return repeated.reshape(num_images, height, groups.count, -1).permute(0, 3, 1, 2)


def _buffered(
    x: Tensor, rows: _Rows, columns: Axis, groups: _Groups
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yields slices of the batch and, for each, the views of it by groups of columns.

    The views, one per output of a group, are of one buffer, which the next slice overwrites.
    """
    num_images, num_channels, height, width = x.shape
    image = rows.count * groups.width * num_channels
    # Even slices: torch gives a rest of a few images to slower code than oneDNN's.
    num_slices = -(-num_images // max(1, BUFFER_BYTES // (image * x.element_size())))
    num_slice = -(-num_images // num_slices)
    shift = groups.repeats * num_channels
    # Each view starts one output later than the one before, and ends as much behind the buffer.
    buffer = x.new_zeros(num_slice * image + (groups.outputs - 1) * shift)
    seen_rows = min(height, rows.count - rows.above)
    seen_columns = min(width, groups.width - columns.lead)
    target_BCHW = (
        buffer[: num_slice * image]
        .view(num_slice, rows.count, groups.width, num_channels)
        .permute(0, 3, 1, 2)
        .narrow(2, rows.above, seen_rows)
        .narrow(3, columns.lead, seen_columns)
    )
    for begin in range(0, num_images, num_slice):
        x_slice = x[begin : begin + num_slice, :, :seen_rows, :seen_columns]
        count = len(x_slice)
        target_BCHW[:count].copy_(x_slice)
        channels = groups.columns * num_channels
        size = (count, channels, rows.count, groups.width // groups.columns)
        strides = (image, 1, groups.width * num_channels, channels)
        yield (
            slice(begin, begin + count),
            [buffer.as_strided(size, strides, turn * shift) for turn in range(groups.outputs)],
        )


def weight_gradient(
    x: Tensor, grad: Tensor, *, kernel: Pair, stride: Pair, padding: Padding
) -> Tensor:
    """Returns the gradient of a depthwise convolution's weight, (C, 1, K, L).

    The sums are those of the definition in another order, the same in each run that has as many
    threads. It works for every shape; whether it pays is the business of
    :func:`~zoo.network.fast.depthwise_shapes.wins`.

    Args:
        x: Input, (B, C, H, W), any strides.
        grad: Gradient of the output, (B, C, P, Q), any strides.
        kernel: (K, L).
        stride: Of rows and columns.
        padding: (left, right, top, bottom).
    """
    num_channels = x.shape[1]
    all_rows, columns = axes(
        size=(x.shape[2], x.shape[3]), kernel=kernel, stride=stride, padding=padding
    )
    rows, groups = _rows(all_rows), _groups(columns)
    first, side = columns.lead, 0
    slices: Iterator[tuple[slice, list[Tensor]]]
    if _fits_in_place(x, rows, columns, groups):
        first, side = groups.repeats, 1
        view = x.permute(0, 2, 3, 1).reshape(len(x), x.shape[2], columns.outputs, -1)
        slices = iter([(slice(None), [view.permute(0, 3, 1, 2)])])
    else:
        slices = _buffered(x, rows, columns, groups)

    filters = x.new_empty(groups.columns * num_channels, 1, rows.taps, groups.taps)  # for its shape
    totals: list[Tensor] = []
    for images, views in slices:
        grouped = _grouped(grad[images], groups)
        gradients = [
            _own_gradients(
                grouped,
                view,
                filters,
                (rows.step, groups.step),
                (rows.padding, side),
                (False, True),
            )[1]
            for view in views
        ]
        totals = [a + b for a, b in zip(totals, gradients, strict=True)] if totals else gradients

    live = _taps(totals, groups, num_channels)
    live = live.narrow(2, rows.first, all_rows.taps).narrow(3, first - columns.lead, columns.taps)
    if live.shape[2:] == kernel:
        return live.contiguous()
    borders = (
        columns.first,
        kernel[1] - columns.first - columns.taps,
        all_rows.first,
        kernel[0] - all_rows.first - all_rows.taps,
    )
    return functional.pad(live, borders)


def _taps(gradients: list[Tensor], groups: _Groups, num_channels: int) -> Tensor:
    """Returns the gradients of the views' filters as that of one filter, tap by tap."""
    if groups.columns == 1:
        return gradients[0]
    num_rows = gradients[0].shape[2]
    # By view, output of the group, column for it, channel, row, group of taps. Each output of the
    # group has its own share of the sums; tap l is in group l // D, of view l % D // repeats.
    shares = torch.stack(gradients).view(
        groups.outputs, groups.outputs, groups.repeats, num_channels, num_rows, groups.taps
    )
    return shares.sum(1).permute(2, 3, 4, 0, 1).reshape(num_channels, 1, num_rows, -1)


def _embedded(x: Tensor, weight: Tensor, stride: Pair, padding: Padding) -> tuple[Tensor, Pair]:
    """Returns a filter that does a weight's work with the same padding on both sides, and that.

    Dead taps are cut off, and zeros put on where the padding is more than the live ones need.
    """
    rows, columns = axes(
        size=(x.shape[2], x.shape[3]),
        kernel=(weight.shape[2], weight.shape[3]),
        stride=stride,
        padding=padding,
    )
    (tall, num_rows), (wide, num_columns) = rows.embedded, columns.embedded
    top, left = tall - rows.lead - rows.first, wide - columns.lead - columns.first
    borders = (
        left,
        num_columns - left - weight.shape[3],
        top,
        num_rows - top - weight.shape[2],
    )
    return functional.pad(weight, borders) if any(borders) else weight, (tall, wide)


def input_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Padding
) -> Tensor:
    """Returns the gradient of the input, (B, C, H, W).

    With stride 1 it is the convolution of the output's gradient with the filter turned round, and
    from maps of 4x4 on oneDNN is faster at that: 1.1 to 2.0 times, median 1.3, for 20 layers with
    filters of 3 to 7 (batch 64, one thread and two, AVX-512; with AVX2 0.8 to 1.9, median 1.3).
    """
    live, (tall, wide) = _embedded(x, weight, stride, padding)
    if stride != (1, 1) or min(x.shape[2:]) < 4:
        return _own_gradients(grad, x, live, stride, (tall, wide), (True, False))[0]
    rest = (live.shape[2] - 1 - tall, live.shape[3] - 1 - wide)
    return functional.conv2d(grad, live.flip(2, 3), None, 1, rest, 1, x.shape[1])


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with our gradient, in which dead taps cost nothing.

    Padding that differs from side to side needs no copy of the input.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Padding
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        live, implicit = _embedded(x, weight, stride, padding)
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
                grad_x = input_gradient(grad, x, weight, stride, padding)
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

    For every shape, dtype and device; whether it pays is the business of
    :func:`~zoo.network.fast.depthwise_shapes.wins`. First and second
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
