"""Runs that are there: list, filter, sort, tidy up, compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.api.settings import data_of, in_range, several
from zoo.errors import BusyError, printable

if TYPE_CHECKING:
    from zoo.evaluation.comparison.records import Comparison
    from zoo.registry import Registry
    from zoo.runs.listing import RunEntry
    from zoo.runs.pruning import Plan

__all__ = ["compare", "list_runs", "metric_label", "option_names", "prune_runs"]


def list_runs(
    folder: str | Path = "runs",
    *,
    pattern: str | None = None,
    where: Sequence[str] = (),
    sort: str | None = None,
    reverse: bool = False,
) -> list[RunEntry]:
    """Returns the runs below a folder. ``zoo runs``. Imports no torch.

    A folder that is damaged, incomplete or of a newer zoo is an entry that says so.

    Args:
        folder: The folder of run folders.
        pattern: A glob such as ``*lenet*``, or a part of the name.
        where: Conditions such as ``val_accuracy>0.9`` or ``model=lenet`` that must all hold.
        sort: A metric or an option, best first; by default the newest run first.
        reverse: The other way round. Runs without the value come last either way.

    Raises:
        UsageError: There is no such folder, or a condition or a key cannot be used.
    """
    from zoo.runs.listing import list_runs as found_in
    from zoo.runs.selecting import chosen, ranked

    known = option_names()
    entries = chosen(found_in(Path(folder)), pattern=pattern, where=several(where), known=known)
    return ranked(entries, sort, reverse=reverse, known=known)


def prune_runs(
    names: Sequence[str] = (),
    *,
    folder: str | Path = "runs",
    keep_last: int = 0,
    everything: bool = False,
    dry_run: bool = False,
) -> list[Plan]:
    """Removes old checkpoints of runs, and returns what went. ``zoo runs prune``.

    The best weights and the record of a run always stay, as does whatever zoo did not write or
    cannot verify. Of runs that were cut short the newest checkpoint stays.

    Args:
        names: Names of runs, globs or paths of run folders; none means every run of the folder.
        folder: The folder of run folders.
        keep_last: How many of the newest checkpoints of each run stay.
        everything: Also take the newest checkpoint of a run that was cut short.
        dry_run: Change nothing.

    Raises:
        UsageError: A name means no run.
        BusyError: A run that was named is being written. Nothing was removed.
        MachineError: Something cannot be removed.
    """
    from zoo.runs.pruning import carry_out, plan_for, runs_named

    in_range("keep_last", keep_last, 0)
    paths = runs_named(Path(folder), several(names))
    plans = [plan_for(path, keep_last=keep_last, everything=everything) for path in paths]
    if names and (busy := [plan for plan in plans if plan.busy]):
        raise BusyError(
            f"the run {printable(busy[0].path)} is being written by another process",
            kept="everything: nothing was removed", hint="wait for it, or leave it out",
        )  # fmt: skip
    if dry_run:
        return plans
    return [
        carry_out(plan.path, keep_last=keep_last, everything=everything) if plan.removals else plan
        for plan in plans
    ]


def compare(
    runs: Sequence[str | Path],
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    metrics: str | Sequence[str] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    registry: Registry | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Comparison:
    """Returns how the first run stands against each other one. ``zoo compare``.

    Args:
        runs: Run folders, two or more.
        data: As ``--data``: what to compare them on; by default what each was trained on.
        split: By default test where all of them have one, else val.
        metrics: As ``--metric`` has them, besides loss and accuracy; f1 by default.
        alpha: Below this corrected p-value a difference is no noise.
        seed: Of the resamples.
        registry: The components to choose from; by default all that are installed.
        progress: Told what is being done.

    Raises:
        UsageError: There are fewer than two runs, or a metric or a split is unknown.
        DataError: The data cannot be used, or has no labels.
        CheckpointError: A run has no weights that can be used.
    """
    from zoo.evaluation.comparison.comparing import compare_runs
    from zoo.registry import Registry

    in_range("alpha", alpha, 0, 1, whole=False)
    in_range("seed", seed, 0)
    return compare_runs(
        [Path(run) for run in several(runs)], registry=registry or Registry.installed(),
        data=data_of(data), split=split, alpha=alpha, seed=seed, progress=progress,
        metrics=None if metrics is None else "+".join(several(metrics)),
    )  # fmt: skip


def metric_label(metric: str, *, registry: Registry | None = None) -> str:
    """Returns the label under which a comparison has a metric.

    Raises:
        UsageError: It is unknown, or several.
    """
    from zoo.evaluation.comparison.comparing import label_of
    from zoo.registry import Registry

    return label_of(metric, registry or Registry.installed())


def option_names() -> tuple[str, ...]:
    """Returns the names of all options of a run, which runs can be filtered by."""
    from zoo.config import RunConfig

    return tuple(field.name for field in dataclasses.fields(RunConfig))
