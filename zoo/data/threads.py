"""Work on many images by threads. Pillow decodes, resizes and counts without Python's lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QUICK_DECODING_SECONDS", "Decoders", "Progress", "in_blocks"]

Progress = Callable[[int, int], None]
"""Told how many are done, of how many."""

_QUICK_SECONDS = 80e-6
# What takes less than this for an image is mostly Python. Threads that take its lock from each
# other then cost more than they win: the headers of 8,000 small files in the system's cache, two
# cores: 0.24 s in one thread, 0.47 in two, 0.68 in four (AMD EPYC, Python 3.11, Pillow 13.0).

QUICK_DECODING_SECONDS = 190e-6
# Likewise for decoding and resizing. Microseconds an image by Pillow's reader, one thread and two
# on two cores: PNG of 28 pixels 94 and 151, of 48 157 and 160; JPEG of 64 134 and 175, of 96 194
# and 186, of 128 256 and 167, of 224 484 and 317. Two take 1.2 to 2 times one's processor time.

_FAR_SECONDS = 1e-3
# More than this on the clock, whatever of it the processor was busy, is a disk that keeps a thread
# waiting. Less may be Python's lock, or that other threads compute.

_SLOW_CALLS = 2
# Batches in a row that must have been slow. Among threads that take the lock from each other all
# images are slow, so from then on they are not looked at any more.

_MOST_NEEDED = 64
# Batches in a row that were there in time before one thread is tried again, at most.

_FIRST_BLOCK, _BLOCK = 8, 32
# The first is enough to know images that take three times as long or more. For what is close there
# must be more of them: resizing a block has its price, whatever its size.

_T = TypeVar("_T")


def in_blocks(
    work: Callable[[range], _T],
    count: int,
    *,
    num_threads: int,
    size: int = 32,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[range, _T]]:
    """Yields (block, work(block)) for the indices below ``count``, in the order they get ready.

    The caller's thread works alone until a block is slow: files that the system holds in memory
    are looked at faster than threads agree, and those on a far disk are not. Blocks, because a
    future for each image costs more than looking at a small one. Only a few blocks wait at a time,
    so an error or a stop takes effect at once.

    Args:
        work: Called with a range of indices, in any thread.
        count: How many indices there are.
        num_threads: How many threads work; at least one does.
        size: Indices a block.
        progress: Told after each block.

    Raises:
        Exception: Whatever ``work`` raises, the first of it.
    """
    blocks = iter([range(start, min(start + size, count)) for start in range(0, count, size)])
    done = 0
    for block in blocks:
        began = time.perf_counter()
        made = work(block)
        slow = time.perf_counter() - began > _QUICK_SECONDS * len(block)
        yield block, made
        done += len(block)
        progress(done, count)
        if slow:
            break
    pool = ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="zoo-data")
    pending: dict[Future[_T], range] = {}
    try:
        while True:
            while len(pending) < 2 * num_threads + 2 and (another := next(blocks, None)):
                pending[pool.submit(work, another)] = another
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                block = pending.pop(future)
                yield block, future.result()
                done += len(block)
                progress(done, count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Decoders:
    """Threads that decode: all of them while images are slow and somebody waits, else one.

    Any number of threads may call it at once. While one decodes they wait for each other: with
    quick images threads that take Python's lock from each other would all be slower, and where
    images are there in time, what takes the cores from whoever uses them helps nobody.

    Args:
        num_threads: How many decode at most; 0 decodes in the caller's thread.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._in_time, self._needed = 0, 1
        self._pool: ThreadPoolExecutor | None = None
        self._turn, self._slow_calls = Lock(), 0

    def begin(self) -> None:
        """Takes note that from now on somebody waits for the first images."""
        self._in_time = 0

    def asked(self, there: bool) -> None:
        """Takes note that the next images are asked for, and whether they were there already.

        One thread goes on alone after a batch that was there. When a later one is not, twice as
        many must be the next time.
        """
        if not there and self._in_time >= self._needed:
            self._needed = min(2 * self._needed, _MOST_NEEDED)
        self._in_time = self._in_time + 1 if there else 0

    @property
    def _awaited(self) -> bool:
        """Whether somebody waits for what is decoded now."""
        return self._in_time < self._needed

    def run(self, work: Callable[[NDArray[np.int64]], None], images_B: NDArray[np.int64]) -> None:
        """Calls ``work`` with some of the images at a time, and returns when all are done.

        Args:
            work: Called in any thread.
            images_B: Numbers of images.
        """
        if self.num_threads < 2:
            with self._turn:
                work(images_B)
            return
        if self._slow_calls < _SLOW_CALLS or not self._awaited:
            with self._turn:
                images_B = self._alone(work, images_B)
        if not len(images_B):
            return
        with self._turn:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.num_threads, "zoo-decode")
        # A few blocks for each thread: a future an image costs as much as a small image.
        blocks = np.array_split(images_B, min(len(images_B), 4 * self.num_threads))
        list(self._pool.map(work, blocks))

    def _alone(
        self, work: Callable[[NDArray[np.int64]], None], images_B: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Works on images until they are slow for sure and awaited; returns those that are left."""
        size, paces, slow = _FIRST_BLOCK, list[float](), False
        while len(images_B):
            block, images_B = images_B[:size], images_B[size:]
            began, busy = time.perf_counter(), time.thread_time()
            work(block)
            busy, took = time.thread_time() - busy, time.perf_counter() - began
            paces.append(max(busy / QUICK_DECODING_SECONDS, took / _FAR_SECONDS) / len(block))
            size = _BLOCK
            best = min(paces)  # something else may have been in one's way
            slow = best > 3 or (best > 1 and len(paces) > 2)
            if slow and self._awaited:
                break
        if slow or len(paces) > 2:  # a few images tell nothing
            self._slow_calls = self._slow_calls + 1 if slow else 0
        return images_B
