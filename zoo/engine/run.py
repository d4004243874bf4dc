"""The story of a run: phase by phase, epoch by epoch, saved as it goes, resumed where it stood."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.data.batches import num_batches
from zoo.engine.allocator import give_back
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.network import place
from zoo.engine.device import Device, torch_settings
from zoo.engine.events import EpochRow, Observer, RunResult, WeightsView
from zoo.engine.features.evaluation import Evaluation
from zoo.engine.features.spare import Spare
from zoo.engine.features.views import frozen_views
from zoo.engine.feeds import ImageFeed
from zoo.engine.finish import settle_weights
from zoo.engine.interrupts import Interrupted, Interrupts, ended_by, interrupts
from zoo.engine.linear_loop import TOLD_AT_ONCE
from zoo.engine.loop import train_epoch
from zoo.engine.meters import Meter
from zoo.engine.rates import lr_factor, mean_lr
from zoo.engine.records.best import BestWeights
from zoo.engine.records.state import RunState, resume_stage
from zoo.engine.sample import SHOWN, sample_of
from zoo.engine.scores import Scores
from zoo.engine.stage import Stage, image_feed
from zoo.engine.step.update import check_weights
from zoo.engine.tuning.tune import tuned_run
from zoo.errors import ZooError
from zoo.network.fast import accelerate, restore
from zoo.protocols import ReactiveSchedule
from zoo.runs import checkpoint
from zoo.runs.candidates import keep_candidate
from zoo.runs.checkpoint import Checkpoint
from zoo.runs.folder import RunFolder
from zoo.runs.tensor_file import TensorFile

if TYPE_CHECKING:
    from zoo.engine.step.distillation import Teacher

__all__ = ["run_job"]


def run_job(
    job: Job,
    folder: RunFolder,
    *,
    device: Device,
    observer: Observer,
    resume: Checkpoint | None = None,
    force: bool = False,
    teacher: Teacher | None = None,
    spare: Spare | None = None,
) -> RunResult:
    """Trains a job to its end.

    Args:
        job: What to train.
        folder: Where it is kept; owned by the main process.
        device: Where it computes.
        observer: Listens, in the main process.
        resume: A checkpoint to go on from.
        force: Go on although the data is another.
        teacher: Whom the network learns from besides the labels.
        spare: What the run before it left, if any.

    Returns:
        How it ended.

    Raises:
        Interrupted: A signal came; the state is saved.
        NonFiniteError: The loss is not finite; the last checkpoint is kept.
        MachineError: The disk is full or not writable; earlier checkpoints are intact.
    """
    listener = observer if device.is_main else Observer()
    with interrupts() as signals, ended_by(signals, folder=folder.path):
        if job.config.tune:
            with torch_settings(job):
                job = tuned_run(
                    job, folder, device=device, observer=listener, signals=signals,
                    teach=None if teacher is None else teacher.logits,
                )  # fmt: skip
        with torch_settings(job), closing(spare or Spare()) as spare:
            try:
                return _Run(
                    job, folder, device, listener, signals, spare=spare, resume=resume,
                    force=force, teacher=teacher,
                ).to_the_end()  # fmt: skip
            finally:
                restore(job.model)  # layers that hold each other would be freed late


_SECONDS_BETWEEN_SAVES = 5.0
"""Epochs on kept features are saved as often as this and at the end of their phase: a checkpoint
takes longer to write than such an epoch to make again."""


class _OutOfTime(Exception):
    """Ends an epoch when the time that the user allows is over."""


class _Run:
    """One run in this process."""

    def __init__(
        self, job: Job, folder: RunFolder, device: Device, observer: Observer,
        signals: Interrupts, *, spare: Spare, resume: Checkpoint | None, force: bool,
        teacher: Teacher | None,
    ) -> None:  # fmt: skip
        self.job, self.folder, self.observer, self.signals = job, folder, observer, signals
        self.device, self.teach = device, None if teacher is None else teacher.logits
        self.spare = spare
        place(job.model, config=job.config, device=device.torch_device)
        self.saved: Mapping[str, Any] | None = None if resume is None else resume.state
        self.state = (
            RunState.fresh(job) if resume is None else RunState.restored(job, resume, force=force)
        )
        self.best_weights = BestWeights(job, folder)
        self.started = self.last_save = self.epoch_began = time.monotonic()
        accelerate(job.model, enabled=job.config.fast_convolutions)
        if job.config.compile:
            job.model.compile(mode=job.config.compile_mode)

    def to_the_end(self) -> RunResult:
        """Runs what is left of the phases, then tests the best weights."""
        job, position = self.job, self.state.position
        self.observer.run_started(job, self.folder.path, resumed_epoch=position.epochs_done)
        if self.state.rows:
            self.observer.resumed(tuple(self.state.rows))
        # With the frozen features of every phase kept, each image is looked at once or never.
        views = [frozen_views(job, phase) for phase in job.phases[position.phase :]]
        hold = not job.config.cache or any(number is None or number > 1 for number in views)
        images = partial(
            image_feed, job, device=self.device, progress=self.preparing, teach=self.teach,
            hold=hold, behind=job.config.cache and views[:1] != [None],
        )  # fmt: skip
        feeds = {name: images(name) for name in ("train", "val")}
        while position.phase < len(job.phases):
            self.run_phase(feeds)
            if str(position.phase) not in self.state.frozen:  # its steps took images
                give_back()
            self.saved = None
            position.phase, position.epoch, position.step = position.phase + 1, 0, 0
        return self.finish(feeds)

    def run_phase(self, feeds: Mapping[str, ImageFeed]) -> None:
        """Runs what is left of the current phase."""
        position, phase = self.state.position, self.job.phases[self.state.position.phase]
        if self.phase_is_over():
            return
        self.epoch_began = time.monotonic() - self.state.epoch_seconds
        self.state.epoch_seconds = 0.0
        self.best_weights.elsewhere()
        stage = Stage.open(
            self.job, phase, feeds, device=self.device, accumulation=self.state.accumulation,
            average=self.state.average, last_epochs=self.state.last_epochs,
            record=self.state.frozen.get(str(position.phase)), spare=self.spare,
            observer=self.observer, progress=self.preparing,
        )  # fmt: skip
        if position.phase + 1 < len(self.job.phases):  # only the finish asks for the same again
            self.spare.clear()
        if stage.record is not None:
            self.state.frozen[str(position.phase)] = stage.record
            self.last_save = time.monotonic()  # a checkpoint would hold nothing of what took long
        meter = self.new_meter()
        if self.saved is not None:
            resume_stage(stage, meter, self.saved)
        else:
            self.state.best.start_phase()
        if not position.epoch:
            self.show_sample(stage, feeds["train"])
        while not self.phase_is_over():
            row = self.run_epoch(stage, meter)
            self.epoch_began = time.monotonic()
            meter = self.new_meter()
            position.epoch, position.step = position.epoch + 1, 0
            position.epochs_done += 1
            self.state.rows.append(row)
            saved = self.is_to_be_saved(stage)
            if saved:
                self.save(stage, meter)
            self.observer.epoch_ended(row)
            self.observer.weights_shown(WeightsView(self.job.model), epoch=row.epoch)
            if self.signals.received is not None and not saved:
                self.save(stage, meter)
            self.leave_if_asked()
        if not stage.kept_still():
            raise ZooError(
                f"frozen weights changed in the phase {phase.name!r}",
                found="a bug in zoo or in the model: its forward pass writes to them",
                hint="--norm hold, or another --model",
            )

    def phase_is_over(self) -> bool:
        """Whether the current phase has had its epochs or its time, or has stopped improving."""
        state, phase = self.state, self.job.phases[self.state.position.phase]
        position = state.position
        return (
            (state.out_of_time and not position.step)  # else what was trained is to be validated
            or position.epoch >= phase.epochs
            or (position.epoch > 0 and state.best.exhausted(phase.patience))
        )

    def is_to_be_saved(self, stage: Stage) -> bool:
        """Whether the end of an epoch is saved: of every one that is long, or the last of some."""
        done = self.state.position.steps_done
        return bool(
            stage.record is None
            or (self.job.config.save_steps and not done % self.job.config.save_steps)
            or self.signals.received is not None
            or self.phase_is_over()
            or time.monotonic() - self.last_save > _SECONDS_BETWEEN_SAVES
        )

    def run_epoch(self, stage: Stage, meter: Meter) -> EpochRow:
        """Trains and validates one epoch, from the step at which it stands.

        Its time counts from where the last one ended: a phase's first pays for frozen features.
        """
        job, position = self.job, self.state.position
        num_images = len(stage.training.draws(position.epochs_done))
        num_steps = num_batches(num_images, job.config.batch_size)
        lr = mean_lr(job, position, num_steps)  # before the schedule sees how the epoch went
        stage.to_train()
        try:
            if not self.state.out_of_time:  # it is where a signal ended the last validation
                with stage.threads():
                    train_epoch(
                        stage.training, epoch=position.epochs_done, first_step=position.step,
                        meter=meter, lr_factor=partial(lr_factor, job, position),
                        step_ended=lambda *step: self.step_ended(stage, meter, *step),
                        at_once=1 if job.config.save_steps else TOLD_AT_ONCE,
                    )  # fmt: skip
        except _OutOfTime:
            self.state.out_of_time = True
            self.observer.noted(f"{job.config.max_minutes:g} minutes are over")
        trained = time.monotonic()
        train_loss, train_accuracy = meter.read(self.device.sum)
        check_weights(stage.model, stage.trained, update=stage.training.update)
        try:
            with stage.averaged():
                scores = stage.validate(job.measures, between=self.leave_if_asked)
                score = job.monitor.score(scores)
                best = self.keep_weights(stage, score)
        except Interrupted:
            self.save(stage, meter)
            raise
        if self.state.last_epochs is not None and self.is_among_the_last():
            self.state.last_epochs.update()
        schedule = job.schedules[position.phase]
        if isinstance(schedule, ReactiveSchedule) and position.epoch + 1 > stage.phase.warmup:
            schedule.observe(score)
        return EpochRow(
            phase=stage.phase.name, epoch=position.epochs_done + 1, lr=lr,
            train_loss=train_loss, train_accuracy=train_accuracy, val_loss=scores.loss,
            val_accuracy=scores.accuracy, metrics=scores.metrics, best=best,
            seconds=time.monotonic() - self.epoch_began,
            images_per_second=num_images * position.step / num_steps
            / max(trained - self.epoch_began, 1e-9),
        )  # fmt: skip

    def step_ended(
        self, stage: Stage, meter: Meter, step: int, num_steps: int, loss: float | None, more: bool
    ) -> None:
        """Takes note of a step, and after the last made saves when it is time, leaves if asked."""
        config, position = self.job.config, self.state.position
        position.step, position.steps_done = step + 1, position.steps_done + 1
        self.observer.step_ended(
            stage.phase, epoch=position.epochs_done + 1, step=step + 1, num_steps=num_steps,
            loss=loss,
        )  # fmt: skip
        self.observer.step_measured(
            steps_done=position.steps_done, loss=loss,
            lr=stage.training.update.optimizer.param_groups[0]["lr"],
        )  # fmt: skip
        if more:
            return
        if self.observer.failure is not None:
            self.save(stage, meter)
            raise self.observer.failure
        if config.max_minutes and self.device.from_main(
            lambda: self.seconds() > config.max_minutes * 60
        ):
            raise _OutOfTime
        due = 0 < config.save_every * 60 < time.monotonic() - self.last_save
        due = due or (config.save_steps > 0 and position.steps_done % config.save_steps == 0)
        if (due and step + 1 < num_steps) or self.signals.received is not None:
            self.save(stage, meter)
            self.leave_if_asked()

    def show_sample(self, stage: Stage, feed: ImageFeed) -> None:
        """Offers some training images of the phase to whoever wants to see them."""
        epoch = self.state.position.epochs_done
        sample = partial(
            sample_of, feed, stage.training.draws(epoch)[:SHOWN],
            classes=self.job.data.classes, epoch=epoch if stage.training.augment else None,
            repeats=self.job.config.repeats,
        )  # fmt: skip
        self.observer.sampled(stage.phase, sample, epoch=epoch + 1)

    def keep_weights(self, stage: Stage, score: float) -> bool:
        """Keeps the weights if they are among the best, and returns whether they are the best."""
        job, state, epoch = self.job, self.state, self.state.position.epochs_done + 1
        best = state.best.observe(score, epoch=epoch)
        if best and self.device.is_main:
            if stage.record is None:
                self.best_weights.write_now(epoch=epoch)
            else:  # written with the state that they belong to; until then the next step moves on
                self.best_weights.keep(epoch=epoch, moving=stage.trained)
        if job.config.soup:
            state.candidates = self.device.from_main(
                lambda: keep_candidate(
                    self.folder.path / "candidates", state.candidates, epoch=epoch, score=score,
                    weights=job.model.state_dict(), most=job.config.soup,
                )
            )  # fmt: skip
        return best

    def is_among_the_last(self) -> bool:
        """Whether the current epoch's weights are to be in the plain average."""
        return self.state.position.epochs_left(self.job.phases) <= self.job.config.swa

    def save(self, stage: Stage, meter: Meter) -> None:
        """Writes the best weights, a checkpoint and the table so far, unless weights are NaN."""
        check_weights(stage.model, stage.trained, update=stage.training.update)
        self.last_save = time.monotonic()
        if not self.device.is_main:
            return
        position, live = self.state.position, TensorFile.of(self.job.model.state_dict())
        averaged = self.state.average is not None
        self.best_weights.write(
            live, epoch=0 if position.step or averaged else position.epochs_done
        )
        checkpoint.save(
            self.folder.checkpoints, step=position.steps_done, model=live,
            state=self.state.to_save(
                self.job, stage, meter, seconds=self.seconds(),
                epoch_seconds=time.monotonic() - self.epoch_began,
            ),
        )  # fmt: skip
        self.folder.write_rows(row.as_dict() for row in self.state.rows)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Passes progress on, and leaves if a signal came: no step is lost."""
        self.observer.preparing(what, done, total)
        self.leave_if_asked()

    def leave_if_asked(self) -> None:
        """Raises Interrupted if a signal came; what was done has been saved."""
        if self.signals.received is not None:
            raise Interrupted(
                self.signals.received, folder=self.folder.path,
                steps_done=self.state.position.steps_done,
            )  # fmt: skip

    def new_meter(self) -> Meter:
        """Returns a meter for an epoch."""
        return Meter(self.device.torch_device, multi_label=self.job.data.multi_label)

    def finish(self, feeds: Mapping[str, ImageFeed]) -> RunResult:
        """Tries the averages that were asked for, tests the best weights, writes the summary."""
        job, best = self.job, self.state.best
        evaluation = Evaluation(
            job, self.state.frozen, feeds, device=self.device, observer=self.observer,
            progress=self.preparing, spare=self.spare, between=self.leave_if_asked,
        )  # fmt: skip
        average = settle_weights(
            job, self.state, self.folder, feeds, device=self.device, evaluation=evaluation,
            observer=self.observer, best_weights=self.best_weights,
        )  # fmt: skip
        tested: Scores | None = None
        if "test" in job.data.splits:
            tested = evaluation.scores("test", measures=job.measures)
        result = RunResult(
            path=self.folder.path, rows=tuple(self.state.rows), best_epoch=best.epoch,
            best_score=job.monitor.value(best.score), monitor=job.monitor.name,
            greater_is_better=job.monitor.greater_is_better,
            test_accuracy=None if tested is None else tested.accuracy,
            test_loss=None if tested is None else tested.loss,
            test_metrics={} if tested is None else tested.metrics, average=average,
            seconds=self.seconds(),
            num_test=len(job.data.splits["test"].images) if "test" in job.data.splits else 0,
        )  # fmt: skip
        if self.device.is_main:
            # Again: a kill between the last checkpoint and the table leaves the table a row short.
            self.folder.write_rows(row.as_dict() for row in self.state.rows)
            self.folder.write_json("summary.json", result.summary())
        self.observer.run_ended(result)
        return result

    def seconds(self) -> float:
        """Wall time of the run over all its processes."""
        return self.state.seconds + time.monotonic() - self.started
