"""Features on disk: rows that are found by what they were made of.

    CACHE/features/KEY/
        about.json              what decides the features besides the image; KEY is of its digest
        DIGEST.safetensors      ids uint8 (M, 16) and rows (M, ...); DIGEST: SHA-256 of the file

A file comes whole or not at all: it is written under another name and renamed to its own digest. It
never changes after that, so reading locks nothing: two processes at once each add their own, and
one that is killed leaves a file that nobody reads. That the same is not computed twice at once is
the business of turns.py. A digest is looked at before any row is believed;
that takes the place of syncs, too, since what a power cut left undone does not match. Whatever does
not match is removed and computed again.

Shapes: N samples that are asked for, M rows of a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from zoo.disk import TEMPORARY
from zoo.engine.features.identity import ID_BYTES
from zoo.engine.features.rows import Layout, as_numpy
from zoo.errors import MachineError, printable

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Shelf", "ShelfFile", "Writing", "shelf_key"]

_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
_HEADER_LIMIT = 10_000
_DTYPES = {"F32": (torch.float32, np.float32), "BF16": (torch.bfloat16, np.uint16)}
_RESERVE_BYTES = 2**28
# Left free on the disk, for checkpoints.

_ABANDONED_SECONDS = 24 * 3600
# An unfinished file is as old as its process; a pass over images that takes longer writes anew.


def shelf_key(about: Mapping[str, Any]) -> tuple[str, str]:
    """Returns (name of the folder, whole digest) of what decides the features."""
    text = json.dumps(about, sort_keys=True, ensure_ascii=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return digest[:16], digest


@dataclass(frozen=True, slots=True, eq=False)
class ShelfFile:
    """One file of rows, checked.

    Args:
        path: The file.
        ids_M: What each row was made of, (M, 16).
        rows_M: The rows, mapped.
        layout: How they are stored.
    """

    path: Path
    ids_M: NDArray[np.uint8]
    rows_M: NDArray[np.generic]
    layout: Layout

    @classmethod
    def open(cls, path: Path, *, digest: str | None) -> ShelfFile:
        """Maps a file.

        Args:
            path: The file.
            digest: What its SHA-256 has to be; None does not look.

        Raises:
            ValueError: It is not what it should be.
            OSError: It cannot be read.
        """
        with path.open("rb") as file:
            if digest is not None:
                _verify(file, digest)
            return cls.of(file, path)

    @classmethod
    def of(cls, file: BinaryIO, path: Path) -> ShelfFile:
        """Maps an open file, which stays there as long as it is mapped, whatever becomes of path.

        Raises:
            ValueError: It is not what it should be.
            OSError: It cannot be read.
        """
        file.seek(0)
        (length,) = struct.unpack("<Q", file.read(8))
        if length > _HEADER_LIMIT:
            raise ValueError("its header is too long")
        header = json.loads(file.read(length))
        dtype, stored = _DTYPES[header["rows"]["dtype"]]
        count, *shape = (int(side) for side in header["rows"]["shape"])
        last = header["__metadata__"]["channels_last"] == "1"
        start = 8 + length + count * ID_BYTES
        row_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if os.fstat(file.fileno()).st_size != start + count * row_bytes or not count:
            raise ValueError("its length is not that of its rows")
        ids_M = np.frombuffer(file.read(count * ID_BYTES), np.uint8).reshape(-1, ID_BYTES)
        rows_M = np.memmap(file, stored, "r", offset=start, shape=(count, *shape))
        real = (shape[-1], *shape[:-1]) if last else tuple(shape)
        return cls(path, ids_M, rows_M, Layout(shape=real, channels_last=last, dtype=dtype))


_verified: set[tuple[int, int, int, int, str]] = set()
# Files that this process has looked at whole: the trials of a sweep open the same ones again.


def _verify(file: BufferedReader, digest: str) -> None:
    """Raises ValueError if a file does not have this SHA-256; looks at an unchanged one once."""
    facts = os.fstat(file.fileno())
    identity = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, digest)
    if identity in _verified:
        return
    if hashlib.file_digest(file, "sha256").hexdigest() != digest:
        raise ValueError("its digest does not match")
    _verified.add(identity)


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """The kept rows of one key.

    Args:
        root: The cache folder.
        key: Name of the shelf's folder.
        about: What decides its rows.
        files: Those that are there, checked.
        places: Where the row of each id is, counted through all files.
    """

    root: Path
    key: str
    about: Mapping[str, Any]
    files: list[ShelfFile] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path, *, about: Mapping[str, Any], layout: Layout) -> Shelf:
        """Returns what is kept under a key. Makes nothing; removes files that are damaged.

        One that cannot be read now is passed over and stays.

        Args:
            root: The cache folder.
            about: What decides the features besides the images.
            layout: How they have to be stored.
        """
        key, digest = shelf_key(about)
        shelf = cls(root, key, about)
        with suppress(OSError, ValueError, KeyError, TypeError):
            written = json.loads((shelf.folder / "about.json").read_bytes()[:100_000])
            if written["digest"] != digest:
                return shelf
            with suppress(OSError):  # a cache that may only be read is of use, too
                os.utime(shelf.folder / "about.json")  # it was used
            for path in sorted(shelf.folder.iterdir()):
                if not _NAME.fullmatch(path.name):
                    continue
                try:
                    file = ShelfFile.open(path, digest=path.stem)
                    if file.layout != layout:
                        raise ValueError("its rows are of another shape")
                except (IsADirectoryError, ValueError, KeyError, TypeError, struct.error):
                    _remove(path)
                except OSError:  # it may be whole: too many open files, a disk that does not answer
                    continue
                else:
                    shelf.add(file)
        return shelf

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.root / "features" / self.key

    @property
    def arrays(self) -> list[NDArray[np.generic]]:
        """The rows of each file."""
        return [file.rows_M for file in self.files]

    def add(self, file: ShelfFile) -> None:
        """Takes up a file's rows."""
        first = sum(len(other.ids_M) for other in self.files)
        self.files.append(file)
        for row, content in enumerate(file.ids_M):
            self.places.setdefault(content.tobytes(), first + row)

    def find(self, ids_N: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns the place of each sample's row, -1 where there is none."""
        places = self.places
        if not places:
            return np.full(len(ids_N), -1, dtype=np.int64)
        found = (places.get(content.tobytes(), -1) for content in ids_N)
        return np.fromiter(found, dtype=np.int64, count=len(ids_N))

    def write(self, ids_M: NDArray[np.uint8], layout: Layout, *, keep: bool) -> Writing:
        """Returns a file in the making. See :class:`Writing`.

        Args:
            ids_M: What its rows are made of.
            layout: How they are stored.
            keep: Whether the file stays when this process has ended.

        Raises:
            MachineError: There is no space, or no permission.
        """
        needed = len(ids_M) * (ID_BYTES + layout.row_bytes) + _HEADER_LIMIT
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            free = shutil.disk_usage(self.folder).free
            if needed + _RESERVE_BYTES > free:
                raise MachineError(
                    "there is not enough space for frozen features",
                    found=f"{-(-(needed + _RESERVE_BYTES) // 2**20):,} MiB needed, "
                    f"{free // 2**20:,} MiB free in {printable(self.folder.parent)}",
                    hint="free space, or name another folder in ZOO_CACHE",
                )
            _remove_abandoned(self.folder)
            return Writing(self, ids_M, layout, keep=keep)
        except OSError as error:
            raise _failed(self.folder, error) from error


class Writing:
    """A file of rows in the making, filled in order. Leaving the block early leaves nothing.

    with shelf.write(ids_M, layout, keep=True) as writing:
        writing.add(rows)   # as often as it takes
        file = writing.finish()

    Raises:
        MachineError: The disk is full or cannot be written.
    """

    def __init__(
        self, shelf: Shelf, ids_M: NDArray[np.uint8], layout: Layout, *, keep: bool
    ) -> None:
        self._shelf, self._ids_M, self._layout, self._keep = shelf, ids_M, layout, keep
        self._hash = hashlib.sha256()
        self._path = shelf.folder / f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}"
        self._file: BinaryIO | None = self._path.open("x+b")
        try:
            self._put(_header(len(ids_M), layout))
            self._put(ids_M.tobytes())
        except OSError:
            self._leave()
            raise

    def add(self, rows: Tensor) -> None:
        """Writes the next rows, as :meth:`Layout.store` made them."""
        try:
            self._put(as_numpy(rows).data)
        except OSError as error:
            raise _failed(self._shelf.folder, error) from error

    def finish(self, *, keep: bool = True) -> ShelfFile:
        """Gives the file its name, and adds it to the shelf.

        One that was removed meanwhile, as ``zoo cache clear`` does, is of use to this process.

        Args:
            keep: False for one that was to stay, and must not after all.
        """
        assert self._file is not None
        try:
            self._file.flush()
            if not (keep and self._keep and self._path.exists()):
                file = ShelfFile.of(self._file, self._path)
                self._leave()  # it stays mapped, and goes with the process
            else:
                self._file.close()
                self._file = None
                about = self._shelf.folder / "about.json"
                target = self._shelf.folder / f"{self._hash.hexdigest()}.safetensors"
                _write_about(about, self._shelf.about)
                self._path.replace(target)
                file = ShelfFile.open(target, digest=None)
        except OSError as error:
            raise _failed(self._shelf.folder, error) from error
        self._shelf.add(file)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._file is not None:
            self._leave()

    def _leave(self) -> None:
        """Leaves nothing of an unfinished file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        self._discard()

    def _put(self, data: Any) -> None:
        assert self._file is not None
        self._hash.update(data)
        self._file.write(data)

    def _discard(self) -> None:
        with suppress(OSError):
            self._path.unlink()
            self._shelf.folder.rmdir()  # when nothing else is there


def _header(count: int, layout: Layout) -> bytes:
    """Returns the beginning of a safetensors file with ids and rows."""
    name = next(name for name, (dtype, _) in _DTYPES.items() if dtype == layout.dtype)
    ids_end = count * ID_BYTES
    header = {
        "__metadata__": {"channels_last": "1" if layout.channels_last else "0"},
        "ids": {"dtype": "U8", "shape": [count, ID_BYTES], "data_offsets": [0, ids_end]},
        "rows": {
            "dtype": name, "shape": [count, *layout.stored_shape],
            "data_offsets": [ids_end, ids_end + count * layout.row_bytes],
        },
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 16)
    return struct.pack("<Q", len(text)) + text


def _write_about(path: Path, about: Mapping[str, Any]) -> None:
    """Says what is on the shelf."""
    body = {**about, "digest": shelf_key(about)[1]}
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-about")
    temporary.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _remove(path: Path) -> None:
    """Removes what has the name of a file of rows and is none."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left unfinished."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                path.unlink()


def _failed(folder: Path, error: OSError) -> MachineError:
    return MachineError(
        f"frozen features cannot be kept in {printable(folder)}",
        found=error.strerror or str(error), hint="name another folder in ZOO_CACHE",
    )  # fmt: skip
