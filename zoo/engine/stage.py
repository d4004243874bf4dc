"""A phase made ready to run: what is frozen, what feeds it, what optimises it.

Job + Phase -> Stage (module, feeds, optimizer) -> loop
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.batches import balanced_draws, repeated_draws
from zoo.engine.assembly.groups import optimizer_of
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.phases import Phase
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.features.frozen import FrozenPart, FrozenRecord, Wanted
from zoo.engine.features.key import frozen_values, probe_images
from zoo.engine.features.spare import Digest, Spare
from zoo.engine.features.threads import threads_for
from zoo.engine.features.views import frozen_views
from zoo.engine.feeds import CyclingFeed, Feed, ImageFeed, Labels, Teach
from zoo.engine.loop import evaluate
from zoo.engine.own_kernels import kernels_for, linear_step_for
from zoo.engine.scores import Measure, Scores
from zoo.engine.step.averaging import WeightAverage
from zoo.engine.step.update import Update
from zoo.engine.training import Accumulation, Training
from zoo.network.fast import fuse
from zoo.network.freeze import (
    frozen_tensors,
    put_in_modes,
    set_modes,
    set_trainable,
    trainable_modules,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = [
    "Progress",
    "Stage",
    "epoch_draws",
    "image_feed",
    "labels_of",
    "load_optimizer_state",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told (what is being prepared, how many are done, of how many). May raise to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One phase, ready to run.

    Args:
        phase: Its data.
        training: What the loop trains.
        val_feed: What it is validated on: images, or their cached features.
        model: The whole network.
        trained: Names of the modules that train.
        average: The moving average that is validated instead of the weights; None without one.
        modes: All its modules, and whether each is in training mode while the phase trains.
        frozen_statistics_move: Whether batch norms of the frozen part go on counting.
        digest: Returns the SHA-256 of tensors.
        frozen_digest: Of all tensors that must not change; empty when all may.
        record: What the run's state says of the frozen features; None without them.
    """

    phase: Phase
    training: Training
    val_feed: Feed
    model: nn.Module
    trained: tuple[str, ...]
    average: WeightAverage | None
    modes: Sequence[tuple[nn.Module, bool]]
    frozen_statistics_move: bool
    digest: Digest
    frozen_digest: str
    record: FrozenRecord | None

    @classmethod
    def open(
        cls, job: Job, phase: Phase, feeds: Mapping[str, ImageFeed], *, device: Device,
        accumulation: Accumulation, average: WeightAverage | None = None,
        last_epochs: WeightAverage | None = None, record: FrozenRecord | None = None,
        spare: Spare, observer: Observer, progress: Progress,
    ) -> Stage:  # fmt: skip
        """Freezes what the phase freezes, computes the frozen features, builds the optimizer.

        What computed the features is left in ``spare``.
        """
        model, config = job.model, job.config
        trained = trainable_modules(model, head=job.head, trainable=phase.trainable)
        set_trainable(model, trained)
        moving = config.frozen_norm == "train"
        modes = set_modes(
            model, trained, hold_statistics=phase.hold_statistics, frozen_statistics_move=moving,
            never_held=job.own_statistics,
        )  # fmt: skip
        module, train_feed, val_feed, record = _fed(
            job, phase, trained, feeds, device=device, record=record, spare=spare,
            observer=observer, progress=progress,
        )  # fmt: skip
        if phase.trainable != "head" and config.fast_convolutions and not config.compile:
            fuse(
                model, probe_images(job, device.torch_device), held=phase.hold_statistics,
                kernels=kernels_for(job, phase, device, observer),
            )  # fmt: skip
        optimizer = optimizer_of(
            job.choices.optimizer, model, head=job.head, config=config, phase=phase
        )
        observer.phase_started(
            phase, cached=module is not model, total=sum(p.numel() for p in model.parameters()),
            trainable=sum(p.numel() for group in optimizer.param_groups for p in group["params"]),
        )  # fmt: skip
        training = Training(
            module=device.wrap(module), feed=train_feed, draws=epoch_draws(job), loss=job.loss,
            mass=job.mass, accumulation=accumulation, device=device, config=config,
            augment=phase.augment and frozen_views(job, phase) != 0,
            multi_label=job.data.multi_label, noted=observer.noted,
            linear=linear_step_for(job, phase, module, device=device, observer=observer),
            update=Update(
                optimizer=device.prepared(optimizer), model=model, head=job.head, device=device,
                config=config, average=average,
            ),
        )  # fmt: skip
        frozen = frozen_tensors(model, trained, statistics_move=moving)
        if record is not None and frozen.keys() == frozen_values(model, trained).keys():
            frozen_digest = record.weights  # computed a moment ago, of the very same
        else:
            frozen_digest = spare.digest(frozen) if frozen else ""
        stage = cls(
            phase=phase, training=training, val_feed=val_feed, model=model, trained=trained,
            average=average, modes=modes, frozen_statistics_move=moving, digest=spare.digest,
            frozen_digest=frozen_digest, record=record,
        )  # fmt: skip
        stage.to_train()
        for follower in (average, last_epochs):
            if follower is not None:
                follower.follow(model)
        return stage

    def to_train(self) -> None:
        """Puts what trains in training mode and holds the rest still."""
        put_in_modes(self.modes)

    def averaged(self) -> AbstractContextManager[None]:
        """Has the moving average in the network inside the block, where there is one."""
        return nullcontext() if self.average is None else self.average.swapped(still=False)

    def threads(self) -> AbstractContextManager[None]:
        """Computes inside the block with as many threads as the stage's steps gain from."""
        training = self.training
        at_head = self.record is not None and self.record.trained == tuple(training.update.head)
        return threads_for(
            training.module, batch_size=training.config.batch_size, whole=not at_head
        )

    def validate(
        self, measures: Sequence[Measure] = (), *, between: Callable[[], None] = lambda: None
    ) -> Scores:
        """Returns loss, accuracy and the metrics that are asked for on the validation split.

        ``between`` is called before each batch and may raise to stop.
        """
        training = self.training
        with self.threads():
            return evaluate(
                training.module, self.val_feed, loss=training.loss, mass=training.mass,
                device=training.device, multi_label=training.multi_label, measures=measures,
                linear=training.linear, between=between,
            )  # fmt: skip

    def kept_still(self) -> bool:
        """Whether every frozen tensor is what it was when the phase began."""
        frozen = frozen_tensors(
            self.model, self.trained, statistics_move=self.frozen_statistics_move
        )
        return not frozen or self.digest(frozen) == self.frozen_digest


def epoch_draws(job: Job) -> Callable[[int], NDArray[np.int64]]:
    """Returns the function from the epoch to its draws."""
    seed, labels_N = job.config.seed, job.data.splits["train"].labels_N

    @lru_cache(maxsize=1)  # asked for more than once in an epoch
    def draws(epoch: int) -> NDArray[np.int64]:
        if job.config.balance == "sampler":
            return balanced_draws(labels_N, seed=seed, epoch=epoch)
        return repeated_draws(len(labels_N), repeats=job.config.repeats, seed=seed, epoch=epoch)

    return draws


def _fed(
    job: Job, phase: Phase, trained: Sequence[str], feeds: Mapping[str, ImageFeed], *,
    device: Device, record: FrozenRecord | None, spare: Spare, observer: Observer,
    progress: Progress,
) -> tuple[nn.Module, Feed, Feed, FrozenRecord | None]:  # fmt: skip
    """Returns what trains, what feeds it, what validates it, and the record of frozen features."""
    views = frozen_views(job, phase)
    if views is not None and job.config.cache:
        part = FrozenPart.open(
            job, trained, device=device, noted=observer.noted, progress=progress, spare=spare
        )
        wanted = {
            name: Wanted(
                images=feeds[name], labels=labels_of(job, name, device=device),
                views=views if name == "train" else 0,
            )
            for name in ("train", "val")
        }  # fmt: skip
        fixed = record.engine if record else None
        found = part.feeds(wanted, engine=fixed) if part else None
        if part is not None and found is not None:
            cached, now = found
            if record is not None and (record.checksums, record.weights) != (
                now.checksums, now.weights
            ):  # fmt: skip
                observer.noted(
                    "the frozen features are not to the bit those that the run began with, so its "
                    "last digits may differ"
                )
            return part.frontier.rest, cached["train"], cached["val"], now
    for feed in feeds.values():
        feed.hold()
    train_feed = CyclingFeed(feeds["train"], views) if views else feeds["train"]
    return job.model, train_feed, feeds["val"], None


def labels_of(job: Job, split: str, *, device: Device) -> Labels:
    """Returns what the samples of a split are."""
    return Labels(
        job.data.splits[split], num_classes=len(job.data.classes), device=device.torch_device
    )


def image_feed(
    job: Job, split: str, *, device: Device, progress: Progress, teach: Teach | None = None,
    hold: bool = True, behind: bool = False,
) -> ImageFeed:  # fmt: skip
    """Returns the images of a split, which are opened when the first is asked for.

    Args:
        job: The job.
        split: Its name.
        device: Where batches go.
        progress: Told how many are decoded.
        teach: A teacher.
        hold: Whether the images will be asked for again and again.
        behind: Whether they are asked for first by a frozen network.
    """
    trains = split == "train"
    told = partial(progress, f"images, {split}")
    return ImageFeed(
        lambda holds: job.store(split, hold=holds, behind=behind, progress=told),
        labels=labels_of(job, split, device=device),
        preprocessing=job.preprocessing,
        transforms=job.transforms if trains else (),
        mixers=job.mixers if trains else (),
        seed=job.config.seed,
        channels_last=job.config.channels_last,
        teach=teach if trains else None,
        hold=hold,
    )


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restores an optimizer to the bit: values, and the memory layout of each tensor.

    Elementwise kernels take other paths for other layouts, and may round differently there.
    """
    optimizer.load_state_dict(state)
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if (
                isinstance(value, Tensor)
                and isinstance(parameter, Tensor)
                and value.shape == parameter.shape
            ):
                slots[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
