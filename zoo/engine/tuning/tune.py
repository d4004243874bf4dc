"""``--tune``: a few steps with each setting before a run begins, and the fastest is taken.

phase -> settings remembered, or tried knob by knob -> job with those settings -> config.toml
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import torch

from zoo.config import RunConfig, load_config
from zoo.cores import num_cores
from zoo.engine.assembly.reading import workers_of
from zoo.engine.features.views import frozen_views
from zoo.engine.interrupts import Interrupted, Interrupts
from zoo.engine.tuning.remembered import Finding, recall, remember, work_of
from zoo.engine.tuning.settings import Settings, fastest, thread_counts
from zoo.engine.tuning.trial import Trials
from zoo.errors import NonFiniteError

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase
    from zoo.engine.device import Device
    from zoo.engine.events import Observer
    from zoo.engine.feeds import Teach
    from zoo.runs.folder import RunFolder

__all__ = ["Progress", "keep_settings", "tuned", "tuned_run"]

_MOST_ROUNDS, _FEWEST_ROUNDS = 5, 3
_SECONDS = 10.0
# After so long no more than the fewest rounds of one knob are made.

_FAR = 2.0
# Times as slow as another setting, in steps that also pay for new memory and kernels.

Progress = Callable[[str, int, int], None]
"""Told (what is being tried, how many rounds are done, of how many). May raise to stop."""


def tuned(
    job: Job,
    *,
    device: Device,
    teach: Teach | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Job:
    """Returns the job with the settings that compute its steps fastest on this machine.

    They are those of an earlier trial of the same work, or tried now. A setting is changed only
    where the gain is beyond doubt (:func:`zoo.engine.tuning.settings.fastest`). The network, its
    weights and every random state stay as they are, so the run ends as one that was given these
    settings. What was chosen stands in the job's notes.

    What is found while other processes want the cores is taken for this run and not remembered:
    with two threads on two busy cores, 14 images/s where one thread made 162.

    Args:
        job: What would be trained, its network not yet prepared for that.
        device: Where it computes.
        teach: A teacher.
        progress: Told how far it is.
    """
    plain = replace(job, config=job.config.changed(tune=False))
    phase = _phase(job)
    if device.world > 1:
        return _noting(plain, "--tune has no effect on several processes")
    if phase is None:
        return _noting(plain, "--tune has no effect: every phase trains on kept features")
    before = _settings(job.config)
    trials = Trials(
        job=plain, phase=phase, device=device, teach=teach,
        alive=lambda: progress("settings", 0, 0),
    )  # fmt: skip
    work = work_of(plain, phase, device=device, before=before, decodes=trials.decodes)
    found = recall(work)
    if found is not None:
        return _noting(_with(plain, found.settings), f"as tuned before: {found}")
    busy = load() > num_cores()
    try:
        found = _tried(trials, before, progress=progress)
    except NonFiniteError:  # the run itself will say where
        return _noting(plain, "nothing was tuned: the loss of the trial was not finite")
    chosen = _with(plain, found.settings)
    if busy:
        return _noting(chosen, f"tuned for this run, on a busy machine: {found}")
    side, name = job.preprocessing.image_size, job.choices.model.entry.component.name
    remember(work, found, what=f"{name} at {side} px, batch {job.config.batch_size}: {found}")
    return _noting(chosen, f"tuned: {found}")


def tuned_run(
    job: Job, folder: RunFolder, *, device: Device, observer: Observer, signals: Interrupts,
    teach: Teach | None = None,
) -> Job:  # fmt: skip
    """Returns the :func:`tuned` job of a run, whose folder then names the settings.

    Raises:
        Interrupted: A signal came. A resume starts the run, and the trial, again.
    """

    def progress(what: str, done: int, total: int) -> None:
        if total:
            observer.preparing(what, done, total)
        if signals.received is not None:
            raise Interrupted(signals.received, folder=folder.path, steps_done=0)

    job = tuned(job, device=device, teach=teach, progress=progress)
    if device.is_main:
        keep_settings(folder, job.config)
    return job


def keep_settings(folder: RunFolder, config: RunConfig) -> None:
    """Writes tuned settings into a run's config.toml, so that a resume and a repeat have them."""
    saved = RunConfig.from_mapping(load_config(folder.path / "config.toml"))
    names = tuple(Settings.__slots__)
    changed = saved.changed(tune=False, **{
        name: getattr(config, name) for name in names if getattr(config, name) is not None
    })  # fmt: skip
    environment = folder.read_json("environment.json")
    folder.write_json(
        "environment.json",
        {**environment, "threads": config.threads or environment["threads"]},
    )
    folder.write_text("config.toml", changed.to_toml())


def load() -> float:
    """Returns how many threads of all processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _phase(job: Job) -> Phase | None:
    """Returns the last phase whose steps go through the whole network; the others cost little."""
    for phase in reversed(job.phases):
        if not job.config.cache or frozen_views(job, phase) is None:
            return phase
    return None


def _settings(config: RunConfig) -> Settings:
    """Returns what a run of this configuration would have."""
    return Settings(
        threads=config.threads or torch.get_num_threads(), workers=workers_of(config),
        channels_last=config.channels_last, fast_convolutions=config.fast_convolutions,
        compile=config.compile, compile_mode=config.compile_mode,
    )  # fmt: skip


def _with(job: Job, settings: Settings) -> Job:
    """Returns the job with these settings. Workers are named only where they were asked for."""
    config = job.config.changed(
        threads=settings.threads, channels_last=settings.channels_last,
        fast_convolutions=settings.fast_convolutions, compile=settings.compile,
        compile_mode=settings.compile_mode,
    )  # fmt: skip
    if settings.workers != workers_of(config):
        config = config.changed(workers=settings.workers)
    return replace(job, config=config)


def _noting(job: Job, line: str) -> Job:
    return replace(job, notes=(*job.notes, line))


def _knobs(trials: Trials) -> list[list[dict[str, object]]]:
    """Returns what can be tried: the choices of each knob, that which matters most first.

    Threads and workers that the user names are kept.
    """
    config, device = trials.job.config, trials.device.torch_device
    on_cpu = device.type == "cpu"
    knobs: list[list[dict[str, object]]] = []
    if config.threads is None and on_cpu:
        knobs.append([{"threads": count} for count in thread_counts(num_cores())])
    if config.workers is None and trials.decodes:
        cores = num_cores()
        counts = sorted({max(1, cores // 2), cores, 2 * cores})
        knobs.append([{"workers": count} for count in counts])
    knobs.append([{"channels_last": switch} for switch in (False, True)])
    if on_cpu and not config.compile:  # compiled code has its own convolutions
        knobs.append([{"fast_convolutions": switch} for switch in (False, True)])
    if config.compile:
        modes = ("default", "reduce-overhead") if device.type == "cuda" else ()  # and that of now
        knobs.append([
            {"compile": False, "compile_mode": "default"},
            *({"compile": True, "compile_mode": mode} for mode in modes),
        ])  # fmt: skip
    return knobs


def _tried(trials: Trials, before: Settings, *, progress: Progress) -> Finding:
    """Tries knob by knob, each with what was the fastest so far."""
    best, knobs = before, _knobs(trials)
    total = _MOST_ROUNDS * len(knobs)
    measured: dict[Settings, list[float]] = {}
    for number, values in enumerate(knobs):
        changed = (Settings.from_mapping({**asdict(best), **value}) for value in values)
        choices = list(dict.fromkeys([best, *filter(None, changed)]))
        rounds = _rounds(trials, choices, lambda done, first=number * _MOST_ROUNDS: progress(  # type: ignore[misc]  # bound now
            "settings", first + done, total
        ))  # fmt: skip
        best = fastest(rounds, default=best)
        trials.forget()
        if before in rounds and best in rounds:
            measured = rounds
    if not (before in measured and best in measured):  # two knobs gained: do they together?
        measured = _rounds(trials, [before, best], lambda done: progress("settings", total, total))
        trials.forget()
        best = fastest(measured, default=before)
    speeds = {key: trials.batch_size / statistics.median(measured[key]) for key in (before, best)}
    return Finding(
        settings=best, before=before, images_per_second=speeds[best],
        before_per_second=speeds[before],
    )  # fmt: skip


def _rounds(
    trials: Trials, choices: Sequence[Settings], done: Callable[[int], None]
) -> dict[Settings, list[float]]:
    """Returns the seconds of a step by setting and round, the first setting's among them.

    Every second round goes backwards. What is far behind when it is tried first is left out.
    """
    for settings in choices:
        if settings.has_graphs:  # its first steps compile, try and record
            trials.step_seconds(settings)
    first = {settings: trials.step_seconds(settings) for settings in choices}
    choices = [s for s in choices if s == choices[0] or first[s] < _FAR * min(first.values())]
    seconds: dict[Settings, list[float]] = {settings: [] for settings in choices}
    began = time.monotonic()
    for number in range(_MOST_ROUNDS):
        if number >= _FEWEST_ROUNDS and time.monotonic() - began > _SECONDS:
            break
        for settings in choices if number % 2 else reversed(choices):
            seconds[settings].append(trials.step_seconds(settings))
        done(number + 1)
    return seconds
