"""The rows of a manifest as records: image, labels, split, weight, group. Every problem is told.

Suffix: K classes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from zoo.data.reading.columns import Columns
from zoo.data.reading.finding import Finder
from zoo.data.reading.partition import SPLIT_NAMES
from zoo.data.reading.scan import listed, natural
from zoo.data.reading.tables import Cell, Table
from zoo.errors import count_of, printable

__all__ = ["Entries", "Entry", "read_entries", "with_split_of_group"]

SUM_TOLERANCE = 1e-3
"""By how much the soft labels of a row may miss the sum 1. They are divided by their sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One image of a manifest.

    Args:
        name: Path below the manifest's folder, with forward slashes, or an absolute path.
        num_bytes: Size of the file.
        labels: Its classes: one, or with several labels any number.
        shares_K: Share of each class, with soft labels.
        split: ``train``, ``val``, ``test``, or None.
        weight: How much it counts in the training loss.
        group: What must stay in one split.
        place: Where a person finds it, as ``line 7``.
    """

    name: str
    num_bytes: int
    labels: tuple[str, ...]
    shares_K: tuple[float, ...] = ()
    split: str | None = None
    weight: float = 1.0
    group: str | None = None
    place: str = ""


@dataclass(slots=True, kw_only=True)
class Entries:
    """What the rows say.

    Args:
        images: An entry for each image, in natural order of their names.
        missing: Reason by name of files that are not there, with the place.
        missing_labels: The labels of these.
        problems: Why the manifest cannot be used, a line each.
        notes: What was noticed, a line each.
    """

    images: list[Entry] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    missing_labels: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_entries(
    table: Table, columns: Columns, *, folder: Path, separator: str | None, multi_label: bool
) -> Entries:
    """Returns what the rows say, each image once. Looks whether the files are there.

    Args:
        table: The rows.
        columns: What the columns mean.
        folder: What relative paths are below.
        separator: What stands between several labels of an image.
        multi_label: Whether an image can have any number of labels.
    """
    finder, top = Finder(folder), os.path.abspath(folder)
    result = Entries()
    seen: dict[str, Entry] = {}
    repeated = 0
    for row, place in zip(table.rows, table.places, strict=True):
        at = f"{table.unit} {place}"
        try:
            name, num_bytes = finder.find(_text(row[columns.image]))
        except FileNotFoundError:
            name = _text(row[columns.image])
            result.missing[name] = f"no such file ({at})"
            if columns.label is not None:
                with suppress(ValueError):
                    labels = _labels(row[columns.label], separator, multi_label)
                    result.missing_labels.update(labels)
            continue
        except ValueError as error:
            result.problems.append(f"{at}: {error}")
            continue
        try:
            entry = _entry(row, columns, name, num_bytes, at, separator, multi_label)
        except ValueError as error:
            result.problems.append(f"{at}: {error}")
            continue
        # By the file: one that is named by its absolute path, too, is no second image.
        file = os.path.normpath(os.path.join(top, name))
        first = seen.setdefault(file, entry)
        if first is entry:
            continue
        repeated += 1
        if multi_label:
            joined = dict.fromkeys((*first.labels, *entry.labels))
            seen[file] = replace(first, labels=tuple(joined))
        if difference := _difference(first, entry, multi_label):
            result.problems.append(
                f"{at}: {printable(name)} is also at {first.place}, with another {difference}"
            )
    if repeated and not result.problems:
        result.notes.append(
            f"{repeated} rows name an image again: "
            + ("their labels were joined" if multi_label else "counted once")
        )
    result.images = sorted(seen.values(), key=lambda entry: natural(entry.name))
    return result


def with_split_of_group(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    """Returns the entries, those without a split in the split of their group if it has one.

    Args:
        entries: Of all rows.
        notes: Takes a line about groups.
    """
    home: dict[str, str] = {}
    torn: dict[str, None] = {}
    for entry in entries:
        group, split = entry.group, entry.split
        if group is not None and split is not None and home.setdefault(group, split) != split:
            torn[group] = None
    if torn:
        notes.append(
            f"{count_of(len(torn), 'group')} in several splits: {listed(list(torn), most=3)}"
        )
    elif any(entry.group is not None for entry in entries):
        notes.append("images of a group were kept in one split")
    return [
        replace(entry, split=home[entry.group], place=f"{entry.place}, as others of its group")
        if entry.split is None and entry.group in home
        else entry
        for entry in entries
    ]


def _difference(first: Entry, entry: Entry, multi_label: bool) -> str:
    """Returns in what two rows about one image contradict each other."""
    if first.split != entry.split:
        return "split"
    if first.shares_K != entry.shares_K or (not multi_label and first.labels != entry.labels):
        return "label"
    if (first.weight, first.group) != (entry.weight, entry.group):
        return "weight or group"
    return ""


def _entry(
    row: tuple[Cell, ...],
    columns: Columns,
    name: str,
    num_bytes: int,
    place: str,
    separator: str | None,
    multi_label: bool,
) -> Entry:
    """Returns what a row says.

    Raises:
        ValueError: In words, what is wrong with it.
    """
    shares_K: tuple[float, ...] = ()
    if columns.label is None:
        shares_K = _shares(row, columns.soft, multi_label)
        labels = tuple(label for label, share in zip(columns.soft, shares_K, strict=True) if share)
        shares_K = () if multi_label else shares_K
    else:
        labels = _labels(row[columns.label], separator, multi_label)
    return Entry(
        name=name, num_bytes=num_bytes, labels=labels, shares_K=shares_K, place=place,
        split=None if columns.split is None else _split(_text(row[columns.split])),
        weight=1.0 if columns.weight is None else _weight(row[columns.weight]),
        group=None if columns.group is None else _text(row[columns.group]).strip() or None,
    )  # fmt: skip


def _text(cell: Cell) -> str:
    """Returns a cell as text. A whole number that a table holds as 3.0 is 3."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, list | dict):
        raise ValueError(f"a {type(cell).__name__} where a single value was expected")
    return str(cell)


def _labels(cell: Cell, separator: str | None, multi_label: bool) -> tuple[str, ...]:
    """Returns the labels of an image, each once."""
    if not multi_label:
        label = _text(cell).strip()
        if not label:
            raise ValueError("no label")
        return (label,)
    if isinstance(cell, list):
        parts = [_text(item) for item in cell]
    else:
        parts = _text(cell).split(separator) if separator else [_text(cell)]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _number(cell: Cell, what: str) -> float:
    try:
        value = float(cell) if isinstance(cell, int | float) else float(_text(cell).strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{what} {printable(cell)[:40]!r} is no number") from None
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{what} {value:g}, and must be finite and not negative")
    return value


def _weight(cell: Cell) -> float:
    """Returns the weight of an image, 1 where the cell is empty."""
    return _number(cell, "the weight is") if _text(cell).strip() else 1.0


def _shares(row: tuple[Cell, ...], soft: Mapping[str, int], multi_label: bool) -> tuple[float, ...]:
    """Returns the share of each class, sum 1, or 0 and 1 with several labels."""
    values = [
        _number(row[at], f"label:{printable(label)} is") if _text(row[at]).strip() else 0.0
        for label, at in soft.items()
    ]
    total = math.fsum(values)
    if multi_label:
        if any(value not in (0.0, 1.0) for value in values):
            raise ValueError("shares other than 0 and 1, with several labels an image")
        return tuple(values)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise ValueError(
            f"the shares sum to {total:g}, not 1 (for several labels: multi_label=true)"
        )
    return tuple(value / total for value in values)


def _split(text: str) -> str | None:
    """Returns the split that a cell names."""
    folded = text.strip().lower()
    if not folded:
        return None
    if folded not in SPLIT_NAMES:
        raise ValueError(f"the split is {printable(text)[:40]!r}, and must be train, val or test")
    return SPLIT_NAMES[folded]
