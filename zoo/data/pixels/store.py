"""Images of one split at the size that the network takes, fetched a batch at a time.

Images are decoded when they are asked for, some batches ahead of the one in use, or read from a
file of decoded images on disk. Those of a split that fits the memory budget are held as bytes from
then on; small ones are all decoded before the first is used. Whatever the way, an image has the
same bits.

Shapes: N images, B batch, C channels, S side in pixels.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from zoo.data.pixels.damage import bad_images, find_bad
from zoo.data.pixels.decode import files_of, reader
from zoo.data.pixels.decoded import DecodedRows
from zoo.data.pixels.resize import needed_sides, stack_to_bytes, write_squares
from zoo.data.threads import QUICK_DECODING_SECONDS, Decoders
from zoo.errors import DataError
from zoo.protocols import Images, PixelImages, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from zoo.data.threads import Progress

__all__ = ["Store", "ahead"]

_CHUNK = 256
# Images decoded between two reports of progress, and between two syncs of the disk.

_TOGETHER_BYTES = 2**18
# Decoded images that wait to be resized with others of their size. Large ones would leave the
# processor's cache: 16 of 500 pixels took 1.5 to 2.5 times as long together.

_BATCHES_AHEAD = 2
# With one, the decoding threads have nothing to do while the last images of a batch are decoded.

_T = TypeVar("_T")
_F = TypeVar("_F")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """The images of a split that were asked for so far. Rows without an image take no memory."""

    pixels_NSSC: NDArray[np.uint8]
    there_N: NDArray[np.bool_]

    @classmethod
    def none_of(cls, count: int, *, side: int, channels: int) -> Held:
        """Returns room for so many images, none of which is there."""
        shape = (count, side, side, channels)
        return cls(np.empty(shape, dtype=np.uint8), np.zeros(count, dtype=np.bool_))

    def missing(self, samples_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns which of these images are not there, each once."""
        return np.unique(samples_B[~self.there_N[samples_B]])

    def add(self, samples_B: NDArray[np.int64], pixels_BSSC: NDArray[np.uint8]) -> None:
        """Takes images in. Two threads may bring the same one: it has the same bits."""
        self.pixels_NSSC[samples_B] = pixels_BSSC
        self.there_N[samples_B] = True  # only now: another thread may be looking


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """The images of one split, ready to be fetched.

    Args:
        images: Where they come from.
        preprocessing: Size, fit, crop and interpolation.
        channels: 3 for colour, 1 for grey.
        decoders: The threads that decode.
        held: Those in memory, when all of them fit the budget; else None.
        kept: Those that are decoded on disk, if that was asked for and can be had.
    """

    images: Images | PixelImages
    preprocessing: Preprocessing
    channels: int
    decoders: Decoders
    held: Held | None = None
    kept: DecodedRows | None = None

    @classmethod
    def open(
        cls,
        images: Images | PixelImages,
        *,
        preprocessing: Preprocessing,
        channels: int,
        budget_bytes: int,
        num_threads: int,
        progress: Progress = lambda done, total: None,
        keep_decoded: Path | None = None,
        behind: bool = False,
    ) -> Store:
        """Returns a store, which holds the images in memory when they fit ``budget_bytes``.

        Args:
            images: Where the images come from.
            preprocessing: How they become squares.
            channels: 3 for colour, 1 for grey.
            budget_bytes: Memory that they may take.
            num_threads: How many threads decode; 0 decodes in the thread that fetches.
            progress: Told how many are decoded, of how many, as far as they are decoded here.
            keep_decoded: Cache folder in which to keep them decoded, for later epochs and runs.
                Without effect on images that do not come from files.
            behind: Decode behind the first pass whatever is quick, too: for a pass that computes
                outside Python, as a frozen network's.

        Raises:
            DataError: Images that are decoded here cannot be, all of them named.
            MachineError: ``keep_decoded`` has no room for them or cannot be written.
        """
        store = cls(images, preprocessing, channels, Decoders(num_threads))
        if isinstance(images, PixelImages):
            return store
        files = None if keep_decoded is None else files_of(images)
        if keep_decoded is not None and files is not None:
            kept = DecodedRows.open(
                keep_decoded, files=files, preprocessing=preprocessing, channels=channels
            )
            if kept is not None and kept.writable:
                store._fill(kept, progress)
                kept.share()
            store = replace(store, kept=kept)
        side, total = preprocessing.image_size, len(images)
        if total * channels * side * side > budget_bytes:
            return store
        if behind and store.kept is None:
            return store.holding()
        holding = replace(store.holding(), kept=None)
        began = 0.0
        for done in store._naming_all(holding._filling(store)):
            progress(done, total)
            if done <= _CHUNK:  # the first ones pay for what is loaded to decode them
                began = time.perf_counter()
                continue
            pace = (time.perf_counter() - began) / (done - _CHUNK)
            # Quick ones are bound by Python's lock: behind a loop that wants it as well, 6,000 PNG
            # of 28 pixels took 0.71 s instead of 0.55 (medians of 6, two cores of an AMD EPYC).
            # Kept ones are read at once, so that the lock on their file can go.
            if store.kept is None and pace > QUICK_DECODING_SECONDS:
                break
        return holding

    def __len__(self) -> int:
        return len(self.images)

    def holding(self) -> Store:
        """Returns a store of the same images that holds what it is asked for; nothing so far."""
        side = self.preprocessing.image_size
        return replace(self, held=Held.none_of(len(self), side=side, channels=self.channels))

    @property
    def decodes(self) -> bool:
        """Whether a fetch has to decode or read, and so is worth doing ahead."""
        if isinstance(self.images, PixelImages):
            return False
        return self.held is None or not self.held.there_N.all()

    def fetch(self, samples_B: NDArray[np.int64]) -> Tensor:
        """Returns these images as uint8 of shape (B, C, S, S), in channels-last memory format.

        Raises:
            DataError: Images cannot be decoded, those of this batch named.
        """
        if isinstance(self.images, PixelImages):
            pixels = self.images.pixels[samples_B]
            return stack_to_bytes(pixels, self.preprocessing, self.channels)
        if self.held is None:
            pixels_BSSC = self._decoded(samples_B)
        else:
            if len(missing_B := self.held.missing(samples_B)):
                self.held.add(missing_B, self._decoded(missing_B))
            pixels_BSSC = self.held.pixels_NSSC[samples_B]
        return torch.from_numpy(pixels_BSSC).permute(0, 3, 1, 2)

    def stream(
        self, items: Iterable[_T], samples_of: Callable[[_T], NDArray[np.int64]]
    ) -> Iterator[tuple[_T, Tensor]]:
        """Yields each item with its images, in order, the next ones decoded meanwhile.

        Args:
            items: What the batches are made of.
            samples_of: Which images an item needs.

        Raises:
            DataError: Images cannot be decoded. All others are decoded as well, to name every one.
        """

        def fetch(item: _T) -> Tensor:
            return self.fetch(samples_of(item))

        if self.decodes and self.decoders.num_threads > 0:
            self.decoders.begin()
            return self._naming_all(ahead(items, fetch, asked=self.decoders.asked))
        return self._naming_all((item, fetch(item)) for item in items)

    def _naming_all(self, batches: Iterator[_T]) -> Iterator[_T]:
        try:
            yield from batches
        except DataError:
            if isinstance(self.images, PixelImages):
                raise
            if bad := find_bad(self.images, num_threads=self.decoders.num_threads):
                raise bad_images(self.images, bad) from None
            raise

    def _filling(self, source: Store) -> Iterator[int]:
        """Takes images into memory, and yields after each chunk how many are there."""
        assert self.held is not None
        for first in range(0, len(self), _CHUNK):
            chunk_B = np.arange(first, min(first + _CHUNK, len(self)))
            self.held.add(chunk_B, source._decoded(chunk_B))
            yield first + len(chunk_B)

    def _decoded(self, samples_B: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns images of shape (B, S, S, C). Raises DataError, which names those it cannot."""
        assert not isinstance(self.images, PixelImages)
        side = self.preprocessing.image_size
        batch_BSSC = np.empty((len(samples_B), side, side, self.channels), dtype=np.uint8)
        if bad := self._decode(samples_B, batch_BSSC):
            raise bad_images(self.images, bad)
        return batch_BSSC

    def _decode(
        self, samples_B: NDArray[np.int64], batch_BSSC: NDArray[np.uint8]
    ) -> dict[int, str]:
        """Fills a batch and returns the reason by sample of the images that cannot be read."""
        assert not isinstance(self.images, PixelImages)
        read = reader(self.images, at_least=needed_sides(self.preprocessing))
        bad: dict[int, str] = {}

        def work(rows: NDArray[np.int64]) -> None:
            waiting: dict[int, Image] = {}
            num_bytes = 0
            for row in rows.tolist():
                sample = int(samples_B[row])
                if self.kept is not None and self.kept.good_N[sample]:
                    batch_BSSC[row] = self.kept.pixels_NSSC[sample]
                    continue
                try:
                    image = waiting[row] = read(sample)
                except DataError as error:
                    bad[sample] = error.found or error.what
                    continue
                num_bytes += image.width * image.height * len(image.getbands())
                if num_bytes > _TOGETHER_BYTES:
                    write_squares(waiting, batch_BSSC, self.preprocessing)
                    waiting, num_bytes = {}, 0
            write_squares(waiting, batch_BSSC, self.preprocessing)

        self.decoders.run(work, np.arange(len(samples_B)))
        return bad

    def _fill(self, kept: DecodedRows, progress: Progress) -> None:
        """Decodes what is missing on disk."""
        assert not isinstance(self.images, PixelImages)
        missing = kept.missing()
        side = self.preprocessing.image_size
        bad: dict[int, str] = {}
        for first in range(0, len(missing), _CHUNK):
            chunk = missing[first : first + _CHUNK]
            batch_BSSC = np.empty((len(chunk), side, side, self.channels), dtype=np.uint8)
            found = self._decode(chunk, batch_BSSC)
            fine_B = ~np.isin(chunk, list(found))
            kept.write(chunk[fine_B], batch_BSSC[fine_B])
            bad |= found
            progress(first + len(chunk), len(missing))
        if bad:
            raise bad_images(self.images, bad)


def ahead(
    items: Iterable[_T],
    fetch: Callable[[_T], _F],
    *,
    depth: int = _BATCHES_AHEAD,
    asked: Callable[[bool], None] = lambda there: None,
) -> Iterator[tuple[_T, _F]]:
    """Yields (item, fetch(item)) in order; ``depth`` more are fetched while one is used.

    Args:
        items: What is fetched.
        fetch: Called in other threads.
        depth: How many are fetched ahead.
        asked: Told of each item but the first, when it is asked for, whether it was there.
    """
    with ThreadPoolExecutor(depth, thread_name_prefix="zoo-ahead") as pool:
        waiting: deque[tuple[_T, Future[_F]]] = deque()
        first = True

        def next_one() -> tuple[_T, _F]:
            nonlocal first
            item, future = waiting.popleft()
            if not first:
                asked(future.done())
            first = False
            return item, future.result()

        try:
            for item in items:
                waiting.append((item, pool.submit(fetch, item)))
                if len(waiting) > depth:
                    yield next_one()
            while waiting:
                yield next_one()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
