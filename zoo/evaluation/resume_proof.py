"""Whether a run that is killed again and again ends as one that is left alone. Counted, not said.

one run uninterrupted -> its stages and their lengths -> runs that are killed at drawn instants
and resumed until they are done -> each compared with the first, bit by bit
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import CheckpointError, ZooError
from zoo.evaluation.kills import Launch, Life, Strata, live
from zoo.evaluation.sameness import compare_runs
from zoo.evaluation.stages import Stage

if TYPE_CHECKING:
    from zoo.config import RunConfig

__all__ = ["Proof", "Trial", "prove", "shortened"]

_PATIENCE = 300.0
_STRAIGHT = "straight"
_CORRUPT_CODE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run that was killed and resumed until it was done.

    Args:
        name: Its folder.
        kills: (planned stage, stage that was hit) of each kill.
        outcome: ``same``, ``different``, ``corrupt`` (a file could not be used) or ``stuck`` (a
            process failed or hung, or the run came to no end).
        verdict: One line that says it in words.
        digest: SHA-256 of the final weights; empty without them.
    """

    name: str
    kills: tuple[tuple[str, str], ...]
    outcome: str
    verdict: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the trials say together.

    Args:
        trials: All of them.
        stages: Stage to (visits, median seconds) in the run that was left alone.
        digest: SHA-256 of that run's final weights.
        seconds: Wall time of everything.
        seed: Of the drawn instants.
    """

    trials: tuple[Trial, ...]
    stages: Mapping[str, tuple[int, float]]
    digest: str
    seconds: float
    seed: int

    @property
    def num_kills(self) -> int:
        """Processes that were killed."""
        return sum(len(trial.kills) for trial in self.trials)

    @property
    def hit(self) -> Mapping[str, int]:
        """How many kills hit each stage, by what the process had told last."""
        return Counter(hit for trial in self.trials for _, hit in trial.kills)

    def count(self, outcome: str) -> int:
        """How many trials ended so."""
        return sum(trial.outcome == outcome for trial in self.trials)

    @property
    def holds(self) -> bool:
        """Whether every trial ended the same."""
        return bool(self.trials) and self.count("same") == len(self.trials)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return {
            "kills": self.num_kills,
            "runs": len(self.trials),
            **{name: self.count(name) for name in ("same", "different", "corrupt", "stuck")},
            "hit": {stage.label: self.hit.get(stage.label, 0) for stage in Stage},
            "stages": {k: {"visits": n, "seconds": s} for k, (n, s) in self.stages.items()},
            "digest": self.digest,
            "seconds": self.seconds,
            "seed": self.seed,
            "trials": [
                {"name": t.name, "kills": [list(k) for k in t.kills], "outcome": t.outcome,
                 "verdict": t.verdict, "digest": t.digest}
                for t in self.trials
            ],
        }  # fmt: skip


def shortened(config: RunConfig) -> RunConfig:
    """Returns a settled configuration cut down to what can be run many times.

    Everything that decides how a step computes stays, phases that are given in full too. Else at
    most one frozen and two other epochs; four batches of images, a checkpoint every other step.
    """
    images = 4 * config.batch_size
    short = {} if config.phases else {
        "freeze_epochs": min(config.freeze_epochs or 0, 1), "epochs": min(config.epochs or 0, 2),
    }  # fmt: skip
    return config.changed(
        **short,
        limit=min(config.limit or images, images),
        save_steps=2,
        max_minutes=0.0,  # a time budget ends two runs at different steps
        callback=None,  # who else listens decides nothing, and need not hear of a proof
    )


def prove(
    launch: Launch,
    runs: Path,
    *,
    kills: int,
    seed: int,
    max_seconds: float = 0.0,
    told: Callable[[Trial], None] = lambda trial: None,
) -> Proof:
    """Kills and resumes runs until there were enough kills, and compares each with a straight run.

    Args:
        launch: Starts a process that runs the run of a name, or goes on with it.
        runs: Folder of the run folders.
        kills: How many processes are to be killed.
        seed: Of the drawn instants.
        max_seconds: Begins no run but the first after this time; 0 has no limit.
        told: Told each trial when it is over.

    Raises:
        ZooError: The run cannot be made even when it is left alone; as its process said it.
    """
    began = time.monotonic()
    straight = live(launch(_STRAIGHT), kill=None, patience=_PATIENCE)
    if straight.exit_code != 0:
        raise _failed(straight)
    strata = Strata(straight, seed=seed)
    done, trials = 0, list[Trial]()
    while done < kills and not (trials and 0 < max_seconds < time.monotonic() - began):
        name = f"killed-{len(trials) + 1}"
        trial = _trial(launch, runs, name, strata, most=kills - done)
        trials.append(trial)
        told(trial)
        done += len(trial.kills)
        if trial.outcome == "same":
            shutil.rmtree(runs / name)
    return Proof(
        trials=tuple(trials), stages=strata.typical(), seed=seed,
        digest=compare_runs(runs / _STRAIGHT, runs / _STRAIGHT).digests[0],
        seconds=time.monotonic() - began,
    )  # fmt: skip


def _trial(launch: Launch, runs: Path, name: str, strata: Strata, *, most: int) -> Trial:
    """Kills one run at most so many times, resumes it until it is done, and compares it."""
    kills: list[tuple[str, str]] = []
    kept: Counter[Stage] = Counter()
    while True:
        plan = strata.draw(kept=kept) if len(kills) < most else None
        life = live(launch(name), kill=plan, patience=_PATIENCE)
        if not life.killed or life.planned is None:
            break
        kills.append((life.planned.stage.label, life.stage.label))
        kept += life.kept()
    digest = ""
    if life.hung:
        outcome, verdict = "stuck", f"no word for {_PATIENCE:.0f} s in stage {life.stage.label}"
    elif life.exit_code != 0:
        outcome = "corrupt" if life.exit_code == _CORRUPT_CODE else "stuck"
        verdict = f"exit code {life.exit_code}: {' '.join(life.errors.split())[-300:]}"
    else:
        try:
            compared = compare_runs(runs / _STRAIGHT, runs / name)
            digest = compared.digests[1]
            outcome = "same" if compared.identical else "different"
            verdict = compared.verdict
        except CheckpointError as error:
            outcome, verdict = "corrupt", " ".join(str(error).split())
    return Trial(name=name, kills=tuple(kills), outcome=outcome, verdict=verdict, digest=digest)


def _failed(life: Life) -> ZooError:
    """Returns why the run that was left alone did not end well."""
    error = ZooError(
        "the run fails even when it is left alone",
        found=" ".join(life.errors.split())[-300:] or f"exit code {life.exit_code}",
        hint="zoo run with the same options",
    )
    error.exit_code = life.exit_code if life.exit_code > 0 else 1
    return error
