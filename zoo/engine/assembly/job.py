"""Assembly: from a configuration to a job, all found, built and checked before the first batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from zoo.config.compatibility import MOST_LOOKS, check_combination, check_data
from zoo.config.defaults import default_image_size, settle
from zoo.data.pixels.decoded import cache_folder
from zoo.data.pixels.store import Store
from zoo.data.statistics import channel_statistics
from zoo.engine.assembly.choices import Choices, choose, offered_weights, preprocessing_of
from zoo.engine.assembly.groups import optimizer_of
from zoo.engine.assembly.heads import recorded_head
from zoo.engine.assembly.measures import build_measures, monitor_of
from zoo.engine.assembly.network import takes_one_image
from zoo.engine.assembly.phases import Phase, plan_of
from zoo.engine.assembly.reading import read_data, workers_of
from zoo.engine.assembly.sources import Sources
from zoo.engine.feeds import total_weight
from zoo.engine.scores import Measure, Monitor
from zoo.engine.step.distillation import class_columns
from zoo.engine.step.memory import is_out_of_memory
from zoo.errors import PluginError, UsageError, ZooError, in_words, printable
from zoo.network.weights import Chosen, LoadReport, resolve
from zoo.protocols import (
    DataSet,
    Fit,
    Interpolation,
    MixTransform,
    PixelImages,
    Preprocessing,
    ReactiveSchedule,
)
from zoo.registry import Choice, Registry, build, parse_choice, parse_choices
from zoo.registry.loading import blamed, build_as, failure, parameters_of
from zoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.config import RunConfig
    from zoo.protocols import BatchTransform, Loss, Schedule

__all__ = ["Job", "assemble"]

Progress = Callable[[str, int, int], None]
"""Told (what is being prepared, how many are done, of how many)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a run needs, built and checked.

    Args:
        config: The configuration with every open option decided.
        choices: The components it names.
        data: The data set.
        preprocessing: How images become the network's input.
        model: The network, weights loaded, on the CPU.
        head: Names of the head's modules. One of them where ``choices.head`` took its place.
        cacheable: Whether ``head(features(x)) == model(x)`` was proved.
        taken: Which weights were taken, and why.
        loaded: How the weights fitted; None with random weights.
        loss: The training loss.
        schedules: The schedule of each phase; the same object where it spans the run.
        transforms: The augmentation of single images.
        mixers: What mixes images with each other after that.
        phases: The plan.
        notes: What the user should know.
        measures: The metrics besides loss and accuracy, the monitored one among them.
        monitor: What decides which epoch is the best.
    """

    config: RunConfig
    choices: Choices
    data: DataSet
    preprocessing: Preprocessing
    model: nn.Module
    head: tuple[str, ...]
    cacheable: bool
    taken: Chosen
    loaded: LoadReport | None
    loss: Loss
    schedules: tuple[Schedule, ...]
    transforms: tuple[BatchTransform, ...]
    mixers: tuple[MixTransform, ...]
    phases: tuple[Phase, ...]
    notes: tuple[str, ...]
    measures: tuple[Measure, ...] = ()
    monitor: Monitor = field(default_factory=Monitor)

    @property
    def own_statistics(self) -> tuple[str, ...]:
        """Modules whose batch norms are never held: a new head has no pretrained statistics."""
        return self.head if self.choices.head is not None else ()

    def store(
        self, split: str, *, hold: bool = True, behind: bool = False,
        progress: Any = lambda done, total: None,
    ) -> Store:  # fmt: skip
        """Opens the images of a split at the network's input size.

        Args:
            split: Its name.
            hold: Hold them decoded in memory, as far as the budget allows.
            behind: Decode them behind the first pass, which computes outside Python.
            progress: Told how many are decoded.
        """
        return Store.open(
            self.data.splits[split].images,
            preprocessing=self.preprocessing,
            channels=self.config.channels,
            budget_bytes=self._memory_for(split) if hold else 0,
            num_threads=workers_of(self.config),
            keep_decoded=cache_folder() if self.config.keep_decoded else None,
            progress=progress,
            behind=behind,
        )

    def _memory_for(self, split: str) -> int:
        """Returns the bytes that a split's images may take: of half, the other is for features."""
        left = self.config.ram * 2**20 // 2
        square_bytes = self.config.channels * self.preprocessing.image_size**2
        for name in ("train", "val"):  # both are held at once
            images = self.data.splits[name].images
            if name == split:
                break
            needed = 0 if isinstance(images, PixelImages) else len(images) * square_bytes
            left -= needed if needed <= left else 0
        return left

    def mass(self, target: Tensor, weights_B: Tensor | None) -> Tensor:
        """Returns the divisor of the loss's mean: what the loss says, else the samples' weights."""
        own = getattr(self.loss, "mass", None)
        if own is not None:
            total: Tensor = own(target, weights_B)
            return total
        return total_weight(target, weights_B)


def assemble(
    config: RunConfig,
    registry: Registry,
    *,
    resumed: Preprocessing | None = None,
    sources: Sources | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Job:
    """Finds, builds and checks everything that a run needs.

    Args:
        config: What the user asked for.
        registry: The components there are.
        resumed: The preprocessing of a run that is resumed. Its weights come from a checkpoint,
            so none are looked for.
        sources: Where data and network come from; None makes both for this run alone.
        progress: Told while images are looked through.

    Raises:
        ZooError: Whatever cannot work, before anything is trained.
    """
    choices = choose(config, registry)
    with blamed(choices.all, unless=is_out_of_memory):
        return _assembled(
            config, choices, registry, resumed=resumed, sources=sources or Sources(),
            progress=progress,
        )  # fmt: skip


def _assembled(
    config: RunConfig, choices: Choices, registry: Registry, *,
    resumed: Preprocessing | None, sources: Sources, progress: Progress,
) -> Job:  # fmt: skip
    """Returns the job of the components that were chosen."""

    def looked_through(done: int, total: int) -> None:
        progress("looking through the images", done, total)

    data = read_data(config, choices.data, read=sources.read, progress=looked_through)
    if config.loss is None and data.multi_label:
        config = config.changed(loss="bce")
        choices = replace(choices, loss=parse_choice(registry, "loss", "bce"))
    problems = check_data(config, data, sigmoid="sigmoid" in choices.loss.entry.component.tags)
    if config.balance == "loss" and "class_weight_K" not in parameters_of(choices.loss.entry):
        problems.append(_no_class_weights(choices.loss))
    measures, failed = build_measures(choices.metrics, data)
    if problems := [*problems, *failed, *_check_teacher(config, data)]:
        raise UsageError.together(problems)
    if resumed:
        taken = Chosen(kind="random", reason="from the run's checkpoint")
    else:
        taken = resolve(config.weights, offered_weights(choices.model))
    notes = list(data.notes)
    if not resumed and config.head is None and (spec := recorded_head(taken.path)) is not None:
        config = config.changed(head=spec)
        choices = replace(choices, head=parse_choice(registry, "head", spec))
        notes.append(f"the weights come with the head {spec}; --head linear takes a plain one")
    preprocessing = resumed or preprocessing_of(choices.model, taken.weights)
    config = settle(
        config,
        pretrained=taken.kind != "random",
        num_train=len(data.splits["train"].images),
        sched_ends="to the end" in choices.scheduler.entry.component.tags,
        image_size=default_image_size(
            preferred=preprocessing.image_size, typical_side=data.typical_side
        ),
    )
    assert config.aug is not None  # settled
    choices = replace(choices, transforms=parse_choices(registry, "transform", config.aug))
    if not resumed:
        preprocessing = _settled(preprocessing, config, data, progress=looked_through)

    network = sources.network(config, choices, taken, len(data.classes))
    notes.extend(network.notes)
    phases = plan_of(config)
    schedules = _schedules(config, choices.scheduler, phases)
    augmentation = [
        build_as(
            choice, "a transform: it has no num_random", lambda made: hasattr(made, "num_random")
        )
        for choice in choices.transforms
    ]
    mixers = tuple(part for part in augmentation if isinstance(part, MixTransform))
    problems, more = check_combination(
        config, phases=phases, schedules=schedules, mixes=bool(mixers),
        changes=any(
            choice.entry.component.name != "none" and not isinstance(part, MixTransform)
            for choice, part in zip(choices.transforms, augmentation, strict=True)
        ),
        multi_label=data.multi_label,
        hard_labels="hard labels" in choices.loss.entry.component.tags,
        num_train=len(data.splits["train"].images),
        takes_one_image=lambda: takes_one_image(
            network.model, network.head, config=config, phases=phases,
            own_head=choices.head is not None,
        ),
        second_order=choices.second_order,
    )  # fmt: skip
    try:  # not after a pass over the images
        optimizer_of(
            choices.optimizer, network.model, head=network.head, config=config, phase=phases[0],
            stand_ins=True,
        )  # fmt: skip
    except UsageError as error:
        problems.append(error)
    if problems:
        raise UsageError.together(problems)
    return Job(
        config=config, choices=choices, data=data, preprocessing=preprocessing,
        model=network.model, head=network.head, cacheable=network.proved, taken=taken,
        loaded=network.loaded,
        loss=_loss(choices.loss, data, weighs_classes=config.balance == "loss"),
        schedules=schedules, mixers=mixers, phases=phases, notes=(*notes, *more),
        transforms=tuple(part for part in augmentation if not isinstance(part, MixTransform)),
        measures=measures, monitor=monitor_of(choices.monitor, measures),
    )  # fmt: skip


def _loss(choice: Choice, data: DataSet, *, weighs_classes: bool) -> Loss:
    """Builds the loss.

    Raises:
        PluginError: It cannot be called as a loss is, or has parameters that want a gradient: no
            optimizer would train them.
    """
    loss: Loss = build_as(
        choice,
        "a function",
        callable,
        num_classes=len(data.classes),
        class_weight_K=_class_weights(data) if weighs_classes else None,
    )
    called = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        inspect.signature(called).bind("logits_BK", "target", "sample_weight_B")
    except TypeError as error:
        raise PluginError(
            f"the loss {choice.entry.id} is not called as a loss: (logits_BK, target, "
            "sample_weight_B=None)",
            found=in_words(error, kind=False),
            hint=f"report it to the authors of {choice.entry.origin}, or choose another --loss",
        ) from error
    except ValueError:  # compiled code that does not say what it takes
        pass
    own = loss.named_parameters() if isinstance(loss, nn.Module) else ()
    if untrained := [name for name, parameter in own if parameter.requires_grad]:
        raise PluginError(
            f"the loss {choice.entry.id} has parameters, and only those of the network are trained",
            found=printable(", ".join(untrained)),
            hint=f"its authors ({choice.entry.origin}) can make a head of it: that trains",
        )
    return loss


def _no_class_weights(loss: Choice) -> UsageError:
    name = loss.entry.component.name
    return UsageError(
        f"--balance loss weighs classes in the loss, and --loss {name} takes no weights of classes",
        hint="--balance sampler, or --loss ce",
    )


def _check_teacher(config: RunConfig, data: DataSet) -> list[ZooError]:
    """Returns why the run that ``--distill`` names cannot teach this data's classes."""
    if config.distill is None or ("@" in config.distill and not Path(config.distill).exists()):
        return []  # none, or a model with its weights, which is loaded before anything is begun
    try:
        described = RunFolder.open(Path(config.distill)).read_json("best/model.json")
        class_columns(teacher=described["classes"], student=data.classes)
    except ZooError as error:
        return [error]
    return []


def _settled(
    preprocessing: Preprocessing,
    config: RunConfig,
    data: DataSet,
    *,
    progress: Callable[[int, int], None],
) -> Preprocessing:
    """Returns the preprocessing with what the user overrides."""
    assert config.img_size is not None  # settled
    mean, std = preprocessing.mean, preprocessing.std
    if config.normalize == "data" and (config.mean is None or config.std is None):
        found = channel_statistics(
            data.splits["train"].images, progress=progress,
            num_threads=workers_of(config),
        )  # fmt: skip
        # A channel that is the same everywhere has no deviation to divide by.
        mean, std = found.mean, tuple(value or 1.0 for value in found.std)
    return replace(
        preprocessing,
        image_size=config.img_size,
        fit=cast("Fit", config.fit or preprocessing.fit),
        interpolation=cast("Interpolation", config.interpolation or preprocessing.interpolation),
        crop_fraction=config.crop_fraction or preprocessing.crop_fraction,
        mean=_three(config.mean or mean),
        std=_three(config.std or std),
    )


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values


def _class_weights(data: DataSet) -> torch.Tensor:
    """Returns n / (K * n_k), the weights that scikit-learn calls balanced."""
    labels_N = torch.from_numpy(data.splits["train"].labels_N)
    counts_K = torch.bincount(labels_N, minlength=len(data.classes)).clamp(min=1)
    return len(labels_N) / (len(counts_K) * counts_K.float())


def _schedules(config: RunConfig, choice: Choice, phases: Sequence[Phase]) -> tuple[Schedule, ...]:
    """Builds one schedule over the run, and one of its own for each phase that restarts it.

    Raises:
        PluginError: One has no number for the beginning of an epoch, or listens to the metric and
            could not be resumed.
    """
    total = sum(phase.epochs for phase in phases)
    whole: Schedule = build(choice, epochs=float(total), lr=config.lr)
    if hasattr(whole, "observe") and not isinstance(whole, ReactiveSchedule):
        lacking = [m for m in ("state_dict", "load_state_dict") if not hasattr(whole, m)]
        raise PluginError(
            f"the scheduler {choice.entry.id} has observe and no state, so it cannot be resumed",
            found=f"no {' and no '.join(lacking)}",
            hint=f"report it to the authors of {choice.entry.origin}, or choose another: "
            "zoo list schedulers",
        )
    schedules: list[Schedule] = [
        build(choice, epochs=float(phase.epochs), lr=config.lr) if phase.restarts else whole
        for phase in phases
    ]
    try:
        for schedule, phase in zip(schedules, phases, strict=True):
            num_epochs = phase.epochs if phase.restarts else total
            for epoch in range(0, num_epochs, 1 + num_epochs // MOST_LOOKS):
                _check_factor(schedule(float(epoch)), epoch)
    except Exception as error:
        raise failure(choice.entry, "failed", error) from error
    return tuple(schedules)


def _check_factor(factor: object, epoch: int) -> None:
    """Raises a ValueError unless it is what a rate can be multiplied by: below 0 it would climb."""
    if not isinstance(factor, int | float) or not 0 <= factor < float("inf"):
        raise ValueError(f"at epoch {epoch} the factor is {factor!r:.40}, no number of at least 0")
