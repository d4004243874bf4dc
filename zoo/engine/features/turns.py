"""One process computes features that several ask for; the others wait, and find them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.locks import take_lock

__all__ = ["in_turn"]

_SECONDS_BETWEEN_LOOKS = 0.05
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def in_turn(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Runs the block when no other process is in one of the same path.

    A process that is killed in the block lets the others go on. Where no lock can be had nobody
    waits: what is computed twice is only slower.

    Args:
        path: A file of this name marks the block. It is gone afterwards.
        waiting: Called again and again meanwhile. May raise to stop.
    """
    descriptor = _locked(path, waiting)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):  # Windows: others have it open
                path.unlink()
            os.close(descriptor)


def _locked(path: Path, waiting: Callable[[], None]) -> int | None:
    """Opens the file, and returns its descriptor once it has the lock; None if it has no place."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, _FLAGS, 0o600)
        except OSError:  # whoever keeps the features there says so
            return None
        try:
            while not _may_begin(descriptor):
                waiting()
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            if _is(path, descriptor):  # and not removed by whoever had it
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _may_begin(descriptor: int) -> bool:
    """Takes the lock, and returns whether no other process is known to have it."""
    try:
        return take_lock(descriptor)
    except OSError:  # who waited might wait for ever
        return True


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
