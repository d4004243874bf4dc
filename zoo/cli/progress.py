"""How a run looks: a progress bar and a table row an epoch on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.console import be_unheard, echo, showable
from zoo.engine.events import EpochRow, Observer, RunResult
from zoo.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase

__all__ = ["LogFile", "RunDisplay", "summary_lines"]


def _header(job: Job) -> str:
    return (
        f"{'phase':<9} {'epoch':>7} {'lr':>9} {'train loss':>11} {'train acc':>10} "
        f"{'val loss':>9} {'val acc':>8} "
        + "".join(f"{f'val {m.label}':>{_width(m.label)}} " for m in job.measures)
        + f"{'seconds':>8} {'images/s':>9}"
    )


def _width(label: str) -> int:
    """Returns the width of a metric's column."""
    return max(8, len(f"val {label}"))


def summary_lines(job: Job) -> list[str]:
    """Returns what is going to be trained, before it is: parts, data, plan, and why."""
    config, data = job.config, job.data
    sizes = ", ".join(f"{len(split.images):,} {name}" for name, split in data.splits.items())
    model = job.choices.model.entry
    size = job.preprocessing.image_size
    num_parameters = sum(p.numel() for p in job.model.parameters())
    plan = ", then ".join(f"{p.name} {p.epochs} epoch{'s'[: p.epochs > 1]}" for p in job.phases)
    lines = [
        f"model      {model.id} ({model.origin}), {num_parameters:,} parameters",
        *([_head_line(job)] if job.choices.head is not None else []),
        f"weights    {job.taken.reason}",
        *([f"           {job.loaded.summary}"] if job.loaded else []),
        f"data       {printable(data.name)}: {len(data.classes)} classes, {sizes}",
        f"input      {size}x{size} pixels, {job.preprocessing.fit}, "
        f"{job.preprocessing.interpolation}, augmentation {config.aug}",
        f"training   {job.choices.loss.spec}, {job.choices.optimizer.entry.id} "
        f"(lr {config.lr:g}, backbone {_product(config.lr, config.backbone_lr)}), "
        f"{job.choices.scheduler.spec}, batch {config.batch_size}",
        *([f"           {extras}"] if (extras := ", ".join(_extras(job))) else []),
        f"plan       {plan}",
    ]  # fmt: skip
    if config.balance != "none":
        lines.append(f"balance    {config.balance}: {_class_weights(job)}")
    if (
        config.phases is None
        and not config.freeze_epochs
        and job.taken.kind == "random"
        and config.norm == "train"
    ):
        lines.append("           nothing is frozen: a random backbone gains nothing from it; "
                     "--freeze-epochs N does it all the same")  # fmt: skip
    return lines + [f"note       {printable(note)}" for note in job.notes]


def _head_line(job: Job) -> str:
    """Returns what stands in the place of the network's own head."""
    choice, (name,) = job.choices.head, job.head
    assert choice is not None
    num_parameters = sum(p.numel() for p in job.model.get_submodule(name).parameters())
    return (
        f"head       {choice.spec} ({choice.entry.origin}), {num_parameters:,} of them, "
        f"in the place of {name}"
    )


def _extras(job: Job) -> list[str]:
    """Returns what was asked for besides the usual parts."""
    config = job.config
    named = (
        ("ema", config.ema), ("swa", config.swa), ("soup", config.soup), ("sam", config.sam),
        ("l1", config.l1), ("l2", config.l2), ("dropout", config.dropout),
        ("drop-path", config.drop_path), ("clip-norm", config.clip_norm),
        ("clip-value", config.clip_value), ("clip-agc", config.clip_agc),
        ("repeats", config.repeats - 1 and config.repeats),
    )  # fmt: skip
    listed = [f"{name} {value:g}" for name, value in named if value]
    if config.distill is not None:
        listed.append(f"teacher {printable(config.distill)} ({config.distill_weight:g})")
    return listed


def _class_weights(job: Job) -> str:
    """Returns each class with its training images and how much one of them counts."""
    labels_N = job.data.splits["train"].labels_N
    counts = Counter(labels_N.tolist())
    shown = [
        f"{printable(name)} {counts[index]:,} x "
        f"{len(labels_N) / (len(counts) * max(1, counts[index])):.3g}"
        for index, name in enumerate(job.data.classes)
    ]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")


def _product(lr: float | None, share: float | None) -> str:
    return f"{(lr or 0) * (share or 0):.3g}"


def _row_text(row: EpochRow, total: int) -> str:
    return (
        f"{row.phase:<9} {f'{row.epoch}/{total}':>7} {row.lr:>9.3g} {row.train_loss:>11.4f} "
        f"{row.train_accuracy:>10.1%} {row.val_loss:>9.4f} {row.val_accuracy:>8.1%} "
        + "".join(f"{value:>{_width(label)}.4f} " for label, value in row.metrics.items())
        + f"{row.seconds:>8.1f} {row.images_per_second:>9,.0f}{' *' if row.best else ''}"
    )


class RunDisplay(Observer):
    """Shows a run on the terminal, or line by line where output goes elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        self._console = Console(highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._total_epochs = 0
        self._reader_left = False
        self._columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True), TextColumn("{task.fields[note]}"),
        )  # fmt: skip

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Prints what is going to be trained."""
        for line in summary_lines(job):
            self._print(line)
        self._print(
            f"run        {printable(path)}"
            + (f", goes on after epoch {resumed_epoch}" if resumed_epoch else "")
        )
        self._print("")
        self._total_epochs = sum(phase.epochs for phase in job.phases)
        if self._live:
            self._console.print(showable(_header(job)), style="bold", markup=False)
        else:
            self._print(_header(job))

    def preparing(self, what: str, done: int, total: int) -> None:
        """Moves the bar."""
        self._move(what, done, total, "")

    def step_ended(
        self, phase: Phase, *, epoch: int, step: int, num_steps: int, loss: float | None
    ) -> None:
        """Moves the bar."""
        note = "" if loss is None else f"loss {loss:.4f}"
        self._move(f"{phase.name} {epoch}/{self._total_epochs}", step, num_steps, note)

    def epoch_ended(self, row: EpochRow) -> None:
        """Prints a row of the table."""
        self._clear()
        self._print(_row_text(row, self._total_epochs))

    def noted(self, text: str) -> None:
        """Prints a note."""
        self._print(f"note       {printable(text)}")

    def run_ended(self, result: RunResult) -> None:
        """Prints how it ended."""
        self._clear()
        self._print("")
        best = (
            f"{result.best_score:.1%}"
            if result.monitor.endswith("accuracy")
            else f"{result.best_score:.4f}"
        )
        what = result.average or f"epoch {result.best_epoch}"
        self._print(f"best       {what}, {result.monitor} {best}")
        if result.test_accuracy is not None:
            self._print(
                f"test       accuracy {result.test_accuracy:.1%} "
                f"on {result.num_test:,} images it has never seen"
            )
        if result.test_metrics:
            told = ", ".join(f"{name} {value:.4f}" for name, value in result.test_metrics.items())
            self._print(f"           {told}")
        self._print(f"time       {result.seconds:.0f} s")
        self._print(f"kept       {printable(result.path)}/best/model.safetensors")

    def close(self) -> None:
        """Takes the bar off the terminal, however the run ended."""
        self._clear()

    def _print(self, text: str) -> None:
        if self._reader_left:
            return
        try:
            if self._live:
                self._console.print(showable(text), markup=False)
            else:
                echo(text)
        except BrokenPipeError:  # zoo run | head: the training goes on, log.txt has it all
            self._reader_left = True
            be_unheard()

    def _move(self, what: str, done: int, total: int, note: str) -> None:
        if not self._live:
            return
        from rich.progress import Progress

        if self._progress is None:
            self._progress = Progress(*self._columns, console=self._console, transient=True)
            self._progress.start()
            self._task = None
        if self._task is None:
            self._task = self._progress.add_task(what, total=total, note=note)
        self._progress.update(self._task, description=what, completed=done, total=total, note=note)

    def _clear(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class LogFile(Observer):
    """Writes log.txt in the run folder: what the terminal shows, each line with its time."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._total_epochs = 0

    def run_started(self, job: Job, path: Path, *, resumed_epoch: int) -> None:
        """Opens the log."""
        self._path = path / "log.txt"
        self._total_epochs = sum(phase.epochs for phase in job.phases)
        self._write("resumed" if resumed_epoch else "started", *summary_lines(job), _header(job))

    def phase_started(self, phase: Phase, *, trainable: int, total: int, cached: bool) -> None:
        """Logs what trains in a phase."""
        how = ", frozen features computed once" if cached else ""
        self._write(f"phase {phase.name}: {trainable:,} of {total:,} parameters train{how}")

    def epoch_ended(self, row: EpochRow) -> None:
        """Logs a row."""
        self._write(_row_text(row, self._total_epochs))

    def noted(self, text: str) -> None:
        """Logs a note."""
        self._write(f"note: {printable(text)}")

    def run_ended(self, result: RunResult) -> None:
        """Logs how it ended."""
        what = result.average or f"epoch {result.best_epoch}"
        self._write(f"done: best {what}, test accuracy {result.test_accuracy}, "
                    f"{result.seconds:.1f} s")  # fmt: skip

    def _write(self, *lines: str) -> None:
        if self._path is None:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(f"{stamp}  {line}\n" for line in lines)
        except OSError as error:  # a full disk must not end a run for its log
            click.echo(f"log.txt cannot be written: {error.strerror}", err=True)
            self._path = None
