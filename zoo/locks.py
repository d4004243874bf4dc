"""A lock on an open file, which the system releases when the process ends, however it does."""

from __future__ import annotations

import errno
import sys

__all__ = ["take_lock"]


def take_lock(descriptor: int) -> bool:
    """Takes the lock for this process alone, and returns whether it could, without waiting.

    Some network file systems have no locks. There it could: a lock file that no system removes
    would outlive its process and lock the next one out for good.

    Args:
        descriptor: Of a file that is open for writing.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True
