"""From bytes to what a network takes: (x / 255 - mean) / std, in one thread and little memory.

A batch of 64 images of 224 pixels is 38 MB of floats, and most of the time goes into getting that
much fresh memory from the system. Each step that returns a new tensor pays for it again: one after
the other took 0.88 ms of processor time an image; in place and by whole rows of pixels it is 0.28.

On the CPU it is numpy that calculates, on one core. Torch would share it among as many threads as
there are cores, which wait for each other by spinning while the decoders have the cores: on two
cores that made a stream of small images five times slower.

Shapes: B batch, C channels, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_floats", "by_channel", "normalise_"]

_BLOCK = 2**18
# Values that are worked on at a time: 1 MB of floats, which stay in the cache between two steps.


def as_floats(bytes_BCSS: Tensor) -> Tensor:
    """Returns uint8 images as float32 in 0..1, in new memory of the same format."""
    if bytes_BCSS.device.type != "cpu":
        return bytes_BCSS.float().div_(255)
    images_BCSS = torch.empty_like(bytes_BCSS, dtype=torch.float32)
    rows = _rows(images_BCSS)
    # A cut-out of larger images has gaps between its rows, which new memory has not.
    np.divide(
        bytes_BCSS.permute(0, 2, 3, 1).reshape(rows.shape).numpy(), np.float32(255),
        out=rows.numpy(), dtype=np.float32, casting="unsafe",
    )  # fmt: skip
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
    channels, width = images_BCSS.shape[1], images_BCSS.shape[3]
    mean_C, std_C = (
        _tensor_of(tuple(values), channels, images_BCSS.dtype, images_BCSS.device)
        for values in (mean, std)
    )
    if not images_BCSS.is_contiguous(memory_format=torch.channels_last):
        return images_BCSS.sub_(mean_C.view(1, -1, 1, 1)).div_(std_C.view(1, -1, 1, 1))
    # Whole rows: with the channels innermost, it would go through them three at a time.
    rows, mean_row, std_row = _rows(images_BCSS), mean_C.repeat(width), std_C.repeat(width)
    if images_BCSS.device.type != "cpu" or images_BCSS.dtype != torch.float32:
        rows.sub_(mean_row).div_(std_row)
        return images_BCSS
    for block in _blocks(rows.numpy()):
        np.subtract(block, mean_row.numpy(), out=block)
        np.divide(block, std_row.numpy(), out=block)
    return images_BCSS


def _rows(images_BCSS: Tensor) -> Tensor:
    """Returns a view (B, S, S * C), or (B, S, S, C) where the channels are not innermost."""
    images_BSSC = images_BCSS.permute(0, 2, 3, 1)
    return images_BSSC.flatten(2) if images_BSSC.is_contiguous() else images_BSSC


def _blocks(images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yields a few images at a time."""
    count = max(1, _BLOCK // max(1, images[:1].size))
    for first in range(0, len(images), count):
        yield images[first : first + count]
