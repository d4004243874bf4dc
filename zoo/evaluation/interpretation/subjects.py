"""What is looked at: images by path, or a split of a run's data or of other data.

Suffixes: N images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from zoo.config import RunConfig, load_config
from zoo.errors import UsageError, printable
from zoo.evaluation.predict.inputs import collect, true_labels
from zoo.evaluation.subjects import (
    other_data,
    own_data,
    split_of,
    what_can_be_done,
    with_classes,
)
from zoo.evaluation.trained import Trained, load_trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import Images, OnBad
    from zoo.registry import Registry

__all__ = ["Subjects", "runs_of", "subjects"]

_EXPERIMENT = "experiment.json"
"""What the folder of several runs has beside them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subjects:
    """A trained run and images to look at.

    Args:
        trained: Its best weights as a classifier.
        images: The images; some may turn out to be unreadable.
        labels: What each is: the name of its class, all of its labels joined by ``|``, or nothing
            where that is not known.
        title: What the images are, in a few words.
        notes: What was left out, a line each.
    """

    trained: Trained
    images: Images
    labels: tuple[str, ...]
    title: str
    notes: tuple[str, ...] = ()


def subjects(
    path: Path,
    paths: Sequence[str | os.PathLike[str]] = (),
    *,
    data: str | None = None,
    split: str | None = None,
    registry: Registry,
) -> Subjects:
    """Returns a run with images: those at the paths, else a split.

    Args:
        path: The run folder.
        paths: Files, folders, patterns, tables of paths.
        data: As ``--data``; by default what the run was trained on.
        split: As for ``zoo evaluate``: by default test where there is one, else val.
        registry: The components to choose from.

    Raises:
        UsageError: Both paths and data are given, or there is no such split.
        DataError: The images or the data cannot be used.
        CheckpointError: The run has no weights that can be used.
    """
    if paths and (data is not None or split is not None):
        raise UsageError(
            "images are given by their paths and by --data or --split", hint="give one of the two"
        )
    trained = load_trained(path, registry=registry)
    if paths:
        inputs = collect(paths)
        known = true_labels(inputs, trained.classes)
        return Subjects(
            trained=trained, images=inputs, title=f"{len(inputs):,} images",
            labels=tuple(known.get(index, "") for index in range(len(inputs))),
            notes=tuple(inputs.notes),
        )  # fmt: skip
    config = RunConfig.from_mapping(
        load_config(path / "config.toml"), source=printable(path / "config.toml")
    )
    with what_can_be_done():
        found = own_data(config, registry, run=path) if data is None else other_data(
            data, classes=trained.classes, seed=config.seed, on_bad=cast("OnBad", config.on_bad),
            registry=registry, keep_bad=True,
        )  # fmt: skip
    name, part = split_of(found, split, own=data is None)
    part = with_classes(found, part, trained.classes, multi_label=trained.multi_label)
    several = part.targets_NK if trained.multi_label else None
    return Subjects(
        trained=trained, images=part.images, title=f"{found.name}, {name}",
        labels=_joined(several, trained.classes) if several is not None
        else tuple(trained.classes[i] if i >= 0 else "" for i in part.labels_N.tolist()),
        notes=tuple(found.notes),
    )  # fmt: skip


def runs_of(paths: Sequence[str | Path]) -> list[Path]:
    """Returns run folders; instead of the folder of a cross-validation or a sweep, its runs.

    Raises:
        UsageError: None are given, or such a folder has none.
    """
    runs: list[Path] = []
    for path in map(Path, paths):
        if (path / "config.toml").exists() or not (path / _EXPERIMENT).exists():
            runs.append(path)
            continue
        inside = sorted(config.parent for config in path.glob("*/config.toml"))
        if not inside:
            raise UsageError(f"{printable(path)} has no run in it")
        runs += inside
    if not runs:
        raise UsageError("no run is given", hint="zoo review runs/NAME")
    return runs


def _joined(targets_NK: NDArray[np.float32], classes: Sequence[str]) -> tuple[str, ...]:
    """Returns the labels of each image joined by a bar."""
    return tuple(
        "|".join(classes[i] for i in np.flatnonzero(row > 0.5).tolist()) for row in targets_NK
    )
