"""From bytes to what a network takes: (x / 255 - mean) / std, in one thread and little memory.

A batch of 64 images of 224 pixels is 38 MB of floats, and most of the time goes into getting that
much memory, from the system or into the cache. A tensor for each step took 0.33 ms an image, the
steps in place 0.12, and in place for a few images at a time 0.09 (one thread, AMD EPYC, medians of
50; benchmarks/pipeline.py --normal).

On the CPU it is numpy that calculates, on one core. Torch would share it among as many threads as
there are cores, which wait for each other by spinning while the decoders have the cores: on two
cores that made a stream of small images five times slower.

Shapes: B batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_floats", "as_normalised", "by_channel", "normalise_"]

_BLOCK = 2**17
# Values that are worked on at a time: 512 KiB of floats, which stay in the cache between two steps.

_PIXELS_IN_LINE = 2048
# Numpy goes by lines, each of which costs it as much as some dozens of values.


def as_floats(bytes_BCSS: Tensor) -> Tensor:
    """Returns uint8 images as float32 in 0..1, in new memory of the same format."""
    if bytes_BCSS.device.type != "cpu":
        return bytes_BCSS.float().div_(255)
    images_BCSS = torch.empty_like(bytes_BCSS, dtype=torch.float32)
    source, made = _in_numpy(bytes_BCSS), _in_numpy(images_BCSS)
    for some in _blocks(made):
        _divide(source[some], into=made[some])
    return images_BCSS


def as_normalised(bytes_BCSS: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Returns uint8 images as :func:`as_floats` and then :func:`normalise_` make them.

    A few at a time, which stay in the cache from the one to the other.
    """
    images_BCSS = torch.empty_like(bytes_BCSS, dtype=torch.float32)
    last = images_BCSS.is_contiguous(memory_format=torch.channels_last)
    if not last or images_BCSS.device.type != "cpu":
        return normalise_(as_floats(bytes_BCSS), mean, std)
    source_BSSC, made_BSSC = _in_numpy(bytes_BCSS), _in_numpy(images_BCSS)
    lines = _lines_of(tuple(mean), tuple(std), images_BCSS.shape[1])
    for some in _blocks(made_BSSC):
        _divide(source_BSSC[some], into=made_BSSC[some])
        _standardise(made_BSSC[some], *lines)
    return images_BCSS


def by_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Returns a mean or deviation for each channel: their average, where there are more or fewer.

    >>> by_channel((0.25, 0.5, 0.75), 1), by_channel((0.5,), 3)
    ((0.5,), (0.5, 0.5, 0.5))
    """
    own = values if len(values) == channels else [sum(values) / len(values)] * channels
    return tuple(own)


@lru_cache(maxsize=16)
def _tensor_of(
    values: tuple[float, ...], channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Returns a value for each channel, on the device once: a copy each time waits for it."""
    return torch.tensor(by_channel(values, channels), dtype=dtype, device=device)


def normalise_(images_BCSS: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Changes images in place to (images - mean) / std, to the bit as that reads, and returns them.

    Args:
        images_BCSS: Floats in 0..1 that nobody else needs, and through which no gradient flows.
        mean: Of each channel; where there are more or fewer channels, its average counts for all.
        std: Likewise.
    """
    channels, dtype, device = images_BCSS.shape[1], images_BCSS.dtype, images_BCSS.device
    last = images_BCSS.is_contiguous(memory_format=torch.channels_last)
    if not last or device.type != "cpu" or dtype != torch.float32:
        mean_C11, std_C11 = (
            _tensor_of(tuple(values), channels, dtype, device).view(-1, 1, 1)
            for values in (mean, std)
        )
        return images_BCSS.sub_(mean_C11).div_(std_C11)
    images_BSSC, lines = _in_numpy(images_BCSS), _lines_of(tuple(mean), tuple(std), channels)
    for some in _blocks(images_BSSC):
        _standardise(images_BSSC[some], *lines)
    return images_BCSS


def _in_numpy(images_BCSS: Tensor) -> NDArray[Any]:
    """Returns the same images (B, S, S, C)."""
    return images_BCSS.permute(0, 2, 3, 1).numpy()


def _blocks(images: NDArray[Any]) -> Iterator[slice]:
    """Yields a few images at a time."""
    count = max(1, _BLOCK // max(1, images[:1].size))
    for first in range(0, len(images), count):
        yield slice(first, first + count)


def _divide(bytes_BSSC: NDArray[np.uint8], *, into: NDArray[np.float32]) -> None:
    # By itself: on the way into a division numpy converts a little at a time.
    into[...] = bytes_BSSC
    np.divide(into, np.float32(255), out=into)


@lru_cache(maxsize=16)
def _lines_of(
    mean: tuple[float, ...], std: tuple[float, ...], channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns mean and deviation of each value of some pixels in a row, all of whose channels."""
    lines = (
        np.tile(np.array(by_channel(values, channels), dtype=np.float32), _PIXELS_IN_LINE)
        for values in (mean, std)
    )
    mean_L, std_L = lines
    return mean_L, std_L


def _standardise(
    images_BSSC: NDArray[np.float32], mean_L: NDArray[np.float32], std_L: NDArray[np.float32]
) -> None:
    """Works on many pixels in a row: with the channels innermost, it would go by threes."""
    values, length = images_BSSC.reshape(-1), len(mean_L)
    whole = len(values) // length * length
    for part in (values[:whole].reshape(-1, length), values[whole:]):
        np.subtract(part, mean_L[: part.shape[-1]], out=part)
        np.divide(part, std_L[: part.shape[-1]], out=part)
