"""Files into a folder: all of them, or nothing."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from zoo.disk import TEMPORARY
from zoo.errors import MachineError, RefusedError, printable

__all__ = ["check_target", "write_folder"]


def check_target(target: Path) -> None:
    """Checks that a new folder may be made there: nothing is there, or an empty folder.

    Raises:
        RefusedError: There is something. Nothing is ever overwritten.
    """
    if target.is_dir():
        inside = sorted(path.name for path in target.iterdir())
        if not inside:
            return
        more = ", ..." if len(inside) > 3 else ""
        found = ", ".join(printable(name) for name in inside[:3]) + more
    elif os.path.lexists(target):
        found = "a file"
    else:
        return
    raise RefusedError(
        f"{printable(target)} is there already, and is not overwritten",
        found=found, kept="nothing was written", hint="another folder with --path, or another NAME",
    )  # fmt: skip


def write_folder(target: Path, files: Mapping[str, str]) -> None:
    """Writes files below a folder that does not exist or is empty; ends with all of them or none.

    Args:
        target: The folder.
        files: Path below it, with ``/``, to text.

    Raises:
        RefusedError: There is something already.
        MachineError: The folder cannot be written.
    """
    check_target(target)
    target = Path(os.path.abspath(target))  # "." has no name, and nothing lies beside it
    beside = target.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{target.name}")
    try:
        beside.mkdir(parents=True)
        for name, text in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
        if target.is_dir():
            _fill(target, beside)
        else:
            beside.rename(target)
    except OSError as error:
        raise MachineError(
            f"{printable(target)} cannot be written",
            found=printable(error.strerror or error), kept="nothing was written",
            hint="another folder with --path",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fill(target: Path, source: Path) -> None:
    """Moves what is in a folder into an empty one, which may be where the user is."""
    moved: list[Path] = []
    try:
        for path in sorted(source.iterdir()):
            path.rename(target / path.name)
            moved.append(path)
    except OSError:
        for path in moved:
            (target / path.name).rename(path)
        raise
