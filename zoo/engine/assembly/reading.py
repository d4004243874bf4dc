"""Reading the data that a configuration names: a component's, or a path's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo.config.rules import parse_fold
from zoo.data.folds import with_fold
from zoo.data.pixels.damage import without_bad
from zoo.data.reading.sources import read_path
from zoo.data.subset import with_fewer_images
from zoo.data.threads import num_cores
from zoo.errors import PluginError
from zoo.protocols import DataSet, OnBad
from zoo.registry import Choice, build

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["read_data", "read_source", "workers_of"]


def read_source(
    source: Choice | str | Path, *, seed: int, split: Sequence[float], on_bad: OnBad
) -> DataSet:
    """Returns the data set of a component or at a path.

    Args:
        source: A chosen data set component, or a path.
        seed: Of the split, where the data is not split already.
        split: Training, validation and test shares, likewise.
        on_bad: ``fail`` or ``skip``, see :class:`zoo.protocols.DataSetFactory`.

    Raises:
        DataError: The data cannot be used.
        PluginError: The component returns something else than a data set.
    """
    if not isinstance(source, Choice):
        return read_path(source, seed=seed, split=split, on_bad=on_bad)
    found: DataSet | Any = build(source, seed=seed, split=split, on_bad=on_bad)
    if not isinstance(found, DataSet):
        raise PluginError(
            f"the dataset {source.entry.id} returned {type(found).__name__}, not a DataSet"
        )
    return found


def read_data(
    config: RunConfig,
    source: Choice | None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataSet:
    """Returns the data of a run: read, cut to what was asked for, without bad images, folded."""
    data = read_source(
        config.data if source is None else source,
        seed=config.seed, split=config.split, on_bad=cast("OnBad", config.on_bad),
    )  # fmt: skip
    data = with_fewer_images(data, limit=config.limit, fraction=config.fraction, seed=config.seed)
    if config.on_bad == "skip":
        data = without_bad(data, num_threads=workers_of(config), progress=progress)
    if config.fold is not None:
        number, total = parse_fold(config.fold)
        data = with_fold(data, number=number, total=total, seed=config.seed)
    return data


def workers_of(config: RunConfig) -> int:
    """Returns how many threads decode."""
    return num_cores() if config.workers is None else config.workers
