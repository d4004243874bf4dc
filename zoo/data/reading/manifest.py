"""A table of images and labels as a data set: CSV, TSV, JSON lines or Parquet.

    path,label,split,weight,group            one class an image; the last three may be left out
    path,label:cat,label:dog                 soft labels: the share of each class, sum 1
    path,label          a.png,cat|indoors    several labels an image, with ``separator=|``

Columns go by their usual names (``image``, ``file``, ``class`` ...:
:mod:`zoo.data.reading.columns`) or are named by the user. Paths are relative to the table's own
folder, which they cannot leave, or absolute. Whole numbers are class names like any other, ordered
by value. Blank lines and rows do not count.

Suffixes: N images, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.columns import Columns, Wanted
from zoo.data.reading.entries import Entry, with_split_of_group
from zoo.data.reading.folder import FileImages
from zoo.data.reading.partition import (
    DEFAULT_FRACTIONS,
    class_notes,
    class_order,
    digest,
    fill_splits,
    two_classes,
)
from zoo.data.reading.scan import bullets, listed
from zoo.data.reading.usable import Usable, usable_rows
from zoo.data.splits import strata, stratified_split
from zoo.errors import DataError, printable
from zoo.protocols import DataSet, OnBad, Split

__all__ = ["read_as_it_is", "read_manifest"]


def read_manifest(
    path: str | Path,
    *,
    seed: int,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    on_bad: OnBad = "fail",
    columns: Wanted | None = None,
    separator: str | None = None,
    multi_label: bool = False,
    folder: str | Path | None = None,
) -> DataSet:
    """Returns the images that a table names, with the header of each one checked.

    Rows without a split are divided by the fractions, stratified by class; images of a group stay
    together. Where no row is of the validation split it is taken from training in the same way.

    Args:
        path: The table.
        seed: Of the split.
        fractions: Training, validation and, if any, test share.
        on_bad: ``skip`` leaves out files that are missing or cannot be read, ``fail`` does not.
        columns: Columns that do not have one of the usual names.
        separator: What stands between several labels of an image; a word of
            :data:`~zoo.data.reading.usable.SEPARATORS` or the character. Implies ``multi_label``.
        multi_label: An image can have any number of labels. Lists in JSON lines and Parquet mean
            that too.
        folder: What relative paths are below. The folder of the table unless it is given.

    Raises:
        DataError: The table, its rows or its images cannot be used. All problems of the rows are
            listed together, by line.
        PluginError: Parquet without pyarrow.
    """
    where = printable(path)
    table = usable_rows(
        Path(path), folder, on_bad=on_bad, wanted=columns or Wanted(), separator=separator,
        multi_label=multi_label,
    )  # fmt: skip
    if table.lost and table.columns.label is not None:
        raise DataError(
            f"no image of {listed(table.lost)} in {where} can be read\n"
            + bullets([f"{printable(name)}: {reason}" for name, reason in table.bad.items()]),
            hint="replace them, or remove the class",
        )
    notes = list(table.notes)
    entries = with_split_of_group(table.entries, notes)
    table = replace(table, entries=entries)
    classes = _classes(entries, table.columns, where)
    targets_NK = _targets(entries, classes)
    strata_N = strata(targets_NK)
    rows_N = _rows(entries, strata_N, seed=seed, fractions=fractions, notes=notes, where=where)
    if table.columns.weight is not None and not _weights(entries)[rows_N["train"]].any():
        raise DataError(f"all training weights in {where} are 0")
    return _data_set(table, classes, targets_NK, rows_N, notes)


def read_as_it_is(
    path: str | Path,
    *,
    unsplit: str,
    on_bad: OnBad = "fail",
    columns: Wanted | None = None,
    separator: str | None = None,
    multi_label: bool = False,
    folder: str | Path | None = None,
) -> DataSet:
    """Returns the images of a table to be looked at: nothing is divided, and one class is enough.

    Rows that name no split are training where others name one.

    Args:
        path: The table.
        unsplit: What the split of all images is called where no row names one.
        on_bad: As for :func:`read_manifest`, like what follows.
        columns: Columns that do not have one of the usual names.
        separator: What stands between several labels of an image.
        multi_label: Whether an image can have any number of labels.
        folder: What relative paths are below.

    Raises:
        DataError: The table, its rows or its images cannot be used.
        PluginError: Parquet without pyarrow.
    """
    table = usable_rows(
        Path(path), folder, on_bad=on_bad, wanted=columns or Wanted(), separator=separator,
        multi_label=multi_label,
    )  # fmt: skip
    classes = tuple(table.columns.soft) or class_order(
        label for entry in table.entries for label in entry.labels
    )
    rest = "train" if any(entry.split for entry in table.entries) else unsplit
    rows: dict[str, list[int]] = {}
    for row, entry in enumerate(table.entries):
        rows.setdefault(entry.split or rest, []).append(row)
    rows_N = {split: np.asarray(some, dtype=np.int64) for split, some in sorted(rows.items())}
    targets_NK = _targets(table.entries, classes)
    return _data_set(table, classes, targets_NK, rows_N, table.notes)


def _data_set(
    table: Usable,
    classes: tuple[str, ...],
    targets_NK: NDArray[np.float64],
    rows_N: Mapping[str, NDArray[np.int64]],
    notes: Sequence[str],
) -> DataSet:
    """Returns the rows of each split as a data set."""
    entries, multi_label = table.entries, table.multi_label
    soft = bool(table.columns.soft) and not multi_label
    weights_N, groups_N = _weights(entries), _group_numbers(entries)
    return DataSet(
        name=table.place.stem,
        classes=classes,
        splits={
            split: Split(
                images=FileImages(
                    root=table.root, names=tuple(entries[row].name for row in part_N)
                ),
                labels_N=targets_NK[part_N].argmax(axis=1).astype(np.int64),
                targets_NK=targets_NK[part_N].astype(np.float32) if soft or multi_label else None,
                weights_N=None if table.columns.weight is None else weights_N[part_N],
                groups_N=None if groups_N is None else groups_N[part_N],
            )
            for split, part_N in rows_N.items()
        },
        fingerprint=_fingerprint(classes, entries, rows_N),
        typical_side=table.typical_side,
        multi_label=multi_label,
        bad=table.bad,
        notes=(*notes, *_notes(classes, entries, targets_NK, rows_N)),
    )


def _classes(entries: Sequence[Entry], columns: Columns, where: str) -> tuple[str, ...]:
    """Returns the class names: the soft columns, or the labels of rows that can be training.

    Raises:
        DataError: Fewer than two, or one in another split only.
    """
    training = [entry for entry in entries if entry.split in (None, "train")]
    if not training:
        raise DataError(f"{where} cannot be read as a data set", found="no row of the train split")
    if columns.label is None:
        classes = tuple(columns.soft)
    else:
        classes = class_order(label for entry in training for label in entry.labels)
        unknown = {label for e in entries for label in e.labels} - set(classes)
        if unknown:
            first = next(e for e in entries if unknown & set(e.labels))
            raise DataError(
                f"{where} has classes that training has not",
                found=f"{listed(sorted(unknown))} in {first.split} ({first.place})",
                hint="take these rows out, or name rows of these classes train",
            )
    two_classes(classes, where)
    return classes


def _weights(entries: Sequence[Entry]) -> NDArray[np.float32]:
    """Returns how much each image counts in the training loss."""
    return np.asarray([entry.weight for entry in entries], dtype=np.float32)


def _targets(entries: Sequence[Entry], classes: Sequence[str]) -> NDArray[np.float64]:
    """Returns the share of each class (N, K): 1 for each label where there are no shares."""
    index = {label: position for position, label in enumerate(classes)}
    targets_NK = np.zeros((len(entries), len(classes)))
    for row, entry in enumerate(entries):
        if entry.shares_K:
            targets_NK[row] = entry.shares_K
        else:
            targets_NK[row, [index[label] for label in entry.labels]] = 1.0
    return targets_NK


def _group_numbers(entries: Sequence[Entry]) -> NDArray[np.int64] | None:
    """Returns a number for each group; an image without one is a group of its own."""
    if all(entry.group is None for entry in entries):
        return None
    numbers: dict[str | int, int] = {}
    keys = [row if entry.group is None else entry.group for row, entry in enumerate(entries)]
    return np.asarray([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _rows(
    entries: Sequence[Entry],
    strata_N: NDArray[np.int64],
    *,
    seed: int,
    fractions: Sequence[float],
    notes: list[str],
    where: str,
) -> dict[str, NDArray[np.int64]]:
    """Returns the positions of each split."""
    groups = [entry.group if entry.group is not None else row for row, entry in enumerate(entries)]
    grouped = any(entry.group is not None for entry in entries)
    split_of = [entry.split for entry in entries]
    blank_N = np.asarray([row for row, split in enumerate(split_of) if split is None], dtype=int)
    if len(blank_N) < len(entries):
        if len(blank_N):
            notes.append(f"{len(blank_N)} images without a split were divided by the fractions")
            parts = stratified_split(
                strata_N[blank_N], fractions=fractions, seed=seed,
                groups_N=[groups[row] for row in blank_N] if grouped else None,
            )  # fmt: skip
            for split, part_N in zip(("train", "val", "test"), parts, strict=False):
                for row in blank_N[part_N]:
                    split_of[row] = split
        rows: dict[str, list[int]] = {
            split: [row for row, named in enumerate(split_of) if named == split]
            for split in ("train", "val", "test")
            if split in split_of
        }
    else:
        rows = {"train": list(range(len(entries)))}
    if "train" not in rows:
        raise DataError(f"{where} cannot be read as a data set", found="no row of the train split")
    return fill_splits(
        rows, strata_N, seed=seed, fractions=fractions, notes=notes,
        groups_N=groups if grouped else None,
    )  # fmt: skip


def _notes(
    classes: Sequence[str],
    entries: Sequence[Entry],
    targets_NK: NDArray[np.float64],
    rows_N: Mapping[str, NDArray[np.int64]],
) -> list[str]:
    present = {s: np.flatnonzero(targets_NK[part_N].any(axis=0)) for s, part_N in rows_N.items()}
    notes = class_notes(classes, present)
    groups = Counter(entry.group for entry in entries if entry.group is not None)
    if groups and len(groups) == len(entries):
        notes.append("every image is a group of its own")
    return notes


def _fingerprint(
    classes: Sequence[str], entries: Sequence[Entry], rows_N: Mapping[str, NDArray[np.int64]]
) -> str:
    """Returns SHA-256 over classes, names, sizes, labels, weights and splits."""
    lines = [f"{index} {label}" for index, label in enumerate(classes)]
    for split, part_N in rows_N.items():
        for row in part_N:
            entry = entries[row]
            told = "\0".join((*entry.labels, *map(repr, entry.shares_K)))
            lines.append(f"{split}\0{told}\0{entry.name}\0{entry.num_bytes}\0{entry.weight!r}")
    return digest(lines)
