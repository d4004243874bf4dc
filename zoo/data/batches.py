"""Which samples an epoch visits, and how they are cut into batches. All of it counted.

A *draw* is one visit of a sample: ``copy * N + sample``, so that a sample that stands in an epoch
several times is augmented differently each time. Where every sample comes once, draws are samples.

Suffixes: N samples, D draws of an epoch, B draws of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.randomness import Stream, order, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Part", "balanced_draws", "cut", "num_batches", "repeated_draws", "split_evenly"]


@dataclass(frozen=True, slots=True)
class Part:
    """What is computed at once: some draws of a batch.

    Args:
        draws_B: The draws.
        partners_B: The draw of the same batch that each may be mixed with.
    """

    draws_B: NDArray[np.int64]
    partners_B: NDArray[np.int64]


def repeated_draws(num_samples: int, *, repeats: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Returns the draws of an epoch: as many as samples, each drawn ``repeats`` times in a row.

    So an epoch with repeats visits a share of the samples, another one each time.

    Source: Hoffer et al. 2020, "Augment Your Batch".
    """
    visited = order(seed, epoch, num_samples)[: math.ceil(num_samples / repeats)]
    draws_RD = visited[:, None] + num_samples * np.arange(repeats, dtype=np.int64)
    return draws_RD.reshape(-1)[:num_samples]


def balanced_draws(labels_N: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Returns N draws in which every class comes equally often, to within one draw.

    A sample of a rare class comes several times, one of a frequent class in some epochs only.
    Systematic sampling: with N equally spaced marks no sample is drawn twice before all of its
    class are drawn once.
    """
    num_samples = len(labels_N)
    visited = order(seed, epoch, num_samples)
    visited = visited[np.argsort(labels_N[visited], kind="stable")]  # by class, shuffled within
    _, class_of, counts = np.unique(labels_N[visited], return_inverse=True, return_counts=True)
    ends = np.cumsum(1.0 / counts[class_of]) * (num_samples / len(counts))
    offset = uniform(Stream.BALANCE, seed, epoch, [0], count=1)[0, 0]
    marks_D = np.arange(num_samples) + offset
    drawn_D = visited[np.minimum(np.searchsorted(ends, marks_D, side="right"), num_samples - 1)]
    return _numbered(drawn_D, num_samples)[order(seed, epoch, num_samples)]


def _numbered(samples_D: NDArray[np.int64], num_samples: int) -> NDArray[np.int64]:
    """Returns draws: the second visit of a sample is its copy 1, the third its copy 2."""
    by_sample = np.argsort(samples_D, kind="stable")
    ordered = samples_D[by_sample]
    first = np.searchsorted(ordered, ordered, side="left")
    draws_D = np.empty_like(samples_D)
    draws_D[by_sample] = ordered + num_samples * (np.arange(len(ordered)) - first)
    return draws_D


def num_batches(num_samples: int, batch_size: int) -> int:
    """Returns how many batches an epoch has, so that none has a single sample if two can be had."""
    batches = math.ceil(num_samples / batch_size)
    if batch_size > 1:
        batches = min(batches, num_samples // 2)
    return max(1, batches)


def split_evenly(draws: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cuts draws into batches whose sizes differ by at most one, in order, none left out.

    A remainder would make a small last batch, and a batch of one has no batch-norm statistics.
    Rather than that, batches of two become three.

    >>> [len(batch) for batch in split_evenly(np.arange(9), 4)]
    [3, 3, 3]
    >>> [len(batch) for batch in split_evenly(np.arange(5), 2)]
    [3, 2]
    """
    return np.array_split(draws, num_batches(len(draws), batch_size))


def cut(
    batch: NDArray[np.int64], *, num_parts: int, repeats: int = 1, rank: int = 0, world: int = 1
) -> list[Part]:
    """Returns what one process computes of a batch, in at most ``num_parts`` parts, none empty.

    Each draw's partner is the one before it in the whole batch; with repeats it is as many before
    it, and so of another image. Parts and processes change nothing about that.

    Args:
        batch: The draws.
        num_parts: How many parts are asked for.
        repeats: How often an image stands in a row.
        rank: Number of this process.
        world: How many there are.
    """
    partners = np.roll(batch, max(1, min(repeats, len(batch) // 2)))
    num_parts = max(1, min(num_parts, len(batch) // world))
    if num_parts == world == 1:
        return [Part(batch, partners)]
    places = np.array_split(np.arange(len(batch)), num_parts)
    return [Part(batch[p[rank::world]], partners[p[rank::world]]) for p in places]
