"""What zoo keeps because it can be made again: where it lies, how much of it, and its end.

    CACHE/decoded/SIZEpx-CHANNELSch-KEY/    decoded images     (zoo.data.pixels.decoded)
    CACHE/features/KEY/                     frozen features    (zoo.engine.features.shelf)
    CACHE/tuning/KEY/                       fastest settings   (zoo.engine.tuning.remembered)
    CACHE/compiled/KEY/                     own C, compiled    (zoo.network.fast.native.compiler)

Kept features can be removed at any time, whoever uses them: a mapped file stays mapped, and what is
gone is made again. Imports no torch, so ``zoo cache list`` is quick.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UsageError, printable

__all__ = [
    "LIMIT_VARIABLE",
    "CacheEntry",
    "cache_entries",
    "cache_folder",
    "cache_limit_bytes",
    "make_room",
    "remove_entry",
    "remove_leftovers",
]

KINDS = ("compiled", "decoded", "features", "tuning")

LIMIT_VARIABLE = "ZOO_CACHE_GB"
"""The environment variable with the largest size of all kept features, in GB of 10^9 bytes."""

_DEFAULT_LIMIT_GB = 10.0

_TEMPORARY = ".tmp-"
# How the names begin of folders that are being removed, and of files of a moment.


def cache_folder() -> Path:
    """Returns where zoo keeps what it can make again: ``ZOO_CACHE``, else the user's cache."""
    if named := os.environ.get("ZOO_CACHE"):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("zoo")


def cache_limit_bytes() -> int:
    """Returns how much all kept features may take: ``ZOO_CACHE_GB``, else 10 GB.

    Raises:
        UsageError: The variable is not a number of 0 or more.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else _DEFAULT_LIMIT_GB
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise UsageError(
            f"{LIMIT_VARIABLE} is {printable(text)[:40]!r}, and must be a number of 0 or more",
            hint=f"{LIMIT_VARIABLE}=10",
        )
    return int(limit * 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One folder of the cache.

    Args:
        kind: ``features``, ``decoded``, ``tuning`` or ``compiled``.
        key: Name of the folder.
        path: The folder.
        bytes: What it takes on the disk.
        used: When it was last used, seconds since 1970.
        what: What is in it, as far as it says so.
    """

    kind: str
    key: str
    path: Path
    bytes: int
    used: float
    what: str


def cache_entries(root: Path, *, kinds: tuple[str, ...] = KINDS) -> list[CacheEntry]:
    """Returns what the cache holds, the most recently used first."""
    found = []
    for kind in kinds:
        for path in _folders(root / kind):
            size, used = _measured(path)
            what = _described(path)
            found.append(
                CacheEntry(kind=kind, key=path.name, path=path, bytes=size, used=used, what=what)
            )
    return sorted(found, key=lambda entry: (-entry.used, entry.kind, entry.key))


def remove_entry(entry: CacheEntry) -> bool:
    """Removes an entry, and returns whether it could be: decoded images in use stay.

    It is moved out of the way before it is taken apart, so nobody opens half of it.
    """
    if entry.kind == "decoded" and _is_locked(entry.path / "lock"):
        return False  # its readers open the files again and again
    aside = entry.path.with_name(f"{_TEMPORARY}{os.getpid()}-{entry.key}")
    try:
        entry.path.rename(aside)
    except FileNotFoundError:
        return True  # another process was faster
    except OSError:
        aside = entry.path  # Windows: a file of it is open
    shutil.rmtree(aside, ignore_errors=True)
    return not aside.exists()


def remove_leftovers(root: Path) -> None:
    """Removes what processes that were killed left: parts of entries, and whose turn it was."""
    for kind in KINDS:
        with suppress(OSError):
            for path in (root / kind).glob(f"{_TEMPORARY}*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    """Whether another process, or this one, holds a lock file."""
    if sys.platform == "win32":
        return False  # an open file cannot be removed there
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def make_room(root: Path, needed_bytes: int, *, keep: str = "") -> bool:
    """Removes the least recently used features until so many bytes more are within the limit.

    Where those of other entries are not enough, the oldest files of the entry itself go, too.

    Args:
        root: The cache folder.
        needed_bytes: What is about to be added.
        keep: Key of the entry that it is added to, which stays.

    Returns:
        Whether they are. Nothing is removed when they cannot be.
    """
    limit = cache_limit_bytes()
    if needed_bytes > limit:
        return False
    entries = cache_entries(root, kinds=("features",))
    total = needed_bytes + sum(entry.bytes for entry in entries)
    for entry in reversed(entries):
        if total <= limit:
            break
        if entry.key != keep and remove_entry(entry):
            total -= entry.bytes
    own = [entry.path for entry in entries if entry.key == keep and total > limit]
    for file, size in (pair for path in own for pair in _by_age(path)):
        if total > limit:
            with suppress(OSError):
                file.unlink()
                total -= size
    return total <= limit


def _by_age(folder: Path) -> list[tuple[Path, int]]:
    """Returns the files of rows in a folder, the oldest first, and what each takes."""
    found = []
    for file in folder.glob("*.safetensors"):
        with suppress(OSError):
            status = file.stat()
            found.append((status.st_mtime, file, status.st_size))
    return [(file, size) for _, file, size in sorted(found)]


def _folders(parent: Path) -> Iterator[Path]:
    with suppress(OSError):
        for path in sorted(parent.iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith(_TEMPORARY):
                yield path


def _measured(folder: Path) -> tuple[int, float]:
    """Returns bytes on the disk and the newest time of a folder's files."""
    size, used = 0, 0.0
    with suppress(OSError):
        for file in folder.iterdir():
            with suppress(OSError):
                status = file.stat()
                # A file of decoded images has holes where rows were never written.
                size += min(status.st_size, getattr(status, "st_blocks", 2**53) * 512)
                used = max(used, status.st_mtime)
    return size, used


def _described(folder: Path) -> str:
    """Returns the line with which an entry describes itself."""
    with suppress(OSError, ValueError):
        about = json.loads((folder / "about.json").read_bytes()[:100_000])
        if isinstance(about, dict) and isinstance(about.get("what"), str):
            return str(about["what"])
    return ""
