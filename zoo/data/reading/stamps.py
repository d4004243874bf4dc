"""Whether files of images were written since: told by the file system, without reading them.

A fingerprint says which data it is, also after the data was copied to another machine. It knows
the files by name and size, so an image that is overwritten by one of as many bytes leaves it as it
was. A stamp is of this machine: every copy has another one, and every file that is written again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from zoo.protocols import Images, PixelImages, SourcedImages

__all__ = ["num_written_since", "stamp_of"]


def stamp_of(images: Images) -> str:
    """Returns a hex digest that changes when the content of an image may have.

    Files are known by size, times and inode, other encoded images by their content. Images that
    are neither are known by the fingerprint of their data set alone: the digest is empty.
    """
    if isinstance(images, PixelImages) or not isinstance(images, SourcedImages):
        return ""
    whole = hashlib.sha256()
    for index in range(len(images)):
        source = images.source(index)
        mark = _mark(source) if isinstance(source, Path) else source or b""
        whole.update(f"{len(mark)} ".encode() + mark)
    return whole.hexdigest()


def num_written_since(
    images: Images | PixelImages, *, when_ns: int, until_ns: int | None = None
) -> int:
    """Returns how many files of images were written, moved or copied to their place later.

    Args:
        images: Of a split. Those that are in no file of their own do not count.
        when_ns: Nanoseconds since 1970.
        until_ns: Times that are later do not count: a clock was wrong. None counts them.
    """
    if isinstance(images, PixelImages) or not isinstance(images, SourcedImages):
        return 0
    count = 0
    for index in range(len(images)):
        source = images.source(index)
        if not isinstance(source, Path):
            return 0  # in memory, or in a larger file that would have to be read
        status = _status(source)
        if status is not None:
            times = (status.st_mtime_ns, status.st_ctime_ns)
            count += any(when_ns < t and (until_ns is None or t <= until_ns) for t in times)
    return count


def _mark(file: Path) -> bytes:
    """Returns what changes with a file; empty where there is none, as decoding it will say."""
    status = _status(file)
    if status is None:
        return b""
    times = f"{status.st_mtime_ns} {status.st_ctime_ns}"  # a copy may keep the first, never both
    return f"{status.st_size} {times} {status.st_ino}".encode()


def _status(file: Path) -> os.stat_result | None:
    try:
        return os.stat(file)
    except OSError:
        return None
