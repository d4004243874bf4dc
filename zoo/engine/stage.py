"""A phase made ready to run: what is frozen, what feeds it, what optimises it.

Job + Phase -> Stage (module, feeds, optimizer) -> loop
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.batches import balanced_draws, repeated_draws
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.phases import Phase
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.feeds import FeatureFeed, Feed, ImageFeed, Labels, Teach, features_of
from zoo.engine.loop import Accumulation, Training, evaluate
from zoo.engine.step.averaging import WeightAverage
from zoo.engine.step.update import Update
from zoo.network.freeze import digest, frozen_tensors, set_modes, set_trainable, trainable_modules
from zoo.registry import build

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = [
    "EVALUATION_BATCH",
    "Progress",
    "Stage",
    "epoch_draws",
    "image_feed",
    "load_optimizer_state",
]

EVALUATION_BATCH = 128

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
        frozen_statistics_move: Whether batch norms of the frozen part go on counting.
        frozen_digest: SHA-256 of all tensors that must not change; empty when all may.
    """

    phase: Phase
    training: Training
    val_feed: Feed
    model: nn.Module
    trained: tuple[str, ...]
    average: WeightAverage | None
    frozen_statistics_move: bool
    frozen_digest: str

    @classmethod
    def open(
        cls, job: Job, phase: Phase, feeds: Mapping[str, Feed], *, device: Device,
        accumulation: Accumulation, average: WeightAverage | None = None,
        last_epochs: WeightAverage | None = None, observer: Observer, progress: Progress,
    ) -> Stage:  # fmt: skip
        """Freezes what the phase freezes, computes the frozen features, builds the optimizer."""
        model, config = job.model, job.config
        trained = trainable_modules(model, head=job.head, trainable=phase.trainable)
        set_trainable(model, trained)
        moving = config.frozen_norm == "train"
        module, train_feed, val_feed = model, feeds["train"], feeds["val"]
        if (
            config.cache and job.cacheable and trained == job.head
            and not phase.augment and not moving
        ):  # fmt: skip
            cached = _cached(job, feeds, device, observer, progress)
            if cached is not None:
                train_feed, val_feed = cached
                module = model.get_submodule(job.head[0])
        optimizer = _optimizer(job, phase)
        observer.phase_started(
            phase, cached=module is not model, total=sum(p.numel() for p in model.parameters()),
            trainable=sum(p.numel() for group in optimizer.param_groups for p in group["params"]),
        )  # fmt: skip
        training = Training(
            module=device.wrap(module), feed=train_feed, draws=epoch_draws(job), loss=job.loss,
            mass=job.mass, accumulation=accumulation, device=device, config=config,
            augment=phase.augment, multi_label=job.data.multi_label, noted=observer.noted,
            update=Update(
                optimizer=device.accelerator.prepare_optimizer(optimizer), model=model,
                head=job.head, device=device, config=config, average=average,
            ),
        )  # fmt: skip
        frozen = frozen_tensors(model, trained, statistics_move=moving)
        stage = cls(
            phase=phase, training=training, val_feed=val_feed, model=model, trained=trained,
            average=average, frozen_statistics_move=moving,
            frozen_digest=digest(frozen) if frozen else "",
        )  # fmt: skip
        stage.to_train()
        for follower in (average, last_epochs):
            if follower is not None:
                follower.follow(model)
        return stage

    def to_train(self) -> None:
        """Puts what trains in training mode and holds the rest still."""
        set_modes(
            self.model, self.trained, hold_statistics=self.phase.hold_statistics,
            frozen_statistics_move=self.frozen_statistics_move,
        )  # fmt: skip

    def averaged(self) -> AbstractContextManager[None]:
        """Has the moving average in the network inside the block, where there is one."""
        return nullcontext() if self.average is None else self.average.swapped()

    def validate(self) -> tuple[float, float]:
        """Returns loss and accuracy on the validation split."""
        training = self.training
        return evaluate(
            training.module, self.val_feed, loss=training.loss, device=training.device,
            batch_size=EVALUATION_BATCH, multi_label=training.multi_label,
        )  # fmt: skip

    def kept_still(self) -> bool:
        """Whether every frozen tensor is what it was when the phase began."""
        frozen = frozen_tensors(
            self.model, self.trained, statistics_move=self.frozen_statistics_move
        )
        return not frozen or digest(frozen) == self.frozen_digest


def _optimizer(job: Job, phase: Phase) -> torch.optim.Optimizer:
    """Builds the optimizer of a phase over what it trains."""
    config = job.config
    assert config.lr is not None  # settled
    assert config.backbone_lr is not None
    assert config.weight_decay is not None
    groups = parameter_groups(
        job.model, head=job.head, lr=config.lr, backbone_lr=config.backbone_lr,
        layer_decay=phase.layer_decay, weight_decay=config.weight_decay, scale=phase.lr,
    )  # fmt: skip
    optimizer: torch.optim.Optimizer = build(
        job.choices.optimizer, params=groups, lr=config.lr, weight_decay=config.weight_decay
    )
    return optimizer


def epoch_draws(job: Job) -> Callable[[int], NDArray[np.int64]]:
    """Returns the function from the epoch to its draws."""
    seed, labels_N = job.config.seed, job.data.splits["train"].labels_N
    if job.config.balance == "sampler":
        return lambda epoch: balanced_draws(labels_N, seed=seed, epoch=epoch)
    return lambda epoch: repeated_draws(
        len(labels_N), repeats=job.config.repeats, seed=seed, epoch=epoch
    )


def _cached(
    job: Job, feeds: Mapping[str, Feed], device: Device, observer: Observer, progress: Progress
) -> tuple[FeatureFeed, FeatureFeed] | None:
    """Returns the head's inputs for training and validation; None if they exceed the budget."""
    budget_bytes = job.config.ram * 2**20 // 4
    found = []
    for name in ("train", "val"):
        features = features_of(
            job.model, job.head[0], feeds[name], labels=_labels(job, name, device),
            batch_size=EVALUATION_BATCH, budget_bytes=budget_bytes,
            progress=partial(progress, f"frozen features, {name}"),
        )  # fmt: skip
        if features is None:
            observer.noted("the frozen features exceed --ram; the frozen part runs in every epoch")
            return None
        found.append(features)
    return found[0], found[1]


def _labels(job: Job, split: str, device: Device) -> Labels:
    return Labels(
        job.data.splits[split], num_classes=len(job.data.classes), device=device.torch_device
    )


def image_feed(
    job: Job, split: str, *, device: Device, progress: Progress, teach: Teach | None = None
) -> ImageFeed:
    """Opens the images of a split."""
    trains = split == "train"
    return ImageFeed(
        job.store(split, progress=partial(progress, f"images, {split}")),
        labels=_labels(job, split, device),
        preprocessing=job.preprocessing,
        transforms=job.transforms if trains else (),
        mixers=job.mixers if trains else (),
        seed=job.config.seed,
        channels_last=job.config.channels_last,
        teach=teach if trains else None,
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
