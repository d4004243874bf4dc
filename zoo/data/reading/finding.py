"""From what a cell of a manifest says to a file: relative to a folder that it cannot leave."""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

from zoo.data.reading.scan import SUFFIXES
from zoo.errors import printable

__all__ = ["Finder"]


class Finder:
    """Finds the files that cells name. Keeps the names in each folder that it had to list."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stems: dict[str, dict[str, list[str]]] = {}

    def find(self, text: str) -> tuple[str, int]:
        """Returns the name and size of a file.

        As it stands; with the backslashes of Windows as slashes; a name without an image suffix
        (an id) with the suffix of the only file that has one.

        Raises:
            FileNotFoundError: There is none.
            ValueError: In words, what is wrong with the path.
        """
        if not text.strip():
            raise ValueError("no path")
        if "\0" in text:
            raise ValueError("a NUL in the path")
        if "://" in text:
            raise ValueError(f"{printable(text)[:80]} is an address; zoo reads files only")
        forms = [text, text.strip()]
        forms += [form.replace("\\", "/") for form in forms if "\\" in form]
        for form in dict.fromkeys(forms):
            name = self._inside(form)
            size = self._size(name)
            if size is None and posixpath.splitext(name)[1].lower() not in SUFFIXES:
                name = self._with_suffix(name) or name
                size = self._size(name)
            if size is not None:
                return name, size
        raise FileNotFoundError(text)

    def _inside(self, text: str) -> str:
        """Returns the path without ``.`` and ``..``. A relative one stays below the folder."""
        if os.path.isabs(text):
            return os.path.normpath(text)
        name = posixpath.normpath(text)
        if name == ".." or name.startswith("../"):
            raise ValueError(f"{printable(text)[:80]} leads out of {printable(self._folder)}")
        return name

    def _size(self, name: str) -> int | None:
        try:
            status = os.stat(self._folder / name)
        except (OSError, ValueError):  # ValueError: a name that no file system takes
            return None
        return None if stat.S_ISDIR(status.st_mode) else status.st_size

    def _with_suffix(self, name: str) -> str | None:
        """Returns the only image file of that name with a suffix."""
        parent, _, stem = name.rpartition("/")
        if parent not in self._stems:
            stems: dict[str, list[str]] = {}
            self._stems[parent] = stems
            try:
                found = sorted(os.listdir(self._folder / parent))
            except (OSError, ValueError):
                found = []
            for file in found:
                root, suffix = posixpath.splitext(file)
                if suffix.lower() in SUFFIXES:
                    stems.setdefault(root, []).append(file)
        matches = self._stems[parent].get(stem, ())
        if len(matches) > 1:
            raise ValueError(f"{printable(name)} is {' or '.join(map(printable, matches))}")
        return posixpath.join(parent, matches[0]) if matches else None
