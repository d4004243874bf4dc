"""Whether a plugin is still what it was when it was read, told from its files without opening them.

A stamp covers path, time of change and size of every Python file of the plugin's top-level package,
wherever an installer or an editable install put it, and the names and versions of all installed
packages: a declaration may depend on those, and what was missing may be there now. It guards
against changes and not against malice, so checksums do: hashlib alone takes 3 ms to import.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["environment_stamp", "module_stamp", "plugin_files", "tree_files"]

_INSTALLED = (".dist-info", ".egg-info", ".egg-link")
_MOST_FILES = 20_000


def module_stamp(module: str) -> str:
    """Returns what stands for the files of a module's top-level package. Opens none of them."""
    checksum = size = newest = 0
    for path in plugin_files(module):
        try:
            status = os.stat(path)
        except OSError:
            continue
        line = f"{path}\0{status.st_mtime_ns}\0{status.st_size}\n"
        checksum = zlib.crc32(line.encode(errors="replace"), checksum)
        size, newest = size + status.st_size, max(newest, status.st_mtime_ns)
    return f"{checksum:08x} {size} {newest}"


def plugin_files(module: str) -> list[str]:
    """Returns the Python files of a module's top-level package, sorted. Imports nothing."""
    top = module.partition(":")[0].partition(".")[0].strip()
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return []
    if spec is None:
        return []
    folders = list(spec.submodule_search_locations or ())
    if not folders:
        return [spec.origin] if spec.origin else []
    return sorted(path for folder in folders for path in tree_files(folder))


def tree_files(folder: str | Path) -> Iterator[str]:
    """Yields the Python files below a folder, following no links to folders."""
    count = 0
    for parent, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        for name in files:
            if name.endswith((".py", ".so", ".pyd")):
                count += 1
                if count > _MOST_FILES:
                    return
                yield os.path.join(parent, name)


def environment_stamp() -> str:
    """Returns what stands for the interpreter and the installed packages with their versions.

    Folders are listed, as importlib.metadata does to find entry points; no file is opened.
    """
    installed: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue  # a zip file, or gone
        installed.update(name for name in names if name.endswith(_INSTALLED))
    text = "\n".join([sys.version, sys.prefix, *sorted(installed)])
    return f"{zlib.crc32(text.encode(errors='replace')):08x} {len(installed)} {len(text)}"
