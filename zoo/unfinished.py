"""Files and folders in the making, which other processes can tell from what a killed one left.

Whoever makes one holds a lock on it, and the system releases that when the process ends, however it
does. Where there are no locks, as on some network file systems, only age tells: a day. So it is on
Windows, where a file has to be closed before it gets its name.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zoo.disk import sync_folder
from zoo.locks import take_lock

__all__ = ["Part", "part_file", "part_folder", "remove_abandoned"]

_LOCK = "lock"
"""The file in a folder that is locked for it."""

_ABANDONED_SECONDS = 24 * 3600

_ATTEMPTS = (False, False, False, True)
"""Whether it is the last. A process that cleans up hardly ever comes between twice."""


def _leave(path: Path) -> None:
    """Saves nothing of what is to be removed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file in the making.

    Args:
        path: Where it is.
        file: It, open for writing.
    """

    path: Path
    file: BinaryIO

    def become(self, target: Path) -> None:
        """Gives the file its name in the same folder, once all of it is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if sys.platform == "win32":
            self.file.close()
        self.path.replace(target)
        sync_folder(target.parent)


@contextmanager
def part_file(
    folder: Path, *, prefix: str = "", suffix: str = ".part", mode: int = 0o666
) -> Iterator[Part]:
    """Yields a new file, which is removed at the end unless it became another.

    Args:
        folder: Where it is made.
        prefix: How its name begins.
        suffix: How its name ends; eight drawn characters lie between the two.
        mode: Who may read it, less what the umask takes away.
    """

    def opened(path: Path) -> BinaryIO:
        return open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))

    for last in _ATTEMPTS:
        path = folder / f"{prefix}{secrets.token_hex(4)}{suffix}"
        with opened(path) as file:
            try:
                if _hold(file, path) or last:
                    yield Part(path, file)
                    return
            finally:
                if sys.platform == "win32":
                    file.close()
                _remove(path)


@contextmanager
def part_folder(
    parent: Path, *, prefix: str, suffix: str = "", settle: Callable[[Path], None] = _leave
) -> Iterator[Path]:
    """Yields a new folder that holds a file ``lock`` alone, and removes it at the end.

    Args:
        parent: Where it is made.
        prefix: How its name begins.
        suffix: How its name ends; eight drawn characters lie between the two.
        settle: Called before it is removed. Where that raises, it stays.
    """
    for last in _ATTEMPTS:
        path = parent / f"{prefix}{secrets.token_hex(4)}{suffix}"
        path.mkdir()
        with (path / _LOCK).open("xb") as lock:
            if _hold(lock, path / _LOCK) or last:
                try:
                    yield path
                finally:
                    if sys.platform == "win32":
                        lock.close()
                    settle(path)
                    _remove(path)
                return
        _remove(path)


def remove_abandoned(
    folder: Path, pattern: str, *, settle: Callable[[Path], None] = _leave
) -> None:
    """Removes the unfinished files and folders that no process works on any more.

    Args:
        folder: Where they lie.
        pattern: Which they are, for :meth:`Path.glob`. Whatever has such a name is unfinished.
        settle: Called before one is removed. Where that raises, it stays.
    """
    for path in sorted(folder.glob(pattern)):
        if not path.is_symlink():
            with _abandoned(path) as abandoned:
                if abandoned:
                    settle(path)
                    _remove(path)


@contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Yields whether no process works on it. None can begin to while the block runs."""
    descriptor = None
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(path / _LOCK if path.is_dir() else path, os.O_RDWR)
    try:
        held = None if descriptor is None else _is_held(descriptor)
        yield _is_old(path) if held is None else not held
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _hold(file: BinaryIO, path: Path) -> bool:
    """Locks a new file, and returns whether it is still there: one not yet locked looks abandoned.

    Where no lock can be had it is held without one.
    """
    if sys.platform == "win32":
        return True
    with suppress(OSError):
        return take_lock(file.fileno()) and path.exists()
    return True


def _is_held(descriptor: int) -> bool | None:
    """Takes the lock, and returns whether another has it; None where that cannot be told."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK) else None
    return False


def _is_old(path: Path) -> bool:
    """Whether nothing in it has changed for a day."""
    with suppress(OSError):
        newest = max(one.lstat().st_mtime for one in (path, *path.rglob("*")))
        return newest < time.time() - _ABANDONED_SECONDS
    return False


def _remove(path: Path) -> None:
    """Removes a file, or a folder with its lock last: without that only age tells.

    What cannot be removed stays. What links lead to is left alone.
    """
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        for one in path.iterdir():
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one, ignore_errors=True)
            elif one.name != _LOCK:
                one.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
