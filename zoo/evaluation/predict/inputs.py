"""Which images are meant: by files, folders, patterns, a table of paths, or names on a stream.

    cat.jpg            a file, whatever its name; one that is not there becomes a row that says so
    photos/            all images below, in the order of a file manager (2.png before 10.png)
    'photos/*/*.jpg'   a pattern that the shell did not expand; ** is any number of folders
    list.csv           a table with a column of paths, relative to the table's own folder
    -                  names on standard input, one a line, or ended by NUL

The order is that of the arguments. An image is called as it can be opened from where the command
was typed; one of a table is called as the table calls it.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from zoo.data.pixels.decode import open_image
from zoo.data.reading.columns import Columns, Wanted, find_columns
from zoo.data.reading.finding import Finder
from zoo.data.reading.scan import SUFFIXES, natural, scan_folder
from zoo.data.reading.tables import SUFFIXES as TABLES
from zoo.data.reading.tables import read_table
from zoo.errors import DataError, UsageError, count_of, printable

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Inputs", "collect", "names_on", "true_labels"]

STANDARD_INPUT = "-"


@dataclass(slots=True, kw_only=True)
class Inputs:
    """The images that were asked for, in their order. None of them has been opened.

    Args:
        names: What each is called in the result.
        paths: The file of those whose name is not their path, by position.
        problems: Why there is no file, by position.
        labels: What a table says that they are, by position.
        notes: What was left out, a line each.
    """

    names: list[str] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    labels: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Returns what the image is called in the result."""
        return self.names[index]

    def source(self, index: int) -> Path:
        """Returns its file.

        Raises:
            DataError: There is none.
        """
        if (problem := self.problems.get(index)) is not None:
            raise DataError(f"no image {printable(self.names[index])}", found=problem)
        return Path(self.paths.get(index, self.names[index]))

    def read(self, index: int) -> Image:
        """Returns the image as RGB, upright.

        Raises:
            DataError: It cannot be read.
        """
        return open_image(self.source(index), name=self.names[index])


def collect(
    given: Iterable[str | os.PathLike[str]],
    *,
    manifest: str | os.PathLike[str] | None = None,
    stdin: Callable[[], Iterable[str]] | None = None,
) -> Inputs:
    """Returns the images that arguments name. Lists folders and tables, opens no image.

    Args:
        given: Files, folders, patterns, tables; ``-`` for the names of ``stdin``.
        manifest: A table of paths, whatever else is given.
        stdin: Returns the names on standard input.

    Raises:
        DataError: A folder without images, a pattern without a match, a table that is none.
        UsageError: Nothing is given, or ``-`` twice.
    """
    inputs = Inputs()
    streamed = False
    for argument in given:
        text = os.fspath(argument)
        if text == STANDARD_INPUT and stdin is not None:
            if streamed:
                raise UsageError("standard input can be read once", found="- is given twice")
            streamed = True
            for name in stdin():
                _add(inputs, name, patterns=False)
        else:
            _add(inputs, text, patterns=isinstance(argument, str))
    if manifest is not None:
        _add_table(inputs, os.fspath(manifest))
    if not inputs.names:
        raise (
            DataError("standard input names no image", hint="a path a line")
            if streamed
            else UsageError("no images are given", hint="zoo predict runs/NAME photos/")
        )
    return inputs


def names_on(stream: BinaryIO, *, end: bytes = b"\n") -> Iterator[str]:
    """Yields the names on a stream, whatever bytes they are made of. Empty ones are passed over.

    Args:
        stream: Read to its end, piece by piece.
        end: What ends a name.
    """
    rest = b""
    while block := stream.read(2**16):
        *whole, rest = (rest + block).split(end)
        yield from (os.fsdecode(name) for name in map(_plain, whole) if name)
    if last := _plain(rest):
        yield os.fsdecode(last)


def _plain(name: bytes) -> bytes:
    """Returns a name without the carriage return that Windows ends lines with."""
    return name.removesuffix(b"\r") if os.name == "nt" else name


def _add(inputs: Inputs, text: str, *, patterns: bool) -> None:
    """Adds what an argument means."""
    if not text:
        raise UsageError("a path is empty", hint="zoo predict runs/NAME photos/")
    if _is(os.path.isdir, text):
        _add_folder(inputs, text)
    elif text.lower().endswith(TABLES):
        _add_table(inputs, text)
    elif patterns and glob.has_magic(text) and not _is(os.path.lexists, text):
        _add_pattern(inputs, text)
    else:
        if "://" in text:
            inputs.problems[len(inputs)] = "an address; zoo reads files only"
        elif "\0" in text:
            inputs.problems[len(inputs)] = "a NUL in the name"
        inputs.names.append(text)


def _is(test: Callable[[str], bool], text: str) -> bool:
    try:
        return test(text)
    except (OSError, ValueError):  # a name that no file system takes
        return False


def _add_folder(inputs: Inputs, text: str) -> None:
    """Adds all images below a folder, as a data set's folder is read."""
    scan = scan_folder(Path(text))
    if not scan.sizes:
        raise DataError(
            f"there are no images below {printable(text)}",
            found="; ".join([*scan.problems, *scan.notes][:3]) or "an empty folder",
            hint=f"images end in {', '.join(sorted(SUFFIXES))}",
        )
    inputs.notes += [f"{printable(text)}: {line}" for line in (*scan.problems, *scan.notes)]
    inputs.names += [os.path.join(text, name) for name in scan.sizes]


def _add_pattern(inputs: Inputs, text: str) -> None:
    """Adds what a pattern finds: folders with all that is below, files that look like images."""
    found = sorted(glob.iglob(text, recursive=True), key=natural)
    images = [
        name for name in found if Path(name).suffix.lower() in SUFFIXES and not os.path.isdir(name)
    ]
    # With ** a folder and what is below it both match.
    folders = [] if "**" in text or images else [name for name in found if os.path.isdir(name)]
    if not images and not folders:
        raise DataError(
            f"no image matches {printable(text)}",
            found=f"{count_of(len(found), 'file')} without an image" if found else "nothing",
            hint="check the pattern; ** stands for any number of folders",
        )
    inputs.names += images
    for name in folders:
        _add_folder(inputs, name)
    if left := len(found) - len(images) - len(folders):
        inputs.notes.append(f"{printable(text)}: left out {left} that are no images")


def _add_table(inputs: Inputs, text: str) -> None:
    """Adds the images that a table names. A row without a file stays, with the reason."""
    table = read_table(Path(text))
    columns = _columns(table.columns, printable(text))
    label = (
        columns.label if columns.label is not None and columns.label < len(table.columns) else None
    )
    folder = Path(text).parent
    finder = Finder(folder)
    inputs.notes += [*table.notes, *(line for line in columns.notes if label is not None)]
    for row in table.rows:
        cell = row[columns.image]
        name = cell if isinstance(cell, str) else "" if cell is None else str(cell)
        position = len(inputs)
        inputs.names.append(name)
        try:
            inputs.paths[position] = str(folder / finder.find(name)[0])
        except FileNotFoundError:
            inputs.problems[position] = "no such file"
        except ValueError as error:
            inputs.problems[position] = str(error)
        if label is not None and isinstance(row[label], str | int):
            inputs.labels[position] = str(row[label]).strip()


def _columns(names: Sequence[str], where: str) -> Columns:
    """Returns what columns mean. A table of paths needs no labels."""
    try:
        return find_columns(names, Wanted(), where=where)
    except DataError:
        return find_columns((*names, "label"), Wanted(), where=where)


def true_labels(inputs: Inputs, classes: Iterable[str]) -> Mapping[int, str]:
    """Returns what images are, by position, as far as a table or a folder's name says it.

    A table's own word comes first; else it is the nearest folder that is named as a class.
    """
    known = frozenset(classes)
    labels: dict[int, str] = {i: label for i, label in inputs.labels.items() if label in known}
    for index, name in enumerate(inputs.names):
        if index in labels:
            continue
        parts = Path(inputs.paths.get(index, name)).parts[:-1]
        label = next((part for part in reversed(parts) if part in known), None)
        if label is not None:
            labels[index] = label
    return labels
