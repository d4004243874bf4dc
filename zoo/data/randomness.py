"""Counted randomness: a random number is a function of where it is used, not of what came before.

The order of samples, their augmentation and each step's dropout come from (seed, epoch, sample or
step). So results depend neither on the number of workers nor on whether a run was interrupted.
The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Stream", "key", "order", "uniform"]


class Stream(IntEnum):
    """What the randomness is for. Streams of one seed are independent."""

    ORDER = 1
    AUGMENT = 2
    STEP = 3
    INIT = 4
    MIX = 5
    BALANCE = 6
    SUBSET = 7


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def key(stream: Stream, *counters: int) -> int:
    """Returns 63 random bits for these counters, fit to seed a generator.

    >>> key(Stream.STEP, 0, 1, 2) == key(Stream.STEP, 0, 1, 2) != key(Stream.STEP, 0, 2, 1)
    True
    """
    state = 0
    for counter in (int(stream), *counters):  # whole numbers: arrays of one take ten times as long
        state = (state + int(_GAMMA) + counter) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


def uniform(
    stream: Stream, seed: int, epoch: int, samples: Sequence[int] | NDArray[np.int64], *, count: int
) -> NDArray[np.float64]:
    """Returns numbers in [0, 1), shape (len(samples), count); row i depends on samples[i] only."""
    rows = _mix(np.asarray(samples, dtype=np.uint64) * _GAMMA + np.uint64(key(stream, seed, epoch)))
    columns = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
    bits = _mix(rows[:, None] + columns[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """Returns the permutation in which an epoch visits the samples."""
    ranks = uniform(Stream.ORDER, seed, epoch, np.arange(num_samples), count=1)[:, 0]
    return np.argsort(ranks, kind="stable").astype(np.int64)
