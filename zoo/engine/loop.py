"""The loop: one epoch of training, one pass of evaluation. Reads top to bottom.

Shapes: B batch, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.batches import split_evenly
from zoo.data.randomness import Stream, key, order
from zoo.engine.device import Device
from zoo.engine.meters import Meter
from zoo.errors import NonFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.config import RunConfig
    from zoo.engine.feeds import Feed
    from zoo.protocols import Loss

__all__ = ["Training", "evaluate", "train_epoch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What one phase trains, on what, and how.

    Args:
        module: The network, or its head on cached features; in training mode where it trains.
        feed: Its inputs and labels.
        loss: Mean loss of a batch.
        mass: Total weight of some labels in that mean: their number, or their class weights' sum.
        optimizer: Over the parameters that train. Each group has a ``base_lr``.
        device: Where it computes.
        config: Batch size, accumulation, clipping, seed.
        augment: Whether the feed augments.
    """

    module: nn.Module
    feed: Feed
    loss: Loss
    mass: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    device: Device
    config: RunConfig
    augment: bool


def train_epoch(
    training: Training,
    *,
    epoch: int,
    first_step: int,
    meter: Meter,
    lr_factor: Callable[[int, int], float],
    step_ended: Callable[[int, int, float | None], None],
) -> None:
    """Trains one epoch, from ``first_step`` on.

    Args:
        training: What, on what and how.
        epoch: 0 for the first epoch of the run; with the seed it decides order and augmentation.
        first_step: Steps of this epoch that were made before an interruption.
        meter: Sums loss and right answers.
        lr_factor: Share of the base learning rate at (step, steps of the epoch).
        step_ended: Told (step, steps of the epoch, loss if it was looked at). May raise to stop.

    Raises:
        NonFiniteError: The loss is NaN or infinite. The step is not made.
    """
    config, device, optimizer = training.config, training.device, training.optimizer
    plan = split_evenly(order(config.seed, epoch, len(training.feed)), config.batch_size)
    parts = [_cut(batch, config.accumulate, device) for batch in plan]
    batches = training.feed.batches(
        [part for step in parts[first_step:] for part in step],
        epoch=epoch if training.augment else None,
    )
    # Optimizers that look at curvature (adahessian) differentiate the gradient once more.
    second_order = {"create_graph": True} if getattr(optimizer, "is_second_order", False) else {}
    check_every = 1 if device.torch_device.type == "cpu" else 25  # a look waits for the device
    for step in range(first_step, len(plan)):
        factor = lr_factor(step, len(plan))
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        optimizer.zero_grad(set_to_none=True)
        total = training.mass(training.feed.labels(plan[step]))
        looked: float | None = None
        for part in range(len(parts[step])):
            batch = next(batches)
            torch.manual_seed(key(Stream.STEP, config.seed, epoch, step, part, device.rank))
            with device.autocast():
                logits_BK = training.module(batch.inputs)
            loss = training.loss(logits_BK, batch.labels_B)
            meter.add(loss, logits_BK, batch.labels_B)
            if step % check_every == 0 or step == len(plan) - 1:
                looked = _finite(loss, step=step, optimizer=optimizer)
            # Parts and processes add up to the gradient of the whole batch's mean. With one of
            # each the share is 1.0 to the bit.
            share = training.mass(batch.labels_B) / total * device.world
            device.accelerator.backward(loss * share, **second_order)
        if config.clip_norm:
            device.accelerator.clip_grad_norm_(training.module.parameters(), config.clip_norm)
        optimizer.step()
        step_ended(step, len(plan), looked)


@torch.inference_mode()
def evaluate(
    module: nn.Module, feed: Feed, *, loss: Loss, device: Device, batch_size: int
) -> tuple[float, float]:
    """Returns mean loss and accuracy (0..1); each sample counts once on any number of processes."""
    module.eval()
    meter = Meter(device.torch_device)
    mine = np.arange(len(feed))[device.rank :: device.world]
    for batch in feed.batches(split_evenly(mine, batch_size) if len(mine) else [], epoch=None):
        with device.autocast():
            logits_BK = module(batch.inputs)
        meter.add(loss(logits_BK, batch.labels_B), logits_BK, batch.labels_B)
    return meter.read(device.sum)


def _cut(batch: NDArray[np.int64], accumulate: int, device: Device) -> list[NDArray[np.int64]]:
    """Returns this process's samples of each part of a batch, none empty."""
    num_parts = max(1, min(accumulate, len(batch) // device.world))
    return [part[device.rank :: device.world] for part in np.array_split(batch, num_parts)]


def _finite(loss: Tensor, *, step: int, optimizer: Any) -> float:
    """Returns the loss as a number."""
    value = float(loss.detach())
    if not math.isfinite(value):
        rate = optimizer.param_groups[0]["lr"]
        raise NonFiniteError(
            f"the loss is {value} at step {step + 1} of the epoch",
            found=f"learning rate {rate:.3g}; the step was not made",
            hint=f"--lr {rate / 10:.1g}, or --clip-norm 1",
        )
    return value
