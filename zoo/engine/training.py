"""What the loop is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from zoo.config import RunConfig
    from zoo.engine.device import Device
    from zoo.engine.feeds import Feed
    from zoo.engine.step.linear import LinearStep
    from zoo.engine.step.update import Update
    from zoo.protocols import Loss

__all__ = ["Accumulation", "StepEnded", "Training"]

StepEnded: TypeAlias = Callable[[int, int, float | None, bool], None]
"""Told (step, steps of the epoch, loss if it was looked at, whether more were made already)."""


@dataclass(slots=True)
class Accumulation:
    """In how many parts a batch is computed. Grows when memory runs out; part of a run's state."""

    num_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What one phase trains, on what, and how.

    Args:
        module: The network, or its head on cached features; in training mode where it trains.
        feed: Its inputs and labels.
        draws: The draws of an epoch, in order: a function of the epoch alone.
        loss: Mean loss of a batch.
        mass: The divisor of that mean, given target and weights: number of samples, mostly.
        update: Makes an optimizer step of gradients.
        accumulation: In how many parts a batch is computed.
        device: Where it computes.
        config: Batch size, seed.
        augment: Whether the feed augments.
        multi_label: Whether an image can have several labels.
        linear: Makes the gradient of a linear head at once; None where torch does.
        noted: Told what the user should know.
    """

    module: nn.Module
    feed: Feed
    draws: Callable[[int], NDArray[np.int64]]
    loss: Loss
    mass: Callable[[Tensor, Tensor | None], Tensor]
    update: Update
    accumulation: Accumulation
    device: Device
    config: RunConfig
    augment: bool
    multi_label: bool = False
    linear: LinearStep | None = None
    noted: Callable[[str], None] = field(default=lambda text: None)
