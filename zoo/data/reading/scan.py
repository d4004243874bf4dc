"""Walks a folder of images without opening a file, and says what it found in few words."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import printable

__all__ = [
    "CLASS_NAMES_FILE",
    "SUFFIXES",
    "Scan",
    "bullets",
    "listed",
    "natural",
    "scan_folder",
    "shown",
]

CLASS_NAMES_FILE = "classes.json"
"""What an imported folder keeps at its top: the class names that could not be folder names."""

SUFFIXES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"}
    | {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of files that are taken for images, in any case."""

SHOWN = 20
"""How many problems are named before the rest is only counted."""

# What file managers and archivers leave behind; names with a leading dot as well.
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(slots=True, kw_only=True)
class Scan:
    """What is below a folder. Paths are below the folder, with forward slashes.

    Args:
        sizes: Size in bytes of each image by its path, in natural order.
        folders: Every folder that was read, "" for the top.
        problems: Why the folder cannot be used, a line each.
        notes: What was left out, a line each.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def scan_folder(root: Path) -> Scan:
    """Returns what is below the folder. Real folders first, then linked ones, each inode once.

    So a link can neither loop nor take the images of a folder that is there under its own name.
    """
    scan = Scan()
    left_out: dict[str, list[str]] = defaultdict(list)
    seen: dict[tuple[int, int], str] = {}
    linked: list[str] = []
    images: dict[str, int] = {}

    def walk(start: str) -> None:
        pending = [start]
        while pending:
            folder = pending.pop()
            try:
                status = os.stat(root / folder)
                first = seen.setdefault((status.st_dev, status.st_ino), folder)
                if first != folder:
                    reason = f"links to a folder that was read already ({shown(first)})"
                    left_out[reason].append(folder)
                    continue
                with os.scandir(root / folder) as entries:
                    found = sorted(entries, key=lambda entry: natural(entry.name))
            except OSError as error:
                scan.problems.append(f"{shown(folder)} cannot be read: {error.strerror}")
                continue
            scan.folders.append(folder)
            inner: list[str] = []
            for entry in found:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith(".") or entry.name.lower() in _LITTER:
                    left_out["hidden files and litter"].append(name)
                    continue
                mode, size = _mode_and_size(root / name)
                if stat.S_ISDIR(mode):
                    (linked if entry.is_symlink() else inner).append(name)
                elif not stat.S_ISREG(mode):
                    left_out["pipes, devices, sockets and links to nothing"].append(name)
                elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
                    images[name] = size
                elif name != CLASS_NAMES_FILE:
                    left_out["files without an image suffix"].append(name)
            pending.extend(reversed(inner))

    walk("")
    for folder in linked:  # grows while links lead to further links
        walk(folder)
    scan.sizes = {name: images[name] for name in sorted(images, key=natural)}
    for reason, names in left_out.items():
        scan.notes.append(f"left out {len(names)} {reason}: {listed(names, most=3)}")
    return scan


def _mode_and_size(path: Path) -> tuple[int, int]:
    """Returns mode and size of what a path leads to, zeros when it leads nowhere. Opens nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mode, status.st_size


def natural(path: str) -> tuple[tuple[list[str | int], str], ...]:
    """Returns a sort key, part of the path by part, in which 2 comes before 10.

    >>> sorted(["b/10.png", "b/2.png", "a/3.png"], key=natural)
    ['a/3.png', 'b/2.png', 'b/10.png']
    """
    # Every second run is of the digits 0 to 9. Those of other scripts count as letters: a number
    # would stand where another name has a text, and the two have no order.
    return tuple(
        ([int(run) if n % 2 else run for n, run in enumerate(re.split("([0-9]+)", part))], part)
        for part in path.split("/")
    )


def shown(folder: str) -> str:
    """Returns the path of a folder as messages show it."""
    return f"{printable(folder)}/" if folder else "the folder itself"


def listed(names: Sequence[str], *, most: int = SHOWN) -> str:
    """Returns the names in one line, the first few and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def bullets(problems: Sequence[str]) -> str:
    """Returns the problems a line each, the first few and how many more there are."""
    lines = [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  - and {len(problems) - SHOWN} more")
    return "\n".join(lines)
