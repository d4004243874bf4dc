"""Several runs at once: cross-validation, sweeps, repeated seeds."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.api.process import go_on, prepare
from zoo.api.settings import listed, settings_of
from zoo.api.training import run_settings
from zoo.errors import UsageError, printable
from zoo.garbage import collected_rarely
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.sources import Sources
    from zoo.engine.events import Observer
    from zoo.experiments.processes import Work
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
    jobs: int | None = 1,
    registry: Registry | None = None,
    observer: Observer | None = None,
    listener: str = "",
    at_once: Callable[[int], None] = lambda jobs: None,
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
        jobs: How many runs at once: one in this process, each other in one of its own. They begin
            when the first run has its frozen features, and share out threads and ``ram``. None is
            one, and more for many runs of a head alone on a CPU.
        registry: The components to choose from, for one job; by default all that are installed.
        observer: Listens to each run of this process.
        listener: ``module:class`` of an observer that other processes make for each of their runs.
        at_once: Told how many runs there are at once, before the first.
        started: Told (number from 1, of how many, trial) before each run.
        ended: Told the outcome after each run, with several jobs in any thread, one at a time.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Raises:
        ZooError: What would stop a single run; a run that fails by itself is only listed.
    """
    from zoo.experiments.trials import fold_trials

    settings = settings_of(config, options, registry)
    trials = fold_trials(settings, folds=folds, seeds=listed("seeds", seeds))
    return _experiment(
        settings, trials, "kfold", jobs=jobs, registry=registry, observer=observer,
        listener=listener, at_once=at_once, started=started, ended=ended,
    )  # fmt: skip


def sweep(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    grid: Mapping[str, Sequence[object]],
    sample: int | None = None,
    jobs: int | None = 1,
    registry: Registry | None = None,
    observer: Observer | None = None,
    listener: str = "",
    at_once: Callable[[int], None] = lambda jobs: None,
    started: Callable[[int, int, Trial], None] = lambda number, total, trial: None,
    ended: Callable[[Outcome], None] = lambda outcome: None,
    **options: Any,
) -> Experiment:
    """Trains once for each combination of values. ``zoo sweep``.

    Args:
        config: What all runs have in common, or a mapping of its keys.
        grid: Values by option; ``seed`` may be one of them.
        sample: Only so many of the combinations, drawn as of the seed.
        jobs: How many runs at once: one in this process, each other in one of its own. They begin
            when the first run has its frozen features, and share out threads and ``ram``. None is
            one, and more for many runs of a head alone on a CPU.
        registry: The components to choose from, for one job; by default all that are installed.
        observer: Listens to each run of this process.
        listener: ``module:class`` of an observer that other processes make for each of their runs.
        at_once: Told how many runs there are at once, before the first.
        started: Told (number from 1, of how many, trial) before each run.
        ended: Told the outcome after each run, with several jobs in any thread, one at a time.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Raises:
        ZooError: What would stop a single run; a run that fails by itself is only listed.
    """
    from zoo.experiments.trials import grid_trials

    settings = settings_of(config, options, registry)
    axes = {key: listed(f"the axis {printable(key)}", values) for key, values in grid.items()}
    trials = grid_trials(settings, axes, sample=sample)
    return _experiment(
        settings, trials, "sweep", jobs=jobs, registry=registry, observer=observer,
        listener=listener, at_once=at_once, started=started, ended=ended,
    )  # fmt: skip


@collected_rarely()
def _experiment(
    config: RunConfig,
    trials: Sequence[Trial],
    stem: str,
    *,
    jobs: int | None,
    registry: Registry | None,
    observer: Observer | None,
    listener: str,
    at_once: Callable[[int], None],
    started: Callable[[int, int, Trial], None],
    ended: Callable[[Outcome], None],
) -> Experiment:
    """Checks the names of all trials, trains them and writes what came of them."""
    from zoo.cores import num_cores
    from zoo.engine.events import Observer, Observers
    from zoo.experiments.processes import Process, processes
    from zoo.experiments.running import Begun, experiment_folder, run_trials, write_outcomes
    from zoo.experiments.tables import ranked, summarised
    from zoo.experiments.trials import side_by_side

    jobs = _possible(jobs, trials=trials, registry=registry)
    at_once(jobs)
    known = registry or Registry.installed()
    first, begun = trials[0].config.as_mapping(), threading.Event()

    def further(number: int) -> Process:
        return Process("zoo.api.process", {"number": number, "first": first, "listener": listener})

    @cache
    def sources() -> Sources:
        from zoo.engine.assembly.sources import Sources

        return Sources.once()  # what several runs ask for is made once

    def load() -> Work:
        prepare(trials[0].config, registry=known, sources=sources())
        return partial(go_on, registry=known, sources=sources())

    with processes(jobs - 1, further, load=load) as others:
        _check_names(trials, known)  # with torch, which new processes import at the same time
        folder = experiment_folder(Path(config.runs), name=config.name, stem=stem)
        outcomes = run_trials(
            side_by_side(trials, jobs=jobs, num_cores=num_cores()) if others else trials, folder,
            train=partial(
                run_settings, registry=known, sources=sources(),
                observer=Observers([observer or Observer(), Begun(begun)]),
            ),
            others=others, begun=begun,
            started=started, ended=ended,
        )  # fmt: skip
    ended_well = [outcome.result for outcome in outcomes if outcome.result is not None]
    upwards = all(result.greater_is_better for result in ended_well)
    write_outcomes(
        folder / "experiment.json",
        {"kind": stem, **summarised(outcomes, greater_is_better=upwards)},
    )
    return Experiment(
        path=folder, outcomes=outcomes, lines=ranked(outcomes, greater_is_better=upwards)
    )


def _check_names(trials: Sequence[Trial], registry: Registry) -> None:
    """Raises the problems with the components of all trials together."""
    from zoo.engine.assembly.choices import choose

    problems: dict[str, UsageError] = {}
    for trial in trials:
        try:
            choose(trial.config, registry)
        except UsageError as error:
            problems[str(error)] = error
    if problems:
        raise UsageError.together(list(problems.values()))


def _possible(jobs: int | None, *, trials: Sequence[Trial], registry: Registry | None) -> int:
    """Returns how many jobs there are work and cores for.

    Raises:
        UsageError: There can be none, each run is several processes already, or other processes
            would not know the components.
    """
    from zoo.cores import may_have_gpu, num_cores
    from zoo.experiments.trials import usual_jobs

    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if jobs is None:
        alone = launched > 1 or registry is not None
        return 1 if alone else usual_jobs(trials, num_cores=num_cores(), gpu=may_have_gpu())
    if jobs < 1:
        raise UsageError(f"--jobs {jobs} is not 1 or more")
    if jobs > 1 and launched > 1:
        raise UsageError(
            "--jobs is for runs of one process each",
            found=f"a launcher that started {launched} processes",
            hint="--jobs without a launcher",
        )
    if jobs > 1 and registry is not None:
        raise UsageError(
            "several jobs take the components that are installed",
            found="a registry of your own", hint="jobs=1",
        )  # fmt: skip
    return min(jobs, len(trials))
