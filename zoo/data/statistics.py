"""Mean and standard deviation of each colour channel, exact, in one pass over the images.

Pixels are whole numbers of 0 to 255, so how often each value occurs says everything: sums of
values and of squares follow in integers, without rounding and in whatever order images come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.data.threads import Progress, in_blocks
from zoo.errors import DataError
from zoo.protocols import Images, PixelImages

__all__ = ["ChannelStatistics", "channel_statistics", "statistics_of_counts"]

_LEVELS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """Statistics of the pixels of red, green and blue, as shares of the largest value (0..1).

    Args:
        mean: Mean of each channel.
        std: Standard deviation of each channel over all pixels (of the population: over n).
        num_pixels: How many pixels were counted, each once for its three channels.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    num_pixels: int


def channel_statistics(
    images: Images | PixelImages,
    *,
    num_threads: int,
    progress: Progress = lambda done, total: None,
) -> ChannelStatistics:
    """Returns mean and standard deviation of the images' own pixels, as they are before resizing.

    Every pixel counts the same, so large images count more. The result is the same bits for any
    number of threads.

    Args:
        images: Images to decode, or pixels that are decoded already.
        num_threads: How many threads decode and count.
        progress: Told after each block of images.

    Raises:
        DataError: There are no images, or one cannot be read.
    """

    def counted(block: range) -> NDArray[np.int64]:
        if isinstance(images, PixelImages):
            return _counts(_stacked(images.pixels[block.start : block.stop]))
        counts_CL = np.zeros((3, _LEVELS), dtype=np.int64)
        for index in block:
            counts_CL += _counts(images.read(index))
        return counts_CL

    total_CL = np.zeros((3, _LEVELS), dtype=np.int64)
    for _, counts_CL in in_blocks(
        counted, len(images), num_threads=num_threads, progress=progress
    ):  # fmt: skip
        total_CL += counts_CL
    return statistics_of_counts(total_CL.tolist())


def statistics_of_counts(counts: Sequence[Sequence[int]]) -> ChannelStatistics:
    """Returns the statistics of pixels of which it is known how often each value occurs.

    Args:
        counts: For red, green and blue, how many pixels have the value 0, 1, ... 255.

    Raises:
        DataError: There are no pixels.

    >>> black_and_white = [1, *[0] * 254, 1]
    >>> statistics_of_counts([black_and_white] * 3).std
    (0.5, 0.5, 0.5)
    """
    num_pixels = sum(counts[0])
    if num_pixels == 0:
        raise DataError("there are no pixels to take a mean of")
    means, deviations = [], []
    for channel in counts:
        # Python's integers have no largest one, so nothing overflows and only the end rounds.
        total = sum(value * count for value, count in enumerate(channel))
        squares = sum(value * value * count for value, count in enumerate(channel))
        scale = num_pixels * (_LEVELS - 1)
        means.append(total / scale)
        deviations.append(math.sqrt(num_pixels * squares - total * total) / scale)
    return ChannelStatistics(
        mean=(means[0], means[1], means[2]),
        std=(deviations[0], deviations[1], deviations[2]),
        num_pixels=num_pixels,
    )


def _counts(image: Image.Image) -> NDArray[np.int64]:
    """Returns how often each value occurs in each channel, (3, 256). Grey counts for all three."""
    counts_CL = np.asarray(image.histogram(), dtype=np.int64).reshape(-1, _LEVELS)
    return np.broadcast_to(counts_CL, (3, _LEVELS))


def _stacked(pixels: NDArray[np.uint8]) -> Image.Image:
    """Returns images (B, H, W) or (B, H, W, 3) as one, one below the other."""
    return Image.fromarray(pixels.reshape(-1, *pixels.shape[2:]))
