"""Files and folders as components: the readers of ``zoo.data`` with the params that a user sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data.reading.arrays import read_arrays
from zoo.data.reading.cifar import read_cifar
from zoo.data.reading.columns import Wanted
from zoo.data.reading.folder import folder_as_it_is, read_folder
from zoo.data.reading.idx import read_idx
from zoo.data.reading.manifest import read_as_it_is, read_manifest
from zoo.data.reading.scan import scan_folder
from zoo.errors import UsageError
from zoo.protocols import DataSet, OnBad

__all__ = ["cifar", "folder", "idx", "manifest", "npz"]

_SHARES = (0.8, 0.1, 0.1)


def folder(
    *,
    path: str | None = None,
    seed: int = 0,
    split: Sequence[float] = _SHARES,
    on_bad: OnBad = "fail",
    unsplit: str | None = None,
) -> DataSet:
    """Returns the images below a folder.

    Args:
        path: The folder.
        seed: A fact of the run: seed of the split, where the folder is not split already.
        split: A fact of the run: training, validation and test fractions.
        on_bad: A fact of the run: ``fail`` or ``skip``.
        unsplit: A fact of whoever only looks at the data: the split of all images where no folder
            is called as a split. Nothing is divided then.

    Raises:
        UsageError: No path was given.
        DataError: The folder, its layout or its images cannot be used.
    """
    place = Path(_given(path, "folder"))
    if unsplit is not None and place.is_dir() and (scan := scan_folder(place)).sizes:
        return folder_as_it_is(place, scan, unsplit=unsplit, on_bad=on_bad)
    return read_folder(place, seed=seed, fractions=split, on_bad=on_bad)


def manifest(
    *,
    path: str | None = None,
    image: str | None = None,
    label: str | None = None,
    split_column: str | None = None,
    weight: str | None = None,
    group: str | None = None,
    separator: str | None = None,
    multi_label: bool = False,
    folder: str | None = None,
    seed: int = 0,
    split: Sequence[float] = _SHARES,
    on_bad: OnBad = "fail",
    unsplit: str | None = None,
) -> DataSet:
    """Returns the images that a table names.

    Args:
        path: The table: .csv, .tsv, .jsonl, .ndjson or .parquet.
        image: Column of the paths. None: found by its usual names, as are the four that follow.
        label: Column of the labels.
        split_column: Column of train, val and test.
        weight: Column of the sample weights.
        group: Column of what must stay in one split.
        separator: What stands between several labels of an image.
        multi_label: Whether an image can have any number of labels.
        folder: What relative paths are below. None: the folder of the table.
        seed: A fact of the run: seed of the split.
        split: A fact of the run: training, validation and test fractions.
        on_bad: A fact of the run: ``fail`` or ``skip``.
        unsplit: A fact of whoever only looks at the data: the split of all rows where none names
            one. Nothing is divided then.

    Raises:
        UsageError: No path was given.
        DataError: The table, its rows or its images cannot be used.
    """
    columns = Wanted(
        image=image, label=label, split_column=split_column, weight=weight, group=group
    )
    place = _given(path, "manifest")
    if unsplit is not None:
        return read_as_it_is(
            place, unsplit=unsplit, on_bad=on_bad, columns=columns, separator=separator,
            multi_label=multi_label, folder=folder,
        )  # fmt: skip
    return read_manifest(
        place, seed=seed, fractions=split, on_bad=on_bad, columns=columns, separator=separator,
        multi_label=multi_label, folder=folder,
    )  # fmt: skip


def idx(*, path: str | None = None, seed: int = 0, split: Sequence[float] = _SHARES) -> DataSet:
    """Returns the data set in a folder of IDX files, the format of MNIST.

    Args:
        path: The folder.
        seed: A fact of the run: seed of the split.
        split: A fact of the run: training, validation and test fractions.

    Raises:
        UsageError: No path was given.
        DataError: Files are missing or damaged.
    """
    return read_idx(_given(path, "idx"), seed=seed, fractions=split)


def cifar(
    *,
    path: str | None = None,
    labels: str = "fine",
    seed: int = 0,
    split: Sequence[float] = _SHARES,
) -> DataSet:
    """Returns CIFAR-10 or CIFAR-100 from files that are there.

    Args:
        path: The unpacked folder, python or binary version, or the .tar.gz archive.
        labels: ``fine`` or ``coarse`` labels of CIFAR-100.
        seed: A fact of the run: seed of the split.
        split: A fact of the run: training and validation fractions.

    Raises:
        UsageError: No path was given.
        DataError: Files are missing or damaged.
        RefusedError: A file asks for code to be run.
    """
    return read_cifar(_given(path, "cifar"), seed=seed, fractions=split, labels=labels)


def npz(*, path: str | None = None, seed: int = 0, split: Sequence[float] = _SHARES) -> DataSet:
    """Returns the images and labels in a NumPy file.

    Args:
        path: The .npz file.
        seed: A fact of the run: seed of the split.
        split: A fact of the run: training, validation and test fractions.

    Raises:
        UsageError: No path was given.
        DataError: It does not hold images and labels.
    """
    return read_arrays(_given(path, "npz"), seed=seed, fractions=split)


def _given(path: str | None, name: str) -> str:
    if not path:
        raise UsageError(f"the data set {name!r} needs a path", hint=f"--data {name}:path=PATH")
    return path
