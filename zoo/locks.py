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

    Raises:
        OSError: It cannot be told whether another process has it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES):  # EACCES on Windows
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True
