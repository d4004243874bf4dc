"""What a run is at, told to another process: one byte for each change, the moment it happens.

    observer events and file operations -> one of six stages -> a pipe -> whoever kills at random

The files are watched by an audit hook: it sees a save begin and end without a word from the code
that saves.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engine.events import EpochRow, Observer, RunResult

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase

__all__ = ["Stage", "StageMarks"]


class Stage(enum.Enum):
    """What a run is at. The value is the byte that says so."""

    START_UP = b"u"
    STEP = b"t"
    VALIDATION = b"v"
    SAVE = b"s"
    UNFREEZE = b"p"
    END = b"e"

    @property
    def label(self) -> str:
        """The name as tables show it."""
        return self.name.lower().replace("_", "-")


class StageMarks(Observer):
    """Writes a byte to a file descriptor whenever the run comes to another stage, or to a step.

    Args:
        channel: The descriptor. Nothing else may be written to it.
    """

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._stage = Stage.START_UP
        self._last_epochs: tuple[int, ...] = ()

    def watch_files(self) -> None:
        """Tells saves by the files of this process. The hook stays until the process ends."""
        sys.addaudithook(file_hook(self.saving, self.saved))

    def saving(self) -> None:
        """A temporary file or folder was opened. At the start and the end that is no checkpoint."""
        if self._stage not in (Stage.START_UP, Stage.SAVE, Stage.END):
            self._tell(Stage.SAVE)

    def saved(self) -> None:
        """The table of epochs is in place, which is the last file of a save."""
        if self._stage is Stage.SAVE:
            self._tell(Stage.STEP)

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Notes after which epochs a phase ends."""
        ends, total = [], 0
        for phase in job.phases:
            total += phase.epochs
            ends.append(total)
        self._last_epochs = tuple(ends)

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:
        """The start-up is over. Between two phases the first step of the new one counts along."""
        if self._stage is Stage.START_UP:
            self._tell(Stage.STEP)

    def step_ended(
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        """Another step begins, or validation."""
        self._tell(Stage.STEP if step < num_steps else Stage.VALIDATION)

    def epoch_ended(self, row: EpochRow) -> None:
        """Another epoch begins, another phase, or the end."""
        if row.epoch == self._last_epochs[-1]:
            self._tell(Stage.END)
        elif row.epoch in self._last_epochs:
            self._tell(Stage.UNFREEZE)
        else:
            self._tell(Stage.STEP)

    def run_ended(self, result: RunResult) -> None:
        """Only the process's own end is left, also when a phase stopped early."""
        self._tell(Stage.END)

    def _tell(self, stage: Stage) -> None:
        self._stage = stage
        os.write(self._channel, stage.value)


def file_hook(
    saving: Callable[[], None], saved: Callable[[], None]
) -> Callable[[str, tuple[object, ...]], None]:
    """Returns an audit hook that calls ``saving`` at a temporary file, ``saved`` at the last."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in ("open", "os.mkdir"):
            if _name(args[0]).startswith(".tmp-"):
                saving()
        elif event == "os.rename" and _name(args[1]) == "metrics.jsonl":
            saved()

    return hook


def _name(path: object) -> str:
    """Returns the last part of a path that an audit event carries; they come in every type."""
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        return os.path.basename(text) if isinstance(text, str) else ""
    return ""
