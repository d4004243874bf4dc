"""Where a run stands: what a checkpoint holds besides the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.data.reading.scan import listed
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.phases import Phase
from zoo.engine.events import EpochRow
from zoo.engine.features.frozen import FrozenRecord
from zoo.engine.meters import Meter
from zoo.engine.stage import Stage, load_optimizer_state
from zoo.engine.step.averaging import WeightAverage
from zoo.engine.stopping import Best
from zoo.engine.training import Accumulation
from zoo.errors import CheckpointError, DataError, in_words, printable
from zoo.network.loading import restore
from zoo.protocols import ReactiveSchedule
from zoo.runs.candidates import Candidate
from zoo.runs.checkpoint import Checkpoint

__all__ = ["Position", "RunState", "resume_stage"]


@dataclass(slots=True)
class Position:
    """Where the run stands.

    Args:
        phase: Index of the phase.
        epoch: Epochs of this phase that are done.
        step: Steps of the current epoch that are done.
        epochs_done: Epochs of the run that are done; with early stopping fewer than planned.
        steps_done: Steps of the whole run that are done.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    epochs_done: int = 0
    steps_done: int = 0

    def epochs_left(self, phases: Sequence[Phase]) -> int:
        """Returns how many epochs can still come, the current one among them."""
        later = sum(phase.epochs for phase in phases[self.phase + 1 :])
        return phases[self.phase].epochs - self.epoch + later


@dataclass(slots=True)
class RunState:
    """All of a run's state but the weights, the optimizer and the meter, which the stage has.

    Args:
        best: The best epoch so far.
        accumulation: In how many parts a batch is computed.
        average: The moving average of the weights; None without one.
        last_epochs: The plain average of the last epochs' weights (SWA); None without one.
        position: Where the run stands.
        rows: One row an epoch that is done.
        candidates: The best epochs, whose weights are kept for a soup.
        frozen: What computed the features of each frozen phase, by its index.
        seconds: Wall time before this process.
        epoch_seconds: That of the current epoch before this process.
        out_of_time: Whether the time that the user allows is over.
    """

    best: Best
    accumulation: Accumulation
    average: WeightAverage | None
    last_epochs: WeightAverage | None
    position: Position = field(default_factory=Position)
    rows: list[EpochRow] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    frozen: dict[str, FrozenRecord] = field(default_factory=dict)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    out_of_time: bool = False

    @classmethod
    def fresh(cls, job: Job) -> RunState:
        """Returns the state before the first step."""
        config = job.config
        return cls(
            Best(min_delta=config.min_delta),
            Accumulation(config.accumulate),
            WeightAverage.ema(config.ema) if config.ema else None,
            WeightAverage.swa() if config.swa else None,
        )

    def to_save(
        self, job: Job, stage: Stage, meter: Meter, *, seconds: float, epoch_seconds: float
    ) -> dict[str, Any]:
        """Returns the nested state for a checkpoint."""
        scaler = stage.training.device.accelerator.scaler
        position = self.position
        return {
            "position": {name: getattr(position, name) for name in Position.__slots__},
            "best": self.best.state_dict(),
            "rows": [row.as_dict() for row in self.rows],
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "frozen": {phase: asdict(record) for phase, record in self.frozen.items()},
            "seconds": seconds,
            "epoch_seconds": epoch_seconds,
            "out_of_time": self.out_of_time,
            "num_parts": self.accumulation.num_parts,
            "average": self.average.state_dict() if self.average else None,
            "last_epochs": self.last_epochs.state_dict() if self.last_epochs else None,
            "optimizer": stage.training.update.optimizer.state_dict(),
            "schedules": [  # of every phase: one that spans the run may pause for a phase
                schedule.state_dict() if isinstance(schedule, ReactiveSchedule) else None
                for schedule in job.schedules
            ],
            "scaler": scaler.state_dict() if scaler is not None else None,
            "meter": meter.state_dict(),
            "classes": list(job.data.classes),
            "fingerprint": job.data.fingerprint,
        }

    @classmethod
    def restored(cls, job: Job, checkpoint: Checkpoint, *, force: bool = False) -> RunState:
        """Returns the state that a checkpoint holds.

        Args:
            job: What is trained.
            checkpoint: Of the same job.
            force: Take it although images, labels or split are others. Classes must be the same.

        Raises:
            DataError: The data is not what the run was trained on.
            CheckpointError: The weights do not fit the network.
        """
        saved = checkpoint.state
        if saved["classes"] != list(job.data.classes):
            gone = sorted(set(saved["classes"]) - set(job.data.classes))
            new = sorted(set(job.data.classes) - set(saved["classes"]))
            changes = [
                f"{word}: {listed(names)}"
                for word, names in (("gone", gone), ("new", new))
                if names
            ]
            raise DataError(
                f"{printable(job.data.name)} has other classes than the run was trained on",
                found=", ".join(changes) or "another order",
            )
        if saved["fingerprint"] != job.data.fingerprint and not force:
            raise DataError(
                f"{printable(job.data.name)} is not the data that the run was trained on",
                found="images, labels or split have changed since",
                hint="put the data back, start a new run, or zoo resume RUN --force",
            )
        state = cls.fresh(job)
        state.best.load_state_dict(saved["best"])
        state.position = Position(**saved["position"])
        state.rows = [EpochRow.from_dict(row) for row in saved["rows"]]
        state.candidates = [Candidate(**candidate) for candidate in saved["candidates"]]
        state.frozen = {
            phase: FrozenRecord.from_dict(record)
            for phase, record in saved.get("frozen", {}).items()
        }
        state.seconds, state.out_of_time = saved["seconds"], saved["out_of_time"]
        state.epoch_seconds = saved.get("epoch_seconds", 0.0)
        state.accumulation.num_parts = saved["num_parts"]
        schedules = saved.get("schedules") or [None] * len(job.schedules)
        if "schedule" in saved:  # of an earlier zoo: the current phase's alone
            schedules[state.position.phase] = saved["schedule"]
        for schedule, was in zip(job.schedules, schedules, strict=False):
            if isinstance(schedule, ReactiveSchedule) and was is not None:
                schedule.load_state_dict(was)
        try:
            restore(job.model, checkpoint.model)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint {printable(checkpoint.path)} is of another network "
                f"than {job.config.model}",
                found=in_words(error, kind=False),
            ) from None
        for average, was in (
            (state.average, saved["average"]), (state.last_epochs, saved["last_epochs"])
        ):  # fmt: skip
            if average is not None and was is not None:
                average.load_state_dict(was, job.model)
        return state


def resume_stage(stage: Stage, meter: Meter, saved: Mapping[str, Any]) -> None:
    """Puts the saved optimizer, scaler and meter back into a stage of the same phase."""
    load_optimizer_state(stage.training.update.optimizer, saved["optimizer"])
    scaler = stage.training.device.accelerator.scaler
    if scaler is not None and saved["scaler"] is not None:
        scaler.load_state_dict(saved["scaler"])
    meter.load_state_dict(saved["meter"])
