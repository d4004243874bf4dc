"""Images as squares, a batch at a time and ahead of the network; what cannot be read is named.

Unlike :class:`zoo.data.pixels.store.Store`, which feeds a training and wants every image, this goes
on past images that cannot be read, and makes squares for several networks of one decoded image.

Shapes: B images of a batch that can be read, C channels, S side of a square, pixels.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.pixels.decode import reader
from zoo.data.pixels.resize import needed_sides, stack_to_bytes, write_square
from zoo.data.pixels.store import ahead
from zoo.errors import DataError
from zoo.protocols import Images, PixelImages, Preprocessing

__all__ = ["BATCH", "Geometry", "Pictures", "pictures_of"]

BATCH = 64
"""Images that go through the network together."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Everything that decides the bytes of a square.

    Args:
        preprocessing: Size, fit, crop and interpolation, and the mean where it colours borders.
        channels: 3 for colour, 1 for grey.
    """

    preprocessing: Preprocessing
    channels: int

    @classmethod
    def of(cls, preprocessing: Preprocessing, channels: int) -> Geometry:
        """Returns the geometry of a preprocessing, without what does not matter to it."""
        plain = replace(preprocessing, std=(1.0,))
        return cls(plain if plain.fit == "pad" else replace(plain, mean=(0.0,)), channels)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Some images in a row, as squares.

    Args:
        rows: Which images.
        good_B: Those of them that could be read, ascending.
        bad: Why the others could not, by image.
        squares: Uint8 (B, C, S, S) for each geometry.
    """

    rows: range
    good_B: NDArray[np.int64]
    bad: dict[int, str]
    squares: Sequence[Tensor]


def pictures_of(
    images: Images, geometries: Sequence[Geometry], *, num_threads: int
) -> Generator[Pictures]:
    """Yields all images in their order, the next batches decoded while one is used.

    Holds three batches, however many images there are.

    Args:
        images: Where they come from. What they raise as DataError is noted and passed over.
        geometries: The squares that are wanted.
        num_threads: How many threads decode; at least one does.
    """
    plan = [range(first, min(first + BATCH, len(images))) for first in range(0, len(images), BATCH)]
    if isinstance(images, PixelImages):
        for rows in plan:
            # A copy of what must not be written to: torch warns of such arrays.
            pixels = np.require(images.pixels[rows.start : rows.stop], requirements="W")
            yield Pictures(
                rows=rows, good_B=np.arange(rows.start, rows.stop), bad={},
                squares=[stack_to_bytes(pixels, g.preprocessing, g.channels) for g in geometries],
            )  # fmt: skip
        return
    decoder = _Decoder(images, geometries)
    with ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="zoo-decode") as pool:

        def fetch(rows: range) -> Any:  # `ahead` is typed for tensors
            return decoder.decode(rows, pool, num_threads)

        try:
            for _, fetched in ahead(plan, fetch):
                pictures: Any = fetched
                yield pictures
        finally:
            decoder.stopped = True  # large images take long, and nobody waits for them any more
            pool.shutdown(wait=True, cancel_futures=True)


class _Decoder:
    """Decodes each image once for all geometries that need it at the same size."""

    def __init__(self, images: Images, geometries: Sequence[Geometry]) -> None:
        self.stopped = False
        self._geometries = geometries
        sides = dict.fromkeys(needed_sides(g.preprocessing) for g in geometries)
        self._ways = [
            (
                reader(images, at_least=needed),
                [i for i, g in enumerate(geometries) if needed_sides(g.preprocessing) == needed],
            )
            for needed in sides
        ]

    def decode(self, rows: range, pool: ThreadPoolExecutor, num_threads: int) -> Pictures:
        """Returns the squares of some images."""
        arrays = [
            np.empty((len(rows), side, side, geometry.channels), dtype=np.uint8)
            for geometry in self._geometries
            for side in (geometry.preprocessing.image_size,)
        ]
        bad: dict[int, str] = {}

        def work(block: NDArray[np.int64]) -> None:
            for place in block.tolist():
                if self.stopped:
                    return
                try:
                    self._fill([array[place] for array in arrays], rows[place])
                except DataError as error:
                    bad[rows[place]] = error.found or error.what

        # A few blocks for each thread: a future an image costs as much as a small image.
        blocks = np.array_split(np.arange(len(rows)), min(len(rows), 4 * max(1, num_threads)))
        list(pool.map(work, blocks))
        good_B = np.asarray([row for row in rows if row not in bad], dtype=np.int64)
        kept = slice(None) if not bad else good_B - rows.start
        return Pictures(
            rows=rows, good_B=good_B, bad=dict(sorted(bad.items())),
            squares=[torch.from_numpy(array[kept]).permute(0, 3, 1, 2) for array in arrays],
        )  # fmt: skip

    def _fill(self, squares: Sequence[NDArray[np.uint8]], row: int) -> None:
        for read, members in self._ways:
            image = read(row)
            for member in members:
                write_square(image, squares[member], self._geometries[member].preprocessing)
