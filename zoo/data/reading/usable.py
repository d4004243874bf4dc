"""The rows of a manifest that can be used. Wrong rows and missing files are told together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.reading.columns import Columns, Wanted, find_columns
from zoo.data.reading.entries import Entries, Entry, read_entries
from zoo.data.reading.headers import read_headers, refuse_or_skip
from zoo.data.reading.scan import bullets
from zoo.data.reading.tables import read_table
from zoo.errors import DataError, count_of, printable
from zoo.protocols import OnBad

__all__ = ["SEPARATORS", "Usable", "usable_rows"]

SEPARATORS: Mapping[str, str] = {
    "comma": ",",
    "semicolon": ";",
    "space": " ",
    "tab": "\t",
    "pipe": "|",
}
"""Words for separators that are hard to type in a spec string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usable:
    """The rows of a table whose images can be read.

    Args:
        place: The table.
        root: What relative paths are below.
        entries: An entry each.
        columns: What the columns mean.
        multi_label: Whether an image can have any number of labels.
        typical_side: Median of the shorter sides, pixels.
        bad: Images that were left out, name to reason.
        lost: The labels of these that no other image has.
        notes: What was noticed, a line each.
    """

    place: Path
    root: Path
    entries: Sequence[Entry]
    columns: Columns
    multi_label: bool
    typical_side: int
    bad: Mapping[str, str]
    lost: Sequence[str]
    notes: Sequence[str]


def usable_rows(
    place: Path,
    folder: str | Path | None,
    *,
    on_bad: OnBad,
    wanted: Wanted,
    separator: str | None,
    multi_label: bool,
) -> Usable:
    """Returns the rows of a table that can be used.

    Args:
        place: The table.
        folder: What relative paths are below. None: the folder of the table.
        on_bad: ``skip`` leaves out files that are missing or cannot be read, ``fail`` does not.
        wanted: Columns that do not have one of the usual names.
        separator: What stands between several labels of an image; a word of ``SEPARATORS`` or the
            character.
        multi_label: Whether an image can have any number of labels.

    Raises:
        DataError: The table, its rows or its images cannot be used.
        PluginError: Parquet without pyarrow.
    """
    where, root = printable(place), place.parent if folder is None else Path(folder)
    table = read_table(place)
    used = find_columns(table.columns, wanted, where=where)
    lists = used.label is not None and any(isinstance(row[used.label], list) for row in table.rows)
    multi_label = multi_label or bool(separator) or lists
    cut = SEPARATORS.get(separator.lower(), separator) if separator else None
    found = read_entries(table, used, folder=root, separator=cut, multi_label=multi_label)
    _refuse(found, where=where, root=root, on_bad=on_bad)
    headers = read_headers(root, [entry.name for entry in found.images])
    bad = {**found.missing, **headers.bad}
    total = len(found.images) + len(found.missing)
    notes = [*table.notes, *used.notes, *found.notes]
    notes += refuse_or_skip(bad, on_bad=on_bad, total=total, where=where)
    notes += _separator_note(found.images, multi_label)
    entries = [entry for entry in found.images if entry.name not in headers.bad]
    there = {label for entry in entries for label in entry.labels}
    left_out = [*found.missing_labels, *(label for e in found.images for label in e.labels)]
    return Usable(
        place=place, root=root, entries=entries, columns=used, multi_label=multi_label, bad=bad,
        lost=sorted({*left_out} - there), notes=notes,
        typical_side=int(np.median(list(headers.sides.values()))),
    )  # fmt: skip


def _refuse(found: Entries, *, where: str, root: Path, on_bad: OnBad) -> None:
    """Refuses wrong rows and missing files together."""
    missing = [f"{printable(name)}: {reason}" for name, reason in found.missing.items()]
    problems = found.problems + (missing if on_bad != "skip" else [])
    if not problems and found.images:
        return
    if not found.images and missing:
        hint = f"paths are below {printable(root)}: manifest:path=FILE,folder=DIRECTORY for another"
    else:
        hint = "mend these rows" + (", or --on-bad skip for missing files" if missing else "")
    raise DataError(
        f"{where} cannot be read as a manifest\n{bullets(problems or missing)}",
        found=f"{count_of(len(found.images), 'image')}, "
        f"{count_of(len(problems or missing), 'problem')}",
        hint=hint,
    )


def _separator_note(entries: Sequence[Entry], multi_label: bool) -> list[str]:
    """Returns a note where single labels look like several."""
    if multi_label or not any("|" in label for entry in entries for label in entry.labels):
        return []
    return ["labels hold |; if they are several: --data manifest:path=FILE,separator=pipe"]
