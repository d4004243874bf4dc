"""Builds a file or folder beside its place and renames it: a kill leaves nothing half done."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import MachineError, UsageError, printable

__all__ = ["Written", "built_beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What an import or export wrote.

    Args:
        path: The file or folder.
        splits: Number of images by split.
        num_classes: Classes of the data set.
        notes: What was changed or lost on the way, a line each.
    """

    path: Path
    splits: Mapping[str, int]
    num_classes: int
    notes: Sequence[str] = field(default=())

    @property
    def num_images(self) -> int:
        """Images of all splits."""
        return sum(self.splits.values())


@contextmanager
def built_beside(destination: Path) -> Iterator[Path]:
    """Yields a path beside ``destination`` that is renamed to it at the end.

    On any failure what was built is removed. A process that is killed leaves a folder with a
    leading dot beside the destination, and no destination.

    Raises:
        UsageError: The destination is there already and is not an empty folder.
        MachineError: It cannot be written: disk, permissions, a missing parent.
    """
    _refuse_used(destination)
    beside = destination.absolute().parent / f".zoo-partial-{secrets.token_hex(8)}"
    try:
        yield beside
        if destination.is_dir():
            destination.rmdir()
        # A name that somebody else has taken in the meantime is not replaced.
        _refuse_used(destination)
        os.rename(beside, destination)
    except OSError as error:
        raise MachineError(
            f"{printable(destination)} cannot be written",
            found=error.strerror or str(error),
            hint="free some space" if error.errno == errno.ENOSPC else "choose another place",
        ) from error
    finally:
        if beside.is_dir():
            shutil.rmtree(beside, ignore_errors=True)
        else:
            beside.unlink(missing_ok=True)


def _refuse_used(destination: Path) -> None:
    """Makes sure that nothing of the person's is overwritten or mixed with."""
    if not os.path.lexists(destination):
        return
    if destination.is_dir() and not destination.is_symlink():
        found = next(iter(sorted(os.listdir(destination))), None)
        if found is None:
            return
        kind = f"a folder that is not empty: it holds {printable(found)}"
    else:
        kind = "a file or link of that name"
    raise UsageError(
        f"{printable(destination)} is there already",
        found=kind,
        hint="name a new or empty folder" if "folder" in kind else "name a file that is not there",
    )
