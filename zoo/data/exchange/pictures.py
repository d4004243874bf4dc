"""Images of a data set one by one, for writing: as they are, at a size, many at a time.

Shapes: H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from zoo.cores import num_cores
from zoo.data.exchange.safe_names import SafeNames
from zoo.data.reading.scan import SUFFIXES, bullets
from zoo.data.threads import Progress, in_blocks
from zoo.errors import DataError, UsageError, printable
from zoo.protocols import DataSet, Images, PixelImages, Split

__all__ = [
    "FORMATS",
    "MAX_SIDE",
    "check_size",
    "picture",
    "square",
    "within",
    "work_through",
    "write_pictures",
]

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "png": {},
    "webp": {"lossless": True},
    "jpg": {"quality": 95, "subsampling": 0},
}
FORMATS: tuple[str, ...] = tuple(_OPTIONS)
"""Formats that images are written in, by suffix. PNG and WebP keep every pixel."""

MAX_SIDE = 8192
"""Largest side that images are scaled to, pixels."""


def check_size(size: int | None) -> None:
    """Raises a UsageError for a side that is no number of pixels."""
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise UsageError(f"the size {size} is out of range", hint=f"1 to {MAX_SIDE} pixels")


def picture(images: Images, row: int) -> Image.Image:
    """Returns an image as it is best written: grey where it is held as grey, else RGB.

    Raises:
        DataError: It cannot be read.
    """
    if isinstance(images, PixelImages):
        return Image.fromarray(images.pixels[row])
    return images.read(row)


def within(image: Image.Image, size: int | None) -> Image.Image:
    """Returns the image with its longer side at most ``size`` pixels. Never larger than it was."""
    if size is None or max(image.size) <= size:
        return image
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def square(image: Image.Image, size: int | None) -> Image.Image:
    """Returns the centre of the image as a square of ``size`` pixels, the shorter side whole."""
    if size is None or image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def work_through(
    work: Callable[[int], None], count: int, *, data: DataSet, progress: Progress
) -> None:
    """Calls ``work(index)`` for every index below ``count``, by threads.

    Raises:
        DataError: It raised a DataError for some; all of them are told.
    """

    def block(indices: range) -> list[str]:
        problems = []
        for index in indices:
            try:
                work(index)
            except DataError as error:
                problems.append(f"{error.what}: {error.found}")
        return problems

    found: list[str] = []
    for _, problems in in_blocks(block, count, num_threads=num_cores(), size=64, progress=progress):
        found += problems
    if found:
        raise DataError(
            f"{len(found)} of {count} images of {printable(data.name)} cannot be read\n"
            + bullets(found),
            hint="replace or remove them: zoo data check names them all",
        )


def write_pictures(
    data: DataSet,
    root: Path,
    *,
    folders: Sequence[str],
    transform: Callable[[Image.Image], Image.Image],
    format: str,
    progress: Progress,
) -> dict[str, list[str]]:
    """Writes every image as ``root/SPLIT/FOLDER/NAME`` and returns those paths below root by split.

    Args:
        data: The data set.
        root: A folder that is there.
        folders: Safe folder name of each class.
        transform: Applied to each image, from any thread.
        format: One of ``FORMATS``.
        progress: Told how many images are done, of how many.

    Raises:
        DataError: Images cannot be read; all of them are named.
    """
    paths = {s: _paths(part, s, folders, f".{format}") for s, part in data.splits.items()}
    for parents in ({path.rpartition("/")[0] for path in found} for found in paths.values()):
        for parent in sorted(parents):
            (root / parent).mkdir(parents=True)
    flat = [(s, row) for s, part in data.splits.items() for row in range(len(part.images))]

    def write(position: int) -> None:
        split, row = flat[position]
        image = transform(picture(data.splits[split].images, row))
        image.save(root / paths[split][row], **_OPTIONS[format])

    work_through(write, len(flat), data=data, progress=progress)
    return paths


def _paths(part: Split, split: str, folders: Sequence[str], suffix: str) -> list[str]:
    """Returns a path for each image of a split, no two alike."""
    names = [SafeNames() for _ in folders]
    paths = []
    for row, label in enumerate(part.labels_N):
        full = part.images.name(row)
        stem, dot, last = full.rpartition("/")[2].rpartition(".")
        name = stem if dot and f".{last.lower()}" in SUFFIXES else full.rpartition("/")[2]
        paths.append(f"{split}/{folders[label]}/{names[label].part(name, key=full)}{suffix}")
    return paths
