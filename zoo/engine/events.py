"""What a run tells while it runs. Observers listen; none of them can change the run.

An event's arguments never change: what is new comes as a new event, so an old observer stays one.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.runs.plain_files import without_nan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase
    from zoo.errors import PluginError

__all__ = ["EVENTS", "EpochRow", "Observer", "Observers", "RunResult", "Sample", "WeightsView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One line of the table and of metrics.jsonl.

    Args:
        phase: Name of the phase.
        epoch: 1 for the first epoch of the run.
        lr: The head's learning rate, mean over the epoch's steps.
        train_loss: Mean over the epoch's samples while training, by their weights.
        train_accuracy: Share of the epoch's samples that were right while training, 0..1.
        val_loss: Mean over the validation split.
        val_accuracy: Share of the validation split that is right, 0..1.
        seconds: Wall time of training and validation; for a phase's first epoch also of
            computing the frozen features.
        images_per_second: Training images over that time without validation. Both times go on
            where an epoch that was interrupted had stopped.
        best: Whether it is the best epoch so far.
        metrics: What else was asked for, of the validation split, by label: ``{"f1": 0.9}``; NaN
            where a metric is not defined.
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
    metrics: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as plain data, each metric as ``val_LABEL``; None where not finite."""
        table: dict[str, Any] = {}
        for name in (f.name for f in fields(self) if f.name != "metrics"):
            table[name] = without_nan(getattr(self, name))
            if name == "val_accuracy":
                table |= _flat(self.metrics, "val_")
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> EpochRow:
        """Returns the row that :meth:`as_dict` turned into this, NaN where that has None."""
        own, metrics = _parted(table, [f.name for f in fields(cls)], "val_")
        own = {name: math.nan if value is None else value for name, value in own.items()}
        return cls(**own, metrics=metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Args:
        path: The run folder.
        rows: One row an epoch.
        best_epoch: From 1. Its weights are in best/, unless ``average`` names others.
        best_score: The monitored metric of the weights in best/, as it is (not negated).
        monitor: Name of the monitored metric.
        test_accuracy: Of the final weights on the test split, 0..1; None without one.
        test_loss: Likewise.
        num_test: Images in the test split.
        seconds: Wall time of the whole run, over all its resumes.
        greater_is_better: Direction of the monitored metric.
        test_metrics: What else was asked for, of the final weights on the test split, by label.
        average: Which average of epochs was better than any epoch; empty where none was.
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
    greater_is_better: bool = True
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    average: str = ""

    def summary(self) -> dict[str, Any]:
        """Returns what summary.json has: no rows, each metric as ``test_LABEL``."""
        apart = ("path", "rows", "test_metrics")
        own = {
            f.name: without_nan(getattr(self, f.name)) for f in fields(self) if f.name not in apart
        }
        return {**own, **_flat(self.test_metrics, "test_")}

    @classmethod
    def from_summary(
        cls, table: Mapping[str, Any], *, path: Path, rows: Sequence[EpochRow]
    ) -> RunResult:
        """Returns the result that :meth:`summary` turned into this."""
        names = [f.name for f in fields(cls) if f.name != "test_metrics"]
        own, metrics = _parted(table, names, "test_")
        if own["best_score"] is None:
            own["best_score"] = math.nan
        if own["test_loss"] is None and own["num_test"]:
            own["test_loss"] = math.nan
        return cls(**own, path=path, rows=rows, test_metrics=metrics)


def _flat(metrics: Mapping[str, float], prefix: str) -> dict[str, float | None]:
    """Returns metrics for a file."""
    return {f"{prefix}{label}": without_nan(value) for label, value in metrics.items()}


def _parted(
    table: Mapping[str, Any], names: Sequence[str], prefix: str
) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns (fields, metrics): what has the prefix and is no field is a metric."""
    own = {k: v for k, v in table.items() if k in names or not k.startswith(prefix)}
    metrics = {k.removeprefix(prefix): v for k, v in table.items() if k not in own}
    return own, {label: math.nan if v is None else float(v) for label, v in metrics.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some training images as the network sees them in a phase, augmentation included.

    Args:
        images_BCHW: Float32 in 0..1 on the CPU: the normalisation is taken back.
        labels: The class name of each.
    """

    images_BCHW: Tensor
    labels: tuple[str, ...]


class WeightsView:
    """A network's weights and gradients, to look at. Every tensor is a copy on the CPU.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields name and value of each parameter, float32."""
        for name, parameter in self._model.named_parameters():
            yield name, _copied(parameter)

    def gradients(self) -> Iterator[tuple[str, Tensor]]:
        """Yields name and last gradient of each parameter that has one, float32."""
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                yield name, _copied(parameter.grad)


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().float().clone()


class Observer:
    """Listens to a run. Override what is of interest; the rest does nothing."""

    @property
    def failure(self) -> PluginError | None:
        """Why the run has to stop as soon as its state is saved; None lets it go on."""
        return None

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """The run is about to start, or to go on after ``resumed_epoch`` epochs."""

    def resumed(self, rows: Sequence[EpochRow]) -> None:
        """The run goes on after these epochs. Told right after ``run_started``.

        The last may be news: a run can be killed between saving an epoch and telling it.
        """

    def preparing(self, what: str, done: int, total: int) -> None:
        """Something before the first step takes a while: decoding, frozen features."""

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:
        """A phase starts, with these numbers of parameters."""

    def sampled(self, phase: Phase, sample: Callable[[], Sample], *, epoch: int) -> None:
        """Some training images of a phase can be seen: ``sample()`` decodes and augments them.

        Told after ``phase_started``. ``epoch`` is the one that begins, or that a resume goes on
        with, from 1.
        """

    def step_ended(
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        """An optimizer step was made.

        Those of a linear head on kept features may be made some at a time, and told one by one
        after the last of them, whose weights the network has by then.
        """

    def step_measured(self, *, steps_done: int, lr: float, loss: float | None) -> None:
        """The step that just ended, in numbers for whoever plots them.

        They are the steps of the whole run so far, the head's learning rate in this one, and its
        loss if it was looked at.
        """

    def epoch_ended(self, row: EpochRow) -> None:
        """An epoch was trained and validated.

        The state is saved before, but for short epochs on kept features: a run that is killed then
        makes the last seconds of them again, to the same bits, and tells of them again.
        """

    def weights_shown(self, weights: WeightsView, *, epoch: int) -> None:
        """The weights after an epoch and the last step's gradients. Told after ``epoch_ended``."""

    def noted(self, text: str) -> None:
        """Something that the user should know."""

    def run_ended(self, result: RunResult) -> None:
        """The run is done."""

    def closed(self, error: BaseException | None) -> None:
        """Nothing more will be told: the run is done, or ``error`` stopped it."""


EVENTS: tuple[str, ...] = tuple(
    name for name, value in vars(Observer).items() if callable(value) and not name.startswith("_")
)
"""Names of all events."""


class Observers(Observer):
    """Passes each event on to several observers, in order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        for event in EVENTS:
            listening = [getattr(one, event) for one in observers if _listens(one, event)]
            if listening:  # an event that nobody listens to stays the method that does nothing
                setattr(self, event, _tell_all(listening))

    @property
    def failure(self) -> PluginError | None:
        """The first observer's reason to stop."""
        return next((one.failure for one in self._observers if one.failure is not None), None)


def _listens(observer: Observer, event: str) -> bool:
    """Whether an observer does anything on an event."""
    method = getattr(observer, event)
    return getattr(method, "__func__", method) is not getattr(Observer, event)


def _tell_all(methods: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def tell(*args: object, **facts: object) -> None:
        for method in methods:
            method(*args, **facts)

    return tell
