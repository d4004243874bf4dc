"""Several runs at once: cross-validation, sweeps, repeated seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.api.settings import settings_of
from zoo.api.training import run_settings
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.events import Observer, RunResult
    from zoo.experiments.running import Outcome
    from zoo.experiments.tables import Line
    from zoo.experiments.trials import Trial

__all__ = ["Experiment", "kfold", "sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What came of several runs.

    Args:
        path: The folder that holds a run folder for each trial, and experiment.json.
        outcomes: How each trial ended, in order.
        lines: One for each setting over its seeds and folds, the best first.
    """

    path: Path
    outcomes: Sequence[Outcome]
    lines: Sequence[Line]


def kfold(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    folds: int = 5,
    seeds: Sequence[int] = (),
    registry: Registry | None = None,
    observer: Observer | None = None,
    started: Callable[[int, int, Trial], None] = lambda number, total, trial: None,
    ended: Callable[[Outcome], None] = lambda outcome: None,
    **options: Any,
) -> Experiment:
    """Trains once for each part of the training and validation images. ``zoo kfold``.

    Every image of the two splits is validated once; the test split stays unseen by all.

    Args:
        config: A configuration, or a mapping of its keys.
        folds: How many parts.
        seeds: Repeat it with each of these seeds, which also divide the images anew.
        registry: The components to choose from; by default all that are installed.
        observer: Listens to each run.
        started: Told (number from 1, of how many, trial) before each run.
        ended: Told the outcome after each run.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Raises:
        ZooError: What would stop a single run; a run that fails by itself is only listed.
    """
    from zoo.experiments.trials import fold_trials

    settings = settings_of(config, options, registry)
    trials = fold_trials(settings, folds=folds, seeds=seeds)
    return _experiment(
        settings, trials, "kfold", registry=registry, observer=observer, started=started,
        ended=ended,
    )  # fmt: skip


def sweep(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    grid: Mapping[str, Sequence[object]],
    sample: int | None = None,
    registry: Registry | None = None,
    observer: Observer | None = None,
    started: Callable[[int, int, Trial], None] = lambda number, total, trial: None,
    ended: Callable[[Outcome], None] = lambda outcome: None,
    **options: Any,
) -> Experiment:
    """Trains once for each combination of values. ``zoo sweep``.

    Args:
        config: What all runs have in common, or a mapping of its keys.
        grid: Values by option; ``seed`` may be one of them.
        sample: Only so many of the combinations, drawn as of the seed.
        registry: The components to choose from; by default all that are installed.
        observer: Listens to each run.
        started: Told (number from 1, of how many, trial) before each run.
        ended: Told the outcome after each run.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Raises:
        ZooError: What would stop a single run; a run that fails by itself is only listed.
    """
    from zoo.experiments.trials import grid_trials

    settings = settings_of(config, options, registry)
    trials = grid_trials(settings, grid, sample=sample)
    return _experiment(
        settings, trials, "sweep", registry=registry, observer=observer, started=started,
        ended=ended,
    )  # fmt: skip


def _experiment(
    config: RunConfig,
    trials: Sequence[Trial],
    stem: str,
    *,
    registry: Registry | None,
    observer: Observer | None,
    started: Callable[[int, int, Trial], None],
    ended: Callable[[Outcome], None],
) -> Experiment:
    """Checks the names of all trials, trains them and writes what came of them."""
    from zoo.engine.assembly.choices import choose
    from zoo.engine.assembly.reading import ReadOnce
    from zoo.errors import UsageError
    from zoo.experiments.running import experiment_folder, run_trials, write_outcomes
    from zoo.experiments.tables import ranked, summarised

    known = registry or Registry.installed()
    problems: dict[str, UsageError] = {}
    for trial in trials:
        try:
            choose(trial.config, known)
        except UsageError as error:
            problems[str(error)] = error
    if problems:
        raise UsageError.together(list(problems.values()))
    folder = experiment_folder(Path(config.runs), name=config.name, stem=stem)
    read = ReadOnce()

    def train(settings: RunConfig) -> RunResult:
        return run_settings(settings, registry=known, observer=observer, read=read)

    outcomes = run_trials(trials, folder, train=train, started=started, ended=ended)
    ended_well = [outcome.result for outcome in outcomes if outcome.result is not None]
    upwards = all(result.greater_is_better for result in ended_well)
    write_outcomes(
        folder / "experiment.json",
        {"kind": stem, **summarised(outcomes, greater_is_better=upwards)},
    )
    return Experiment(
        path=folder, outcomes=outcomes, lines=ranked(outcomes, greater_is_better=upwards)
    )
