"""Decoded images on disk, for later epochs and runs.

    CACHE/decoded/SIZEpx-CHANNELSch-KEY/
        pixels   uint8 (N, S, S, C); a hole in the file where a row was never written
        rows     int64 (N, 4): bytes, modification time in ns and inode of the image's file, and 1
        lock     held by every process that uses the two, alone by the one that writes

A row is good when its record says what the file system says of the image's file now. A record is
written after its pixels are on the disk, so a kill at any instant leaves only good rows. The lock
dies with its process. Who cannot have it alone reads the good rows and decodes the others; who
cannot have it at all does without.

Suffixes: N images, M some of them, S side in pixels, C channels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
import torch

from zoo.data.cache import cache_folder
from zoo.data.pixels.resize import fill_colour, needed_sides
from zoo.errors import MachineError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import Preprocessing

__all__ = ["DecodedRows", "cache_folder"]

_FORMAT = 1
_RESERVE_BYTES = 2**28
# Left free on the disk, for checkpoints.

_RACY_NS = 2 * 10**9
# A file that was written this shortly before may be written again within one tick of the file
# system's clock, unseen. Its row serves this process and is not recorded.


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class DecodedRows:
    """The decoded images of one list of files. Kept open, and locked, for as long as it is in use.

    Args:
        folder: Where it lies.
        pixels_NSSC: All rows, mapped from the file, read-only.
        good_N: Which rows are there and of the files as they are now. ``write`` sets it.
        records_N4: What to record of each image once it is decoded.
        writable: Whether this process may write.
        lock: Descriptor of the lock file.
    """

    folder: Path
    pixels_NSSC: NDArray[np.uint8]
    good_N: NDArray[np.bool_]
    records_N4: NDArray[np.int64]
    writable: bool
    lock: int

    @classmethod
    def open(
        cls, root: Path, *, files: Sequence[Path], preprocessing: Preprocessing, channels: int
    ) -> DecodedRows | None:
        """Returns what is kept of these files, or None while another process writes it.

        Args:
            root: The cache folder.
            files: One a row.
            preprocessing: How they become squares.
            channels: 3 or 1.

        Raises:
            MachineError: There is not enough space for all rows, or no permission.
        """
        side = preprocessing.image_size
        key = _key(files, preprocessing, channels)
        folder = root / "decoded" / f"{side}px-{channels}ch-{key}"
        shape = (len(files), side, side, channels)
        with _machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)
            writable = _lock(lock, exclusive=True)
            if not writable and not _lock(lock, exclusive=False):
                os.close(lock)
                return None
            try:
                if writable:
                    _make_room(folder, shape)
                found_N4 = np.fromfile(folder / "rows", dtype=np.int64)
                pixels_NSSC = np.memmap(folder / "pixels", np.uint8, "r", shape=shape)
                if found_N4.size != 4 * len(files):
                    raise ValueError("rows and pixels are of different lengths")
            except ValueError:
                # Somebody else's half-made files: only who holds the lock alone may mend them.
                os.close(lock)
                return None
            except BaseException:
                os.close(lock)
                raise
            found_N4 = found_N4.reshape(-1, 4)
            records_N4 = _records(files)
            good_N = (found_N4 == records_N4).all(axis=1) & (found_N4[:, 3] == 1)
            rows = cls(folder, pixels_NSSC, good_N, records_N4, writable, lock)
            weakref.finalize(rows, os.close, lock)
            if writable and not good_N.all():
                found_N4[~good_N] = 0
                with (folder / "rows").open("r+b") as file:
                    file.write(found_N4.tobytes())
                    file.flush()
                    os.fsync(file.fileno())
        return rows

    def missing(self) -> NDArray[np.int64]:
        """Returns the rows that have to be decoded, ascending."""
        return np.flatnonzero(~self.good_N).astype(np.int64)

    def write(self, rows_M: NDArray[np.int64], pixels_MSSC: NDArray[np.uint8]) -> None:
        """Keeps rows: first their pixels, then, when those are on the disk, their records.

        Raises:
            MachineError: The disk is full or cannot be written.
        """
        now = time.time_ns()
        settled_M = self.records_N4[rows_M, 1] < now - _RACY_NS
        with (
            _machine_errors(self.folder),
            (self.folder / "pixels").open("r+b") as pixels,
            (self.folder / "rows").open("r+b") as records,
        ):
            for row, square_SSC in zip(rows_M.tolist(), pixels_MSSC, strict=True):
                pixels.seek(row * square_SSC.nbytes)
                pixels.write(square_SSC.data)
            pixels.flush()
            os.fsync(pixels.fileno())
            for row in rows_M[settled_M].tolist():
                records.seek(row * self.records_N4[row].nbytes)
                records.write(self.records_N4[row].data)
            records.flush()
            os.fsync(records.fileno())
        self.good_N[rows_M] = True

    def share(self) -> None:
        """Lets other processes read as well. Nothing may be written after this."""
        if self.writable:
            _lock(self.lock, exclusive=False, wait=True)


def _key(files: Sequence[Path], preprocessing: Preprocessing, channels: int) -> str:
    """Returns 16 hex digits for everything that decides what is in the pixels but the files."""
    digest = hashlib.sha256(
        f"{_FORMAT} Pillow {PIL.__version__} torch {torch.__version__} {channels} "
        f"{preprocessing.image_size} {needed_sides(preprocessing)} {preprocessing.fit} "
        f"{preprocessing.interpolation}".encode()
    )
    if preprocessing.fit == "pad":
        digest.update(f" {fill_colour(preprocessing.mean, channels)}".encode())
    for file in files:
        digest.update(b"\0" + os.fsencode(os.path.abspath(file)))
    return digest.hexdigest()[:16]


def _records(files: Sequence[Path]) -> NDArray[np.int64]:
    """Returns bytes, time and inode of each file, and 1; all 0 where there is none."""
    records_N4 = np.zeros((len(files), 4), dtype=np.int64)
    for row, file in enumerate(files):
        try:
            status = os.stat(file)
        except OSError:
            continue  # decoding it will say what is wrong
        inode = status.st_ino & (2**63 - 1)
        records_N4[row] = status.st_size, status.st_mtime_ns, inode, 1
    return records_N4


def _make_room(folder: Path, shape: tuple[int, ...]) -> None:
    """Makes the two files as long as they should be, if the disk has room for what is missing."""
    row_bytes = int(np.prod(shape[1:]))
    lengths = {"rows": 32 * shape[0], "pixels": row_bytes * shape[0]}
    whole = all(
        (folder / name).is_file() and (folder / name).stat().st_size == length
        for name, length in lengths.items()
    )
    allocated = getattr((folder / "pixels").stat(), "st_blocks", 0) * 512 if whole else 0
    needed = max(0, lengths["pixels"] - allocated)
    free = shutil.disk_usage(folder).free
    if needed and needed + _RESERVE_BYTES > free:
        raise MachineError(
            f"there is not enough space to keep {shape[0]:,} decoded images",
            found=f"{-(-(needed + _RESERVE_BYTES) // 2**20):,} MiB needed, {free // 2**20:,} MiB "
            f"free in {printable(folder.parent)}",
            hint="free space, name another folder in ZOO_CACHE, or go without --keep-decoded",
        )
    if whole:
        return
    for name, length in lengths.items():
        with (folder / name).open("wb") as file:
            file.truncate(length)
            os.fsync(file.fileno())


@contextmanager
def _machine_errors(folder: Path) -> Iterator[None]:
    """Turns an OSError of the body into a MachineError."""
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"decoded images cannot be kept in {printable(folder)}",
            found=error.strerror or str(error),
            hint="name another folder in ZOO_CACHE, or go without --keep-decoded",
        ) from error


_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def _lock(descriptor: int, *, exclusive: bool, wait: bool = False) -> bool:
    """Takes or changes a lock that the system releases when the process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # Windows has no lock that several can hold: the first process uses the cache.
            if exclusive:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return exclusive or wait
        import fcntl

        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
