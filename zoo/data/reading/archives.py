"""The files of a folder or of a tar archive in memory. Nothing is ever unpacked to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from zoo.errors import DataError, printable

__all__ = ["MAX_ARCHIVE_BYTES", "MAX_FILE_BYTES", "archive_files", "folder_files"]

MAX_FILE_BYTES = 200_000_000
"""Largest file that is read: a member has 31 MB in CIFAR-10, 155 MB in CIFAR-100."""

MAX_ARCHIVE_BYTES = 600_000_000
"""Largest content of an archive, unpacked: CIFAR's have 170 to 190 MB."""


def folder_files(folder: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the contents of the files whose name is wanted.

    Raises:
        DataError: A file cannot be read or is too large.
    """
    files: dict[str, bytes] = {}
    try:
        for entry in sorted(folder.iterdir()):
            if wanted(entry.name) and entry.is_file():
                _check_size(entry.stat().st_size, entry.name)
                files[entry.name] = entry.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read", found=error.strerror or "") from None
    return files


def archive_files(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Returns the contents of the regular files whose last name is wanted, by that name.

    Links, devices and folders in the archive are passed over.

    Raises:
        DataError: The archive is damaged, holds a name twice, or is larger than the limits.
    """
    files: dict[str, bytes] = {}
    try:
        with path.open("rb") as start:
            zipped = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as raw:
            bounded = cast("IO[bytes]", _Bounded(cast("IO[bytes]", raw), printable(path)))
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if not member.isfile() or member.issparse() or not wanted(name):
                        continue
                    _check_size(member.size, name)
                    if name in files:
                        raise DataError(f"{printable(path)} holds {printable(name)} twice")
                    content = archive.extractfile(member)
                    files[name] = content.read() if content else b""
            while bounded.read(1 << 20):
                pass  # to the end, where gzip's checksum is
        return files
    except RecursionError:
        reason = "a header announces a header, and so on without end"
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise DataError(
        f"{printable(path)} cannot be read as an archive",
        found=printable(reason),
        hint="download it again",
    )


class _Bounded:
    """A stream that ends with an error where an archive holds more than it may."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self._stream, self._where, self._left = stream, where, MAX_ARCHIVE_BYTES

    def read(self, size: int) -> bytes:
        """Returns up to ``size`` bytes."""
        block = self._stream.read(min(size, self._left + 1))
        self._left -= len(block)
        if self._left < 0:
            raise DataError(
                f"{self._where} is too large an archive to be read in memory",
                found=f"more than {MAX_ARCHIVE_BYTES:,} bytes unpacked",
                hint="unpack it and give the folder",
            )
        return block


def _check_size(size: int, name: str) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{printable(name)} is too large",
            found=f"{size:,} bytes, at most {MAX_FILE_BYTES:,} are read",
        )
