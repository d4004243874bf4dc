"""Trials, one after the other or side by side: each a run, each kept, none twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from zoo.disk import atomic_file, machine_errors, make_folder
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.errors import NonFiniteError, UsageError, printable
from zoo.runs.listing import is_run

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.phases import Phase
    from zoo.engine.events import RunResult
    from zoo.experiments.processes import Process
    from zoo.experiments.trials import Trial

__all__ = ["Begun", "Outcome", "Train", "experiment_folder", "run_trials", "write_outcomes"]

Train: TypeAlias = "Callable[[RunConfig], RunResult]"


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
            told = ("monitor", "best_score", "best_epoch", "test_accuracy", "test_loss", "seconds")
            summary = result.summary()
            numbers = {name: summary[name] for name in told}
        return {
            "name": self.trial.name, "setting": dict(self.trial.setting), **numbers,
            **({"failure": self.failure} if self.failure else {}),
        }  # fmt: skip


class Begun(Observer):
    """Sets an event when a phase starts: other processes find its frozen features then.

    Args:
        event: That they wait for.
    """

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:
        """Sets the event."""
        self._event.set()


def experiment_folder(runs: Path, *, name: str | None, stem: str) -> Path:
    """Returns the folder of an experiment: the named one, which may be there, or a new one.

    Raises:
        UsageError: The name is that of a single run, of a file, or of a folder of other things.
        MachineError: It cannot be made.
    """
    with machine_errors(
        "making the folder of the experiment in", runs, then="or name another --runs"
    ):
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
                if (found := _something_else(path)) is not None:
                    raise UsageError(
                        f"{printable(path)} is not the folder of an experiment",
                        found=found,
                        hint="another --name",
                    ) from None
            return path


def _something_else(path: Path) -> str | None:
    """Returns what there is in the place of an experiment's folder; None where it is one."""
    if not path.is_dir():
        return "a file"
    if (path / "config.toml").exists():
        return "a single run"
    inside = [file for file in path.iterdir() if not file.name.startswith(".")]
    if any(file.name == "experiment.json" or is_run(file) for file in inside):
        return None
    # A run that was killed in its first instant is an empty folder.
    others = [file.name for file in inside if not file.is_dir() or any(file.iterdir())]
    return f"a folder of other things, such as {printable(min(others))}" if others else None


def run_trials(
    trials: Sequence[Trial],
    folder: Path,
    *,
    train: Train,
    others: Sequence[Process] = (),
    begun: threading.Event,
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
        train: Trains one configuration here, ``resume="auto"`` understood.
        others: Processes that take trials too.
        begun: They wait for it. Set at the end of the first trial, if nobody sets it before.
        started: Told (number from 1, of how many, trial) before each.
        ended: Told the outcome after each. Neither is called twice at once.
    """
    left = _Left(trials, folder, started=started, ended=ended)

    def elsewhere(process: Process) -> None:
        begun.wait()
        with suppress(BaseException):  # kept in left.failure
            left.train_with(process.train)

    threads = [
        threading.Thread(target=elsewhere, args=(process,), name="zoo-trials") for process in others
    ]
    for thread in threads:
        thread.start()
    try:
        left.train_with(train, after_each=begun.set)
        for thread in threads:
            while thread.is_alive():  # a wait without end hears no Ctrl-C on Windows
                thread.join(1.0)
    except BaseException as error:
        for process in others:
            process.ask_to_end()
        kept = f"all runs in {printable(folder)}"
        hint = f"the same command with --name {printable(folder.name)} goes on"
        if isinstance(error, Interrupted):
            error.kept, error.hint = kept, hint
        elif isinstance(error, KeyboardInterrupt):  # while no run trains here
            error.add_note(f"  kept:  {kept}\n  try:   {hint}")
        raise
    finally:
        left.stop()
        begun.set()
        for thread in threads:
            thread.join()
    if left.failure is not None:
        raise left.failure
    return [outcome for _, outcome in sorted(left.outcomes.items())]


class _Left:
    """The trials that nobody has taken yet, and how the others ended."""

    def __init__(
        self, trials: Sequence[Trial], folder: Path, *,
        started: Callable[[int, int, Trial], None], ended: Callable[[Outcome], None],
    ) -> None:  # fmt: skip
        self._trials, self._folder, self._next = trials, folder, 0
        self._started, self._ended = started, ended
        self._lock = threading.Lock()
        self.outcomes: dict[int, Outcome] = {}
        self.failure: BaseException | None = None

    def train_with(self, train: Train, *, after_each: Callable[[], None] = lambda: None) -> None:
        """Takes trials and trains them until none is left, or one ends the experiment."""
        try:
            while (number := self._take()) is not None:
                outcome = self._outcome(self._trials[number], train)
                with self._lock:
                    self.outcomes[number] = outcome
                    self._ended(outcome)
                after_each()
        except BaseException as error:
            with self._lock:
                self.failure = self.failure or error
            raise

    def stop(self) -> None:
        """Gives no more trials away."""
        with self._lock:
            self._next = len(self._trials)

    def _take(self) -> int | None:
        with self._lock:
            number, total = self._next, len(self._trials)
            if number == total or self.failure is not None:
                return None
            self._next += 1
            self._started(number + 1, total, self._trials[number])
            return number

    def _outcome(self, trial: Trial, train: Train) -> Outcome:
        config = trial.config.changed(runs=str(self._folder), name=trial.name, resume="auto")
        try:
            return Outcome(trial=trial, result=train(config))
        except (NonFiniteError, UsageError) as error:
            return Outcome(trial=trial, failure=error.what)


def write_outcomes(path: Path, summary: Mapping[str, object]) -> None:
    """Writes what came of an experiment, as JSON, atomically."""
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    with machine_errors("writing", path, then="then the same command again"):
        atomic_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
