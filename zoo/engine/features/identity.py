"""What an image is, whatever it is called and wherever it lies: a digest of its content.

Features are found again by it, so runs on parts of a data set, on its folds and on other splits of
it share them, and an image whose content has changed is another one.

Shapes: N images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.threads import Progress, in_blocks
from zoo.protocols import Images, PixelImages, SourcedImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ID_BYTES", "image_ids", "view_ids"]

ID_BYTES = 16
# 128 bits of a SHA-256: two images of a billion are alike by chance once in 10^20 data sets.


def image_ids(
    images: Images | PixelImages,
    *,
    num_threads: int,
    progress: Progress = lambda done, total: None,
) -> NDArray[np.uint8] | None:
    """Returns the digest of each image's encoded content or raw pixels, (N, 16).

    Reading and hashing a photograph of 170 kB takes 0.11 ms on one core, decoding it 2 to 3 ms
    (AMD EPYC, Python 3.11, 64 and 224 pixels), and a pass through a frozen network more than that.

    Args:
        images: The images.
        num_threads: How many threads read.
        progress: Told how many are read.

    Returns:
        None where an image does not say where its content is, or cannot be read.
    """
    total = len(images)
    ids_N = np.empty((total, ID_BYTES), dtype=np.uint8)
    try:
        digest = _digest_of(images)
        for block, digests in in_blocks(
            lambda rows: [digest(row) for row in rows], total,
            num_threads=num_threads, size=64, progress=progress,
        ):  # fmt: skip
            ids_N[block.start : block.stop] = np.frombuffer(b"".join(digests), np.uint8).reshape(
                -1, ID_BYTES
            )
    except _Unknown:
        return None
    return ids_N


def view_ids(ids_N: NDArray[np.uint8], *, spec: str, view: int) -> NDArray[np.uint8]:
    """Returns the digests of one augmented view of each image.

    Args:
        ids_N: The images'.
        spec: All that decides how they are augmented, the seed included.
        view: Number of the view.
    """
    begun = hashlib.sha256(f"view {view} of {spec}".encode())
    digests = []
    for sample, content in enumerate(ids_N):  # the numbers that augment it are the sample's
        own = begun.copy()
        own.update(f"\0{sample}\0".encode() + content.tobytes())
        digests.append(own.digest()[:ID_BYTES])
    return np.frombuffer(b"".join(digests), np.uint8).reshape(ids_N.shape)


class _Unknown(Exception):
    """There is nothing to tell an image by."""


def _digest_of(images: Images | PixelImages) -> Callable[[int], bytes]:
    """Returns what digests the image of a row."""
    if isinstance(images, PixelImages):
        return partial(_digest_of_pixels, images.pixels)
    if isinstance(images, SourcedImages):
        return partial(_digest_of_source, images)
    raise _Unknown


def _digest_of_pixels(pixels: NDArray[np.uint8], row: int) -> bytes:
    image = np.ascontiguousarray(pixels[row])
    whole = hashlib.sha256(f"pixels {image.shape}\0".encode())
    whole.update(image.data)
    return whole.digest()[:ID_BYTES]


def _digest_of_source(images: SourcedImages, row: int) -> bytes:
    source = images.source(row)
    if isinstance(source, Path):
        try:
            with source.open("rb", buffering=0) as file:  # small: a buffer would cost as much
                source = file.readall()
        except OSError as error:  # decoding it will say what is wrong
            raise _Unknown from error
    if source is None:
        raise _Unknown
    return hashlib.sha256(b"encoded\0" + source).digest()[:ID_BYTES]
