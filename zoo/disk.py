"""Writing that survives a kill at any instant: build beside the target, sync, rename.

The temporary file lies beside its target: across file systems a rename would be a copy.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import MachineError, UsageError, as_zoo_error, printable

__all__ = [
    "TEMPORARY",
    "atomic_file",
    "atomic_folder",
    "machine_errors",
    "make_folder",
    "refuse_folder",
    "remove_leftovers",
    "sync_folder",
]

TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin."""

_SPACE = "free space"
_CAUSES: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EFBIG: ("the file would be larger than this process may write", "raise ulimit -f"),
    errno.EROFS: ("the file system is read-only", "make it writable"),
    errno.EACCES: ("no permission to write there", "make it writable"),
    errno.EPERM: ("no permission to write there", "make it writable"),
    errno.ENOENT: ("its folder is not there", "make the folder"),
    errno.ENOTDIR: ("a file is where a folder must be", "remove the file"),
    errno.EISDIR: ("a folder is where the file must be", "remove the folder"),
    errno.EIO: ("the disk reports an input/output error", "check the disk"),
}
"""What an error of the system means, and what mends it."""

_NO_FOLDER_SYNC = frozenset({
    errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR,
})  # fmt: skip
"""What network and FUSE file systems answer that cannot sync a folder."""


@contextmanager
def machine_errors(
    what: str, path: Path, *, kept: str = "", then: str = "or name another place"
) -> Iterator[None]:
    """Turns an OSError of the body into a MachineError, one of a name too long into a UsageError.

    Args:
        what: What is done to the path, as ``writing``.
        path: Where.
        kept: What is safe.
        then: What to do besides mending the cause.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # what the user named, and no fault of the machine
            raise as_zoo_error(error) from error
        cause, remedy = _CAUSES.get(error.errno or 0, (error.strerror or str(error), "mend that"))
        raise MachineError(
            f"{what} {printable(path)} failed: {cause}",
            found=_free(path) if remedy == _SPACE else "", kept=kept, hint=f"{remedy}, {then}",
        ) from error  # fmt: skip


def _free(path: Path) -> str:
    existing = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    try:
        return f"{shutil.disk_usage(existing).free / 2**20:,.0f} MiB free there"
    except OSError:
        return ""


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable, as far as the file system can do that.

    Windows cannot, and some network and FUSE file systems cannot either.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def make_folder(folder: Path) -> None:
    """Makes a folder that a power cut cannot take back: what is synced inside would go with it."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def refuse_folder(target: Path) -> None:
    """Says before any work is done that a file cannot be written where a folder is.

    Raises:
        UsageError: The target is a folder.
    """
    if target.is_dir():
        raise UsageError(
            f"{printable(target)} is a folder, and one file is written",
            hint="name a file, which may be in that folder",
        )


def _beside(target: Path) -> Path:
    return target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{target.name}")


def atomic_file(target: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path, then puts that file in place of the target."""
    temporary = _beside(target)
    try:
        write(temporary)
        _sync_file(temporary)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder; when the body ends well, it is synced and becomes the target.

    A folder of that name is removed just before: a folder cannot be put in place of a full one.
    """
    temporary = _beside(target)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in sorted(temporary.iterdir()):
            _sync_file(file)
        sync_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what a killed process left unfinished in a folder that we own."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
