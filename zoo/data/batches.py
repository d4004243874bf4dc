"""How an epoch is cut into batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["num_batches", "split_evenly"]


def num_batches(num_samples: int, batch_size: int) -> int:
    """Returns how many batches an epoch has, so that none has a single sample if two can be had."""
    batches = math.ceil(num_samples / batch_size)
    if batch_size > 1:
        batches = min(batches, num_samples // 2)
    return max(1, batches)


def split_evenly(samples: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cuts samples into batches whose sizes differ by at most one, in order, none left out.

    A remainder would make a small last batch, and a batch of one has no batch-norm statistics.
    Rather than that, batches of two become three.

    >>> [len(batch) for batch in split_evenly(np.arange(9), 4)]
    [3, 3, 3]
    >>> [len(batch) for batch in split_evenly(np.arange(5), 2)]
    [3, 2]
    """
    return np.array_split(samples, num_batches(len(samples), batch_size))
