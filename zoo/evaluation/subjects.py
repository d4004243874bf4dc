"""The data that a run is examined on: its own, or other data with classes matched by name.

    --data D where D is        splits
    a folder of images         train, val, test as its folders say; else all images are "all"
    a table                    likewise, as its rows say
    hf:, webdataset:           likewise, as their splits are called
    what else --data takes     its own test split; "all" where it has none
    not given                  what the run was trained on

``--split all`` joins all splits of any data. Whoever tries a classifier on other data wants all of
it looked at: what is not split already is not split for that.

Suffixes: N images, K classes of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from zoo.config import RunConfig
from zoo.data.folds import joined
from zoo.data.reading.folder import folder_as_it_is
from zoo.data.reading.manifest import read_as_it_is
from zoo.data.reading.scan import Scan, listed, scan_folder
from zoo.data.reading.tables import SUFFIXES as TABLES
from zoo.data.reading.tables import read_table
from zoo.engine.assembly.choices import names_a_path
from zoo.engine.assembly.reading import read_data, read_source
from zoo.errors import CheckpointError, DataError, UsageError, count_of, printable
from zoo.protocols import DataSet, OnBad, Split
from zoo.registry import Registry, parse_choice
from zoo.registry.absent import refuse_missing
from zoo.runs.folder import RunFolder

__all__ = ["ALL", "other_data", "own_data", "split_of", "what_can_be_done", "with_classes"]

ALL = "all"
"""The split that joins all others."""

_UNSPLIT = (0.5, 0.5)
# Shares that make no test split: one that is there is the data's own.

_UNKNOWN = -1


def own_data(config: RunConfig, registry: Registry, *, run: Path | None = None) -> DataSet:
    """Returns what a run was trained on, as it is now.

    Args:
        config: Of the run.
        registry: Where the name of a data set is found.
        run: The run's folder, which says which package a name came from.

    Raises:
        PluginError: The plugin of the data set is missing.
        DataError: The data cannot be used, or is not where zoo was called.
    """
    if run is not None:
        with suppress(CheckpointError):  # one that does not say it is tried all the same
            made_with = RunFolder.open(run).read_json("environment.json")
            components = made_with.get("components") if isinstance(made_with, dict) else None
            refuse_missing(components, registry, run=run, parts=("data",))
    named = registry.get("dataset", config.data.partition(":")[0]) is not None
    if not named and not Path(config.data).exists():
        relative = not Path(config.data).is_absolute()
        raise DataError(
            f"the data that the run was trained on is not at {printable(config.data)}",
            found="nothing of that name" + f" in {printable(Path.cwd())}" * relative,
            hint="call zoo in the folder where the run was trained, or " * relative
            + "name other data with --data",
        )
    source = parse_choice(registry, "dataset", config.data) if named else None
    with what_can_be_done():
        return read_data(config, source)


@contextmanager
def what_can_be_done() -> Iterator[None]:
    """Has errors about bad images name no option that is not there, or not for these images."""
    try:
        yield
    except DataError as error:
        if "--on-bad" in error.hint:
            error.hint = "replace or remove them: zoo data check names them all"
        raise


def other_data(
    source: str,
    *,
    classes: Sequence[str],
    seed: int,
    on_bad: OnBad,
    registry: Registry,
    keep_bad: bool = False,
) -> DataSet:
    """Returns data that a run was not trained on, with the splits that it has of its own.

    Args:
        source: As ``--data``.
        classes: The run's: a folder named ``train`` may be of pictures of trains.
        seed: Of a split, where a reader makes one all the same.
        on_bad: What to do about images that cannot be read.
        registry: Where the name of a data set may be found.
        keep_bad: Have those of a folder among the others all the same, for whoever reads on past
            images that cannot be read.

    Raises:
        DataError: It cannot be read.
    """
    if not names_a_path(source, registry):
        return read_source(
            parse_choice(registry, "dataset", source), seed=seed, split=_UNSPLIT, on_bad=on_bad,
            unsplit=ALL,
        )  # fmt: skip
    place = Path(source)
    scan = scan_folder(place) if place.is_dir() else Scan()
    if scan.sizes:
        return folder_as_it_is(
            place, scan, unsplit=ALL, on_bad=on_bad, known=classes, keep_bad=keep_bad
        )
    if source.lower().endswith(TABLES):
        _refuse_unlabelled(place)
        return read_as_it_is(place, unsplit=ALL, on_bad=on_bad)
    return read_source(source, seed=seed, split=_UNSPLIT, on_bad=on_bad)


def split_of(data: DataSet, named: str | None, *, own: bool) -> tuple[str, Split]:
    """Returns the split that is examined, and its name.

    Args:
        data: Where it is from.
        named: What the user asked for.
        own: Whether it is the run's own data.

    Raises:
        UsageError: There is no such split.
    """
    default = "test" if "test" in data.splits else "val" if own else ALL
    name = named or default
    if name == ALL and ALL not in data.splits:
        return ALL, joined(list(data.splits.values()), called=list(data.splits))
    if name not in data.splits:
        raise UsageError(
            f"{printable(data.name)} has no split {printable(name)!r}",
            found=f"there are {', '.join(dict.fromkeys([*data.splits, ALL]))}",
            hint="choose another --split",
        )
    return name, data.splits[name]


def with_classes(
    data: DataSet, split: Split, classes: Sequence[str], *, multi_label: bool
) -> Split:
    """Returns a split whose labels are indices into a run's classes, matched by name.

    Args:
        data: What the split is of.
        split: Its labels are indices into the classes of ``data``.
        classes: The run's.
        multi_label: Whether an image can have any number of labels, to the run.

    Raises:
        DataError: Images are of classes that the run does not know, or have several labels where
            the run gives one.
    """
    if data.multi_label != multi_label:
        several, one = ("the data", "the run") if data.multi_label else ("the run", "the data")
        raise DataError(
            f"{printable(data.name)} does not fit the run",
            found=f"an image has several labels in {several}, one in {one}",
            hint="--data manifest:path=TABLE,separator=pipe reads several labels from a table"
            if multi_label
            else "",
        )
    place = {name: index for index, name in enumerate(classes)}
    position_K = np.asarray([place.get(name, _UNKNOWN) for name in data.classes], dtype=np.int64)
    if data.multi_label and split.targets_NK is not None:
        present = np.flatnonzero(split.targets_NK.any(axis=0))
    else:
        present = np.unique(split.labels_N[split.labels_N >= 0])
    unknown = [data.classes[index] for index in present if position_K[index] == _UNKNOWN]
    if unknown:
        raise DataError(
            f"{printable(data.name)} has {count_of(len(unknown), 'class', 'classes')} "
            f"that the run does not know: {listed(unknown, most=8)}",
            found=f"the run knows {len(classes)}: {listed(classes, most=8)}",
            hint="remove or rename them; for predictions without labels: zoo predict RUN PATHS",
        )
    known_N = split.labels_N >= 0
    labels_N = np.full(len(split.labels_N), _UNKNOWN, dtype=np.int64)
    labels_N[known_N] = position_K[split.labels_N[known_N]]
    targets_NK = None
    if data.multi_label and split.targets_NK is not None:
        targets_NK = np.zeros((len(labels_N), len(classes)), dtype=np.float32)
        kept = position_K >= 0
        targets_NK[:, position_K[kept]] = split.targets_NK[:, kept]
    return replace(split, labels_N=labels_N, targets_NK=targets_NK)


def _refuse_unlabelled(path: Path) -> None:
    """Says what a table without labels is good for."""
    from zoo.data.reading.columns import Wanted, find_columns

    names, where = read_table(path).columns, printable(path)
    try:
        find_columns(names, Wanted(), where=where)
    except DataError:
        find_columns((*names, "label"), Wanted(), where=where)  # or it is the images that lack
        raise DataError(
            f"{where} has no labels to compare with", found=f"the columns {listed(names)}",
            hint=f"zoo predict RUN {where}",
        ) from None  # fmt: skip
