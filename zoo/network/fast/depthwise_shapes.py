"""The rows or the columns of a depthwise convolution, as oneDNN's fast kernels see them.

The fast kernels know one number for the padding of an axis, and a filter whose first and last taps
both see the map. :class:`Axis` says which taps of a filter are alive, and which longer filter with
the same padding on both sides (:attr:`Axis.embedded`) does what a filter with two numbers does:

    SAME, 3 taps, stride 2, map of 4:        x x x x .      padding 0 before, 1 after
                                             a b c
                                                 a b c
    the same with padding 1 on both sides: . x x x x .      the filter is 0 a b c
                                           0 a b c
                                               0 a b c
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Axis", "Padding", "Pair", "axes", "wins"]

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]


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
    def step(self) -> int:
        """The stride; 1 with a single output, where it has no meaning.

        oneDNN's fast kernels take a single column only with stride 1.
        """
        return self.stride if self.outputs > 1 else 1

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
    def embedded(self) -> Pair:
        """Padding of both sides, and the length of the filter that does the same with it.

        The live taps start at the difference of this padding and :attr:`lead`; the others are 0.
        """
        return self._embedded_in(max(self.lead, self.trail), self.stride)

    @property
    def embedded_fast(self) -> Pair | None:
        """The like for oneDNN's fast weight gradient; None where that needs a copy with a border.

        The kernel wants no more padding than half of a filter, a map as long as the filter, and
        padding of more than one in whole strides (found by trying, with AVX2 and AVX512).
        """
        padding = max(self.lead, self.trail)
        if padding > 1:
            padding += -padding % self.step
        padding, kernel = self._embedded_in(padding, self.step)
        after = (self.outputs - 1) * self.step + kernel - self.size - padding
        fast = (
            max(padding, after) <= kernel // 2
            and self.size >= kernel + -padding % self.step
            and (after <= 1 or after % self.step == 0)
        )
        return (padding, kernel) if fast else None

    def _embedded_in(self, padding: int, step: int) -> Pair:
        reach = self.size + 2 * padding - self.outputs * step + 1  # any shorter has more outputs
        return padding, max(self.taps + padding - self.lead, reach)

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

    Stride 2 with AVX512 (one thread with batch 32, two with batch 64, freed memory kept), forward
    and backward of the layer, least to most of two runs. SAME is TensorFlow's padding of even maps,
    for which torch copies the input and crops its gradient:

    =======================  ====================  ============  ============
    filter                   map                   one thread    two threads
    =======================  ====================  ============  ============
    5x5                      2x2 to 56x56          1.3 to 2.7    1.3 to 2.3
    7x7                      4x4 to 28x28          1.5 to 2.7    1.3 to 2.1
    5x5 and 7x7, SAME        4x4 to 28x28          1.8 to 2.7    1.7 to 2.1
    3x3, SAME                8x8 and 16x16         0.8 to 1.1    0.9 to 1.0
    3x3, SAME                32x32                 1.0           1.1
    3x3, SAME                48x48 to 112x112      1.2 to 1.4    1.2 to 1.4
    3x3                      4x4 to 56x56          0.5 to 0.8    0.6 to 0.8
    =======================  ====================  ============  ============

    In contiguous layout, one thread, one run: 1.3 to 7.1 where it is used, but 3x3 with SAME 0.6 on
    32x32 and 1.1 to 1.2 on larger maps.

    With fewer than 2**15 numbers in the output calls decide: 0.7 to 1.4 (batch 16 to 64), and as
    much for 3x3 on maps of 2x2 and 3x3, with stride 1 too.
    """
    rows, columns = axes(size=size, kernel=kernel, stride=stride, padding=padding)
    # Below 16 images torch takes small calls to slower code than oneDNN's: 0.1 to 14 at batch 4.
    if batch < 16 or channels % 8 or capability not in {"AVX2", "AVX512"}:
        return False
    if min(rows.outputs, columns.outputs, rows.taps, columns.taps) < 1:
        return False
    many = batch * channels * rows.outputs * columns.outputs >= 2**15
    if not (rows.fits and columns.fits):
        return capability == "AVX2" or kernel[1] > 3 or many
    if kernel[1] > 3 and stride == (1, 1):
        return True
    if capability != "AVX512" or stride != (2, 2):
        return False
    if kernel[1] > 3:
        return many
    copied = rows.before != rows.after or columns.before != columns.after
    return copied and min(size) >= 32
