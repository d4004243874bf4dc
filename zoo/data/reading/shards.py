"""Tar files of samples (the WebDataset layout) read in place: indexed once, then any order.

    0001.jpg 0001.cls 0002.jpg 0002.cls ...

Members that follow each other and share everything up to the first dot of the file name are one
sample; what comes after that dot tells its parts apart. Nothing is ever extracted: a name in the
archive is only a name, and links lead nowhere.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from zoo.data.pixels.decode import open_image
from zoo.errors import DataError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Sample", "Shard", "ShardImages", "Span", "index_shard", "read_span", "sample_key"]

Span: TypeAlias = tuple[int, int]
"""Offset of the first byte, and number of bytes."""

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The members of one sample.

    Args:
        key: What their names share.
        parts: Where each begins and how long it is, by what follows the first dot, lower case.
    """

    key: str
    parts: Mapping[str, Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One tar file and what is in it.

    Args:
        name: What a person calls it: the file's name.
        source: The file, or its content.
        size: Bytes.
        samples: In the order of the archive.
        left_out: Members that are not read (links, devices), as messages show them.
        odd: Names that would lead outside a folder. Read like others, since they name no file.
    """

    name: str
    source: Path | bytes = field(repr=False)
    size: int
    samples: Sequence[Sample] = field(repr=False)
    left_out: Sequence[str] = ()
    odd: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardImages:
    """Encoded images inside tar files, each read from its place when it is asked for.

    Holds no open file, so it can be read from many threads and sent to other processes.

    Args:
        sources: The tar files.
        shard_N: Which of them an image is in.
        offset_N: Where it begins, bytes.
        size_N: How long it is, bytes.
        names: ``SHARD/MEMBER`` of each.
    """

    sources: Sequence[Path | bytes]
    shard_N: NDArray[np.int32]
    offset_N: NDArray[np.int64]
    size_N: NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def content(self, index: int, most: int | None = None) -> bytes:
        """Returns the encoded image, or its first ``most`` bytes."""
        size = int(self.size_N[index])
        span = int(self.offset_N[index]), size if most is None else min(size, most)
        return read_span(self.sources[self.shard_N[index]], span)

    def read(self, index: int) -> Image:
        """Returns the image as RGB, upright.

        Raises:
            DataError: It cannot be read or decoded.
        """
        return open_image(self.source(index), name=self.names[index])

    def source(self, index: int) -> bytes:
        """Returns the encoded image.

        Raises:
            DataError: The shard cannot be read any more.
        """
        try:
            return self.content(index)
        except OSError as error:
            raise DataError(
                f"cannot read the image {printable(self.names[index])}",
                found=error.strerror or str(error),
            ) from error

    def name(self, index: int) -> str:
        """Returns the shard and the member within it."""
        return self.names[index]


def read_span(source: Path | bytes, span: Span) -> bytes:
    """Returns these bytes of a file or of its content.

    A file is opened for each call: 10 microseconds that spare a table of open files.
    """
    offset, size = span
    if isinstance(source, bytes):
        return source[offset : offset + size]
    with source.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def sample_key(name: str) -> tuple[str, str]:
    """Returns (key, part) of a member's name: split at the first dot of its last component.

    >>> sample_key("train/0001.seg.PNG")
    ('train/0001', 'seg.png')
    >>> sample_key("README")
    ('README', '')
    """
    folder, slash, file = name.rpartition("/")
    stem, _, part = file.partition(".")
    return folder + slash + stem, part.lower()


def index_shard(source: Path | bytes, *, name: str) -> Shard:
    """Returns what is in a tar file, reading its headers only.

    Args:
        source: A regular file, or the content of one, not compressed.
        name: What a person calls it.

    Raises:
        DataError: It is no tar file, is truncated or damaged, or two members of a sample have the
            same name.
    """
    shown = printable(name)
    samples: list[Sample] = []
    left_out: list[str] = []
    odd: list[str] = []
    seen: set[str] = set()
    parts: dict[str, Span] = {}
    previous: str | None = None
    try:
        with _opened(source) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            for member in _members(file, size):
                if not member.isreg() or member.issparse():
                    if not member.isdir():
                        left_out.append(f"{printable(member.name)} in {shown}")
                    continue
                if member.name.startswith("/") or ".." in member.name.split("/"):
                    odd.append(f"{printable(member.name)} in {shown}")
                key, part = sample_key(member.name)
                if key.rpartition("/")[2].startswith("__"):
                    continue  # WebDataset keeps notes about the shard under such names
                if key != previous:
                    if key in seen:
                        raise _Damaged(f"the sample {printable(key)} is there twice, apart")
                    seen.add(key)
                    parts = {}
                    samples.append(Sample(key=key, parts=parts))
                    previous = key
                if part in parts:
                    raise _Damaged(f"{printable(member.name)} is there twice")
                parts[part] = (member.offset_data, member.size)
    except _Damaged as error:
        reason = str(error)
    except FileNotFoundError:
        reason = "no such file"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:
        # Headers are what somebody else wrote: besides its own errors tarfile lets ValueError,
        # UnicodeError, OverflowError and, for chains of extensions, RecursionError through.
        reason = f"truncated or damaged: {error}"
    else:
        return Shard(
            name=name, source=source, size=size, samples=samples, left_out=left_out, odd=odd
        )
    raise DataError(
        f"cannot read the shard {shown}",
        found=printable(reason),
        hint="fetch or write it again; a shard is a tar file, plain or compressed",
    )


def _members(file: IO[bytes], size: int) -> Iterator[tarfile.TarInfo]:
    """Yields the members in order, each with all of its data inside the file."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        place = -1
        while (member := archive.next()) is not None:
            # A negative size would send older versions of tarfile round in a circle for ever
            # (CVE-2025-8194).
            if member.size < 0 or archive.offset <= place:
                raise _Damaged("a member of negative size")
            if member.isreg() and not member.issparse() and member.offset_data + member.size > size:
                raise _Damaged(f"truncated within {printable(member.name)}")
            place = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]  # grows by a record a member
            yield member
        file.seek(archive.offset)
        # Two empty blocks end an archive. tarfile takes any end for one.
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise _Damaged("damaged or truncated: it does not end as a tar file does")


def _opened(source: Path | bytes) -> IO[bytes]:
    """Opens the content. Never waits for a pipe and never reads a device."""
    if isinstance(source, bytes):
        return BytesIO(source)
    descriptor = os.open(
        source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Damaged("not a regular file")
    return os.fdopen(descriptor, "rb")


class _Damaged(Exception):
    """A reason that is already in words."""
