"""How an epoch is cut into batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["num_batches", "split_evenly"]


def num_batches(num_samples: int, batch_size: int) -> int:
    """Returns how many batches an epoch has."""
    return max(1, math.ceil(num_samples / batch_size))


def split_evenly(samples: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cuts samples into batches whose sizes differ by at most one, in order, none left out.

    A remainder would make a small last batch, and a batch of one has no batch-norm statistics.

    >>> [len(batch) for batch in split_evenly(np.arange(9), 4)]
    [3, 3, 3]
    """
    return np.array_split(samples, num_batches(len(samples), batch_size))
