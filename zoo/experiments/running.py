"""Trials one after the other: each a run, each kept, none twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.disk import atomic_file, machine_errors, make_folder
from zoo.errors import NonFiniteError, UsageError, printable

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.events import RunResult
    from zoo.experiments.trials import Trial

__all__ = ["Outcome", "experiment_folder", "run_trials", "write_outcomes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Args:
        trial: What it was.
        result: Its result; None where it failed.
        failure: Why it failed, empty otherwise.
    """

    trial: Trial
    result: RunResult | None = None
    failure: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Returns the outcome as plain data."""
        result = self.result
        numbers: dict[str, object] = {}
        if result is not None:
            numbers = {
                "monitor": result.monitor, "best_score": result.best_score,
                "best_epoch": result.best_epoch, "test_accuracy": result.test_accuracy,
                "test_loss": result.test_loss, "seconds": result.seconds,
            }  # fmt: skip
        return {
            "name": self.trial.name, "setting": dict(self.trial.setting), **numbers,
            **({"failure": self.failure} if self.failure else {}),
        }  # fmt: skip


def experiment_folder(runs: Path, *, name: str | None, stem: str) -> Path:
    """Returns the folder of an experiment: the named one, which may be there, or a new one.

    Raises:
        UsageError: The name is that of a single run, or of a file.
        MachineError: It cannot be made.
    """
    with machine_errors("making the folder of the experiment in", runs):
        make_folder(runs)
        number = 1
        while True:
            path = runs / (name or f"{stem}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                if name is None:
                    number += 1
                    continue
                if not path.is_dir() or (path / "config.toml").exists():
                    raise UsageError(
                        f"{printable(path)} is not the folder of an experiment",
                        found="a single run" if path.is_dir() else "a file",
                        hint="another --name",
                    ) from None
            return path


def run_trials(
    trials: Sequence[Trial],
    folder: Path,
    *,
    train: Callable[[RunConfig], RunResult],
    started: Callable[[int, int, Trial], None] = lambda number, total, trial: None,
    ended: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Trains each trial in a folder of its own below ``folder`` and returns how they ended.

    One that has ended already is not trained again, one that was cut short goes on. One whose
    numbers stop being finite has failed, and the others go on; so has one whose options do not
    work together. A full disk or a signal ends the experiment, and starting it again goes on.

    Args:
        trials: What to train.
        folder: Of the experiment.
        train: Trains one configuration, ``resume="auto"`` understood.
        started: Told (number from 1, of how many, trial) before each.
        ended: Told the outcome after each.
    """
    outcomes = []
    for number, trial in enumerate(trials, 1):
        started(number, len(trials), trial)
        config = trial.config.changed(runs=str(folder), name=trial.name, resume="auto")
        try:
            outcome = Outcome(trial=trial, result=train(config))
        except (NonFiniteError, UsageError) as error:
            outcome = Outcome(trial=trial, failure=error.what)
        outcomes.append(outcome)
        ended(outcome)
    return outcomes


def write_outcomes(path: Path, summary: Mapping[str, object]) -> None:
    """Writes what came of an experiment, as JSON, atomically."""
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    with machine_errors("writing", path):
        atomic_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
