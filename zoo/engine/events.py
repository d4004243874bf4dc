"""What a run tells while it runs. Observers listen; none of them can change the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.engine.job import Job
    from zoo.engine.phases import Phase

__all__ = ["EpochRow", "Observer", "Observers", "RunResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One line of the table and of metrics.jsonl.

    Args:
        phase: Name of the phase.
        epoch: 1 for the first epoch of the run.
        lr: The head's learning rate at the epoch's first step.
        train_loss: Mean over the epoch's samples while training.
        train_accuracy: Share of the epoch's samples that were right while training, 0..1.
        val_loss: Mean over the validation split.
        val_accuracy: Share of the validation split that is right, 0..1.
        seconds: Wall time of training and validation; for a phase's first epoch also of
            computing the frozen features.
        images_per_second: Training images over that time without validation.
        best: Whether it is the best epoch so far.
    """

    phase: str
    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    images_per_second: float
    best: bool

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Args:
        path: The run folder.
        rows: One row an epoch.
        best_epoch: The epoch whose weights are in best/, from 1.
        best_score: Its monitored metric, as it is (not negated).
        monitor: Name of the monitored metric.
        test_accuracy: Of the final weights on the test split, 0..1; None without one.
        test_loss: Likewise.
        num_test: Images in the test split.
        seconds: Wall time of the whole run, over all its resumes.
    """

    path: Path
    rows: Sequence[EpochRow]
    best_epoch: int
    best_score: float
    monitor: str
    test_accuracy: float | None
    test_loss: float | None
    num_test: int
    seconds: float


class Observer:
    """Listens to a run. Override what is of interest; the rest does nothing."""

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """The run is about to start, or to go on after ``resumed_epoch`` epochs."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Something before the first step takes a while: decoding, frozen features."""

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:
        """A phase starts, with these numbers of parameters."""

    def step_ended(
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        """An optimizer step was made."""

    def epoch_ended(self, row: EpochRow) -> None:
        """An epoch was trained and validated."""

    def noted(self, text: str) -> None:
        """Something that the user should know."""

    def run_ended(self, result: RunResult) -> None:
        """The run is done."""


class Observers(Observer):
    """Passes each event on to several observers, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:  # noqa: D102
        for observer in self._observers:
            observer.run_started(job, path, resumed_epoch=resumed_epoch)

    def preparing(self, what: str, done: int, total: int) -> None:  # noqa: D102
        for observer in self._observers:
            observer.preparing(what, done, total)

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:  # noqa: D102
        for observer in self._observers:
            observer.phase_started(phase, trainable=trainable, total=total, cached=cached)

    def step_ended(  # noqa: D102
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        for observer in self._observers:
            observer.step_ended(phase, epoch=epoch, step=step, num_steps=num_steps, loss=loss)

    def epoch_ended(self, row: EpochRow) -> None:  # noqa: D102
        for observer in self._observers:
            observer.epoch_ended(row)

    def noted(self, text: str) -> None:  # noqa: D102
        for observer in self._observers:
            observer.noted(text)

    def run_ended(self, result: RunResult) -> None:  # noqa: D102
        for observer in self._observers:
            observer.run_ended(result)
