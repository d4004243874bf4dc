"""From a configuration to the list of runs that an experiment is made of.

A trial is a run of its own, with a folder and a config.toml that repeats it. Its name holds a
digest of its options, so that an experiment that is started again finds what it has done already,
and never takes a run of other options for its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from zoo.config import RunConfig
from zoo.errors import UsageError, ZooError, printable
from zoo.plugin import fold

__all__ = ["Trial", "fold_trials", "grid_trials", "heads_alone", "side_by_side", "usual_jobs"]

_MOST = 10_000
"""Trials of one experiment. A grid that is larger was not meant."""

_FIXED = ("runs", "name", "resume", "fold", "recipe", "monitor")
"""Options that a grid cannot vary: where a run is, what stands for other options, and what ranks
the runs."""

_MOST_JOBS = 4
"""How many runs there are at once where nobody says: each takes the memory of a process."""

_RUNS_A_JOB = 4
"""How many runs there are for each of them at least: starting a process takes as long as some."""

_LONGEST_SLUG = 60
"""Characters of the words in a trial's name."""

_FEW_DIGITS, _MANY_DIGITS = 6, 16
"""Of the digest in a trial's name: where its words say all that sets it apart, and where they are
cut or another trial has the same. Six tell a few runs apart; of 3,000, two had the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of an experiment.

    Args:
        name: Of its folder, within the experiment's, where no other trial has it.
        setting: What sets it apart from the others, as config keys and values.
        config: All of its options.
    """

    name: str
    setting: Mapping[str, object]
    config: RunConfig

    @property
    def title(self) -> str:
        """What a person calls it: ``lr 0.01, loss ce``."""
        return ", ".join(
            f"{key.replace('_', '-')} {_text(value)}" for key, value in self.setting.items()
        )


def fold_trials(config: RunConfig, *, folds: int, seeds: Sequence[object] = ()) -> list[Trial]:
    """Returns a run for each of the folds, and for each seed where there are any.

    Each seed divides the images anew: that is repeated cross-validation.

    Raises:
        UsageError: There are fewer than two folds, or a seed cannot be, or is there twice.
    """
    if not isinstance(folds, int) or folds < 2:
        raise UsageError(f"folds is {printable(folds)}, and must be a whole number of at least 2")
    return _trials(
        config,
        [
            {**({"seed": seed} if seeds else {}), "fold": f"{number}/{folds}"}
            for seed in (seeds or (config.seed,))
            for number in range(1, folds + 1)
        ],
    )


def grid_trials(
    config: RunConfig, axes: Mapping[str, Sequence[object]], *, sample: int | None = None
) -> list[Trial]:
    """Returns a run for each combination of values, the last axis moving fastest.

    Args:
        config: What all have in common.
        axes: Values by option.
        sample: Only so many of the combinations, drawn without repetition as of ``config.seed``.

    Raises:
        UsageError: An axis cannot vary or has no values, a value is not allowed or there twice, or
            there are too many combinations. All problems together.
    """
    problems: list[ZooError] = []
    for key, values in axes.items():
        if key.replace("-", "_") in _FIXED:
            problems.append(UsageError(f"--{printable(key)} cannot vary within an experiment"))
        elif not values:
            problems.append(UsageError(f"the axis {printable(key)} has no values"))
    if "loss" in axes and fold(config.monitor) in ("loss", "val-loss"):
        problems.append(UsageError(
            f"runs of several losses cannot be ranked by --monitor {printable(config.monitor)}",
            found="each is validated with its own loss",
            hint="--monitor nll, the cross-entropy whatever is trained with, or accuracy",
        ))  # fmt: skip
    if sample is not None and sample < 1:
        problems.append(UsageError(f"sample is {sample}, and must be at least 1"))
    total = 1
    for values in axes.values():
        total *= max(1, len(values))
    if total > _MOST and sample is None:
        problems.append(
            UsageError(f"the grid has {total:,} combinations", hint="--sample 50 tries 50 of them")
        )
    if problems:
        raise UsageError.together(problems)
    keys = [key.replace("-", "_") for key in axes]
    if sample is not None and sample < total:
        chosen = _drawn(total, count=sample, seed=config.seed)
        combinations = [_combination(index, list(axes.values())) for index in chosen]
    else:
        combinations = list(itertools.product(*axes.values()))
    return _trials(config, [dict(zip(keys, values, strict=True)) for values in combinations])


def side_by_side(trials: Sequence[Trial], *, jobs: int, num_cores: int) -> list[Trial]:
    """Returns the trials as they are trained several at once: each with its share of the machine.

    Compute threads are shared out unless the user gave a number. Where all train a head alone the
    first keeps them: it computes the frozen features, while nothing else runs, and a head takes one
    thread anyway. Names stay, so an experiment goes on with another number of jobs.

    Args:
        trials: As they are trained one after the other.
        jobs: How many at once.
        num_cores: Of the machine.
    """
    alone = heads_alone(trials)
    shared = []
    for number, trial in enumerate(trials):
        config = trial.config.changed(ram=trial.config.ram // jobs)
        if config.threads is None and (number or not alone):
            config = config.changed(threads=max(1, num_cores // jobs))
        shared.append(replace(trial, config=config))
    return shared


def usual_jobs(trials: Sequence[Trial], *, num_cores: int, gpu: bool) -> int:
    """Returns how many trials at once make the most of a machine, where nobody says.

    A head on kept features takes one thread of a processor, whatever there is. All else uses the
    whole machine by itself.

    Args:
        trials: All of them.
        num_cores: Of the machine.
        gpu: Whether it may have a GPU.
    """

    def has_cores_to_spare(config: RunConfig) -> bool:
        on_cpu = config.device == "cpu" or (config.device == "auto" and not gpu)
        return on_cpu and config.threads is None

    if not heads_alone(trials) or not all(has_cores_to_spare(one.config) for one in trials):
        return 1
    return max(1, min(num_cores, _MOST_JOBS, len(trials) // _RUNS_A_JOB))


def heads_alone(trials: Sequence[Trial]) -> bool:
    """Whether all trials compute an image's features once and train a head on them."""

    def is_one(config: RunConfig) -> bool:
        kept = config.cache and not config.freeze_aug and config.frozen_norm != "train"
        return kept and config.epochs == 0 and config.phases is None

    return all(is_one(trial.config) for trial in trials)


def _trials(config: RunConfig, settings: Sequence[Mapping[str, object]]) -> list[Trial]:
    """Returns a trial for each setting; wrong values of all of them are told together."""
    found: dict[str, Trial] = {}
    problems: dict[str, ZooError] = {}
    alike = Counter(map(_slug, settings))
    for setting in settings:
        try:
            changed = config.changed(**setting)
        except UsageError as error:
            problems[str(error)] = error
            continue
        slug, digest = _slug(setting), _digest(changed)
        digits = _FEW_DIGITS if len(slug) < _LONGEST_SLUG and alike[slug] == 1 else _MANY_DIGITS
        trial = Trial(name=f"{slug}-{digest[:digits]}", setting=setting, config=changed)
        if digest in found:
            problems["twice"] = UsageError(
                f"the same run is asked for twice: {printable(trial.title)}",
                hint="each value once: 1 and 1.0 are the same number",
            )
        found[digest] = trial
    if problems:
        raise UsageError.together(list(problems.values()))
    return list(found.values())


def _drawn(total: int, *, count: int, seed: int) -> list[int]:
    """Returns ``count`` of the numbers below ``total``, ascending, as of the seed."""
    if total <= 100 * _MOST:
        ranked = sorted(range(total), key=lambda n: hashlib.sha256(f"{seed} {n}".encode()).digest())
        return sorted(ranked[:count])
    found: dict[int, None] = {}
    attempt = 0
    while len(found) < count:  # so many that the same one is hardly ever drawn twice
        draw = hashlib.sha256(f"{seed} {attempt}".encode()).digest()
        found.setdefault(int.from_bytes(draw[:16], "big") % total)
        attempt += 1
    return sorted(found)


def _combination(index: int, axes: Sequence[Sequence[object]]) -> tuple[object, ...]:
    """Returns the combination of that number, in the order of :func:`itertools.product`."""
    values: list[object] = []
    for axis in reversed(axes):
        index, place = divmod(index, len(axis))
        values.append(axis[place])
    return tuple(reversed(values))


def _digest(config: RunConfig) -> str:
    """Returns the hex digest of what a run is, wherever it is kept."""
    apart = {key: v for key, v in config.as_mapping().items() if key not in ("runs", "name")}
    return hashlib.sha256(json.dumps(apart, sort_keys=True).encode()).hexdigest()


def _slug(setting: Mapping[str, object]) -> str:
    words = "-".join(f"{key}-{_text(value)}" for key, value in setting.items())
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.")[:_LONGEST_SLUG] or "run"


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
