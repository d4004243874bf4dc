"""A run is a list of phases, and a phase is data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Phase", "freeze_then_finetune", "start_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of epochs in which the same part of the network trains.

    Args:
        name: As the table and the logs show it.
        epochs: How many.
        trainable: ``head``, ``all``, or a number of last blocks that train along with the head.
        augment: Whether training images are augmented. Without, the frozen prefix of the network
            sees the same input each epoch and is computed once.
        hold_statistics: Whether batch norms that train keep their running statistics.
        warmup: Epochs over which the learning rate rises linearly from nothing.
    """

    name: str
    epochs: int
    trainable: str | int
    augment: bool
    hold_statistics: bool
    warmup: float = 0.0


def freeze_then_finetune(
    *, freeze_epochs: int, epochs: int, hold_statistics: bool, warmup: float, freeze_aug: bool
) -> tuple[Phase, ...]:
    """Returns the default plan: the head alone, then the whole network."""
    freeze = Phase(
        name="freeze", epochs=freeze_epochs, trainable="head", augment=freeze_aug,
        hold_statistics=True, warmup=0.0,
    )  # fmt: skip
    finetune = Phase(
        name="finetune" if freeze_epochs or hold_statistics else "train", epochs=epochs,
        trainable="all", augment=True, hold_statistics=hold_statistics, warmup=warmup,
    )  # fmt: skip
    return tuple(phase for phase in (freeze, finetune) if phase.epochs)


def start_of(phases: Sequence[Phase], index: int) -> int:
    """Returns the epoch of the run with which a phase starts."""
    return sum(phase.epochs for phase in phases[:index])
