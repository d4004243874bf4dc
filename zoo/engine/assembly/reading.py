"""Reading the data that a configuration names: a component's, or a path's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from zoo.config.rules import parse_fold
from zoo.cores import num_cores
from zoo.data.folds import with_fold
from zoo.data.pixels.damage import without_bad
from zoo.data.reading.sources import read_path
from zoo.data.subset import with_fewer_images
from zoo.protocols import DataSet, OnBad
from zoo.registry import Choice
from zoo.registry.loading import build_as

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["ReadOnce", "ReadSource", "read_data", "read_source", "workers_of"]


class ReadSource(Protocol):
    """What :func:`read_source` is."""

    def __call__(
        self, source: Choice | str | Path, *, seed: int, split: Sequence[float], on_bad: OnBad
    ) -> DataSet:
        """Returns the data set of a component or at a path."""


def read_source(
    source: Choice | str | Path,
    *,
    seed: int,
    split: Sequence[float],
    on_bad: OnBad,
    unsplit: str | None = None,
) -> DataSet:
    """Returns the data set of a component or at a path.

    Args:
        source: A chosen data set component, or a path.
        seed: Of the split, where the data is not split already.
        split: Training, validation and test shares, likewise.
        on_bad: ``fail`` or ``skip``, see :class:`zoo.protocols.DataSetFactory`.
        unsplit: Of a component that takes the fact: nothing is divided, what has no split is of
            this one.

    Raises:
        DataError: The data cannot be used.
        PluginError: The component returns something else than a data set.
    """
    if not isinstance(source, Choice):
        return read_path(source, seed=seed, split=split, on_bad=on_bad)
    found: DataSet = build_as(
        source, "a zoo.protocols.DataSet", lambda made: isinstance(made, DataSet),
        seed=seed, split=split, on_bad=on_bad, unsplit=unsplit,
    )  # fmt: skip
    return found


class ReadOnce:
    """Reads data for several runs: anew only where one asks for other data than the one before.

    So the runs of an experiment see the same images, whatever becomes of the folder meanwhile.
    """

    def __init__(self) -> None:
        self._last: tuple[object, DataSet] | None = None

    def __call__(
        self, source: Choice | str | Path, *, seed: int, split: Sequence[float], on_bad: OnBad
    ) -> DataSet:
        """Returns the data set of a component or at a path, see :func:`read_source`."""
        what = (source.entry.id, source.spec) if isinstance(source, Choice) else Path(source)
        asked = (what, seed, tuple(split), on_bad)
        if self._last is None or self._last[0] != asked:
            self._last = None  # two data sets at once may be too much
            self._last = (asked, read_source(source, seed=seed, split=split, on_bad=on_bad))
        return self._last[1]


def read_data(
    config: RunConfig,
    source: Choice | None,
    *,
    read: ReadSource = read_source,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataSet:
    """Returns the data of a run: read, cut to what was asked for, without bad images, folded.

    Of a fold it is the training images that a share is taken of: folds are validated on all images,
    so that runs of several shares can be compared.
    """
    data = read(
        config.data if source is None else source,
        seed=config.seed, split=config.split, on_bad=cast("OnBad", config.on_bad),
    )  # fmt: skip
    share = config.fraction if config.fold is None else 1.0
    data = with_fewer_images(data, limit=config.limit, fraction=share, seed=config.seed)
    if config.on_bad == "skip":
        data = without_bad(data, num_threads=workers_of(config), progress=progress)
    if config.fold is not None:
        number, total = parse_fold(config.fold)
        data = with_fold(data, number=number, total=total, seed=config.seed)
        data = with_fewer_images(data, limit=None, fraction=config.fraction, seed=config.seed)
    return data


def workers_of(config: RunConfig) -> int:
    """Returns how many threads decode."""
    return num_cores() if config.workers is None else config.workers
