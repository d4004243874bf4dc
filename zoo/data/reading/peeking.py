"""A look at the header of encoded images, of as few bytes as tell size and change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from zoo.data.pixels.decode import image_size
from zoo.errors import DataError

__all__ = ["HEAD_BYTES", "Peek", "peek_bytes", "peek_file"]

HEAD_BYTES = 1 << 14
"""How much of an encoded image is read to know its size: enough but for large metadata."""

Peek: TypeAlias = Callable[[int], tuple[int, bytes]]
"""Returns the shorter side in pixels of an image, and a mark that nearly always changes with its
content. Where that is not enough, see :mod:`zoo.data.reading.stamps`."""


def peek_file(path: Path, *, name: str) -> tuple[int, bytes]:
    """Looks at the header of a file. The mark is its size in bytes, which a copy of it has too.

    Raises:
        DataError: It is not an image that is read.
    """
    side = min(image_size(path, name=name))
    return side, str(path.stat().st_size).encode()


def peek_bytes(
    content: Callable[[int | None], bytes], *, size: int, name: str
) -> tuple[int, bytes]:
    """Looks at the header of an encoded image. The mark is its length and how it begins.

    Args:
        content: Returns so many first bytes of the image, or with None all of them.
        size: How many bytes it has.
        name: What a person calls it.

    Raises:
        DataError: It is not an image that is read.
    """
    head = content(HEAD_BYTES if size > HEAD_BYTES else None)
    try:
        side = min(image_size(head, name=name))
    except DataError:
        if len(head) == size:
            raise
        # Metadata longer than the head, or a TIFF that keeps its directory at the end.
        side = min(image_size(content(None), name=name))
    return side, hashlib.sha256(f"{size} ".encode() + head).digest()
