"""A phase made ready to run: what is frozen, what feeds it, what optimises it.

Job + Phase -> Stage (module, feeds, optimizer) -> loop
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.feeds import FeatureFeed, Feed, ImageFeed, features_of
from zoo.engine.groups import parameter_groups
from zoo.engine.job import Job
from zoo.engine.loop import Training, evaluate
from zoo.engine.phases import Phase
from zoo.network.freeze import digest, frozen_tensors, set_modes, set_trainable, trainable_modules
from zoo.registry import build

__all__ = ["Stage", "image_feed", "load_optimizer_state"]

_FEATURE_BATCH = 128

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
        frozen_digest: SHA-256 of all tensors that must not change; empty when all may.
    """

    phase: Phase
    training: Training
    val_feed: Feed
    model: nn.Module
    trained: tuple[str, ...]
    frozen_digest: str

    @classmethod
    def open(
        cls, job: Job, phase: Phase, feeds: Mapping[str, Feed], *, device: Device,
        observer: Observer, progress: Progress,
    ) -> Stage:  # fmt: skip
        """Freezes what the phase freezes, computes the frozen features, builds the optimizer."""
        model = job.model
        trained = trainable_modules(model, head=job.head, trainable=phase.trainable)
        set_trainable(model, trained)
        module, train_feed, val_feed = model, feeds["train"], feeds["val"]
        if job.config.cache and job.cacheable and trained == job.head and not phase.augment:
            cached = _cached(job, feeds, observer, progress)
            if cached is not None:
                train_feed, val_feed = cached
                module = model.get_submodule(job.head[0])
        config = job.config
        assert config.lr is not None  # settled
        assert config.backbone_lr is not None
        assert config.weight_decay is not None
        groups = parameter_groups(
            model, head=job.head, lr=config.lr, backbone_lr=config.backbone_lr,
            layer_decay=config.layer_decay, weight_decay=config.weight_decay,
        )  # fmt: skip
        total = sum(p.numel() for p in model.parameters())
        trainable = sum(p.numel() for group in groups for p in group["params"])
        observer.phase_started(phase, trainable=trainable, total=total, cached=module is not model)
        optimizer = build(
            job.choices.optimizer, params=groups, lr=config.lr, weight_decay=config.weight_decay
        )
        training = Training(
            module=device.wrap(module), feed=train_feed, loss=job.loss,
            mass=partial(_mass, job.class_weight_K), device=device, config=config,
            augment=phase.augment,
            optimizer=device.accelerator.prepare_optimizer(optimizer),
        )  # fmt: skip
        frozen = frozen_tensors(model, trained)
        return cls(
            phase=phase, training=training, val_feed=val_feed, model=model, trained=trained,
            frozen_digest=digest(frozen) if frozen else "",
        )  # fmt: skip

    def to_train(self) -> None:
        """Puts what trains in training mode and holds the rest still."""
        set_modes(self.model, self.trained, hold_statistics=self.phase.hold_statistics)

    def validate(self) -> tuple[float, float]:
        """Returns loss and accuracy on the validation split."""
        training = self.training
        return evaluate(
            training.module, self.val_feed, loss=training.loss, device=training.device,
            batch_size=_FEATURE_BATCH,
        )  # fmt: skip

    def kept_still(self) -> bool:
        """Whether every frozen tensor is what it was when the phase began."""
        frozen = frozen_tensors(self.model, self.trained)
        return not frozen or digest(frozen) == self.frozen_digest


def _cached(
    job: Job, feeds: Mapping[str, Feed], observer: Observer, progress: Progress
) -> tuple[FeatureFeed, FeatureFeed] | None:
    """Returns the head's inputs for training and validation; None if they exceed the budget."""
    budget_bytes = job.config.ram * 2**20 // 4
    found = []
    for name in ("train", "val"):
        features = features_of(
            job.model, job.head[0], feeds[name], batch_size=_FEATURE_BATCH,
            budget_bytes=budget_bytes, progress=partial(progress, f"frozen features, {name}"),
        )  # fmt: skip
        if features is None:
            observer.noted("the frozen features exceed --ram; the frozen part runs in every epoch")
            return None
        found.append(features)
    return found[0], found[1]


def image_feed(job: Job, split: str, *, device: Device, progress: Progress) -> ImageFeed:
    """Opens the images of a split."""
    return ImageFeed(
        job.store(split, progress=partial(progress, f"images, {split}")),
        labels_N=job.data.splits[split].labels_N,
        preprocessing=job.preprocessing,
        transforms=job.transforms if split == "train" else (),
        seed=job.config.seed,
        device=device.torch_device,
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


def _mass(class_weight_K: Tensor | None, labels: Tensor) -> Tensor:
    """Returns the total weight of labels in a mean loss."""
    if class_weight_K is None:
        return torch.tensor(float(len(labels)))
    return class_weight_K.to(labels.device)[labels].sum()
