"""TensorBoard: event files in the run folder, written by torch's own SummaryWriter.

tensorboard/        by epoch: metrics, images, text, histograms, hyperparameters
tensorboard/steps/  by step of the run: loss and learning rate

The two are apart because a resumed run takes back what comes after a point of *its* axis.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from zoo_callbacks.quiet import quietly
from zoo_callbacks.scalars import final_scalars, scalars
from zoo_callbacks.told import Job, Phase, Result, Row, Sample, WeightsView

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TensorBoard", "written_steps"]

_COMPARED = "val/loss", "val/accuracy"
"""The metrics that the table of hyperparameters shows."""


def written_steps(folder: Path) -> dict[str, set[int]]:
    """Returns where on the axis each metric and image of a folder's event files stands."""
    from tensorboard.backend.event_processing.event_accumulator import (
        IMAGES,
        SCALARS,
        EventAccumulator,
    )

    with quietly("tensorboard", level=logging.ERROR):  # it warns of what a resume took back
        events = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    readers = ((SCALARS, events.Scalars), (IMAGES, events.Images))
    return {
        name: {event.step for event in read(name)}
        for kind, read in readers
        for name in events.Tags()[kind]
    }


class TensorBoard:
    """Writes event files as a run goes.

    Args:
        run_path: A fact of the run: its folder.
        histograms: Whether weights and gradients are drawn after each epoch.
        images: Whether training images are shown once a phase.
        every: Steps between points of loss and learning rate; 0 for none.
        essential: Read by the engine: whether the run stops when this fails.
    """

    def __init__(
        self,
        *,
        run_path: Path,
        histograms: bool = False,
        images: bool = True,
        every: int = 10,
        essential: bool = False,
    ) -> None:
        self._folder = run_path / "tensorboard"
        self._histograms, self._images, self._every = histograms, images, every
        self._epochs: SummaryWriter | None = None
        self._steps: SummaryWriter | None = None
        self._last_step = 0
        self._written: Mapping[str, set[int]] = {}

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Opens the files. What an earlier process wrote about later epochs is taken back."""
        self._epochs = SummaryWriter(self._folder, purge_step=resumed_epoch + 1)
        options = _plain(job.config.as_mapping())
        experiment, start, self._end = hparams(options, dict.fromkeys(_COMPARED, 0.0))  # type: ignore[no-untyped-call]  # torch has no types there
        _write_summaries(self._epochs, experiment, start)
        self._epochs.flush()

    def resumed(self, rows: Sequence[Row]) -> None:
        """Adds epochs that were trained and saved, but not written before a kill."""
        self._written = written_steps(self._folder)
        for row in rows:
            self.epoch_ended(row)

    def sampled(self, phase: Phase, sample: Callable[[], Sample], *, epoch: int) -> None:
        """Shows training images of a phase, once, and their classes in reading order."""
        name = f"images/{phase.name}"
        if not self._images or self._written.get(name):  # empty: a resume took them back
            return
        shown = sample()
        self._writer.add_images(name, shown.images_BCHW, epoch)
        self._writer.add_text(f"classes/{phase.name}", ", ".join(shown.labels), epoch)

    def step_measured(self, *, steps_done: int, lr: float, loss: float | None) -> None:
        """Adds a point within the epoch, if one is due and the loss was looked at."""
        if not self._every or loss is None or steps_done < self._last_step + self._every:
            return
        if self._steps is None:
            self._steps = SummaryWriter(self._folder / "steps", purge_step=steps_done)
        self._last_step = steps_done
        self._steps.add_scalar("train/loss", loss, steps_done)
        self._steps.add_scalar("lr", lr, steps_done)

    def epoch_ended(self, row: Row) -> None:
        """Adds an epoch's metrics."""
        self._add(scalars(row.as_dict()), row.epoch)
        self._flush()

    def weights_shown(self, weights: WeightsView, *, epoch: int) -> None:
        """Draws the distribution of each parameter and of its gradient."""
        if not self._histograms:
            return
        for kind, tensors in (("weights", weights.weights()), ("gradients", weights.gradients())):
            for name, tensor in tensors:
                self._histogram(f"{kind}/{name}", tensor, epoch)
        self._flush()

    def run_ended(self, result: Result) -> None:
        """Adds the test metrics at the epoch whose weights they are of."""
        self._add(final_scalars(result), result.best_epoch)
        _write_summaries(self._writer, self._end)

    def closed(self, error: BaseException | None) -> None:
        """Closes the files."""
        for writer in (self._epochs, self._steps):
            if writer is not None:
                writer.close()

    @property
    def _writer(self) -> SummaryWriter:
        assert self._epochs is not None  # a run starts before anything else is told
        return self._epochs

    def _add(self, metrics: Mapping[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            if epoch not in self._written.get(name, ()):
                self._writer.add_scalar(name, value, epoch)

    def _histogram(self, name: str, tensor: Tensor, epoch: int) -> None:
        finite = tensor[tensor.isfinite()]  # the writer refuses any other value
        if finite.numel():
            self._writer.add_histogram(name, finite, epoch)

    def _flush(self) -> None:
        for writer in (self._epochs, self._steps):
            if writer is not None:
                writer.flush()


def _write_summaries(writer: SummaryWriter, *summaries: object) -> None:
    for summary in summaries:
        writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # typed as None


def _plain(options: Mapping[str, object]) -> dict[str, int | float | str]:
    """Returns options as TensorBoard takes hyperparameters: what is no number becomes text."""

    def plain(value: object) -> int | float | str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        return str(value)

    return {name: plain(value) for name, value in options.items()}
