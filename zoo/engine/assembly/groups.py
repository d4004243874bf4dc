"""The optimizer's parameter groups: which rate and which decay each parameter gets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import nn

from zoo.network.blocks import block_of, blocks, within

__all__ = ["parameter_groups"]


def parameter_groups(
    model: nn.Module,
    *,
    head: Collection[str],
    lr: float,
    backbone_lr: float,
    layer_decay: float,
    weight_decay: float,
    scale: float = 1.0,
) -> list[dict[str, Any]]:
    """Returns groups of the parameters that have gradients, the head's first.

    The head learns at ``lr`` and the rest at ``lr * backbone_lr``, there multiplied by
    ``layer_decay`` for every block between it and the head (Clark et al. 2020, ELECTRA). Biases,
    norm parameters and what the model names in ``no_weight_decay`` are not decayed. ``scale``
    multiplies every rate: a phase's share of the run's.

    Each group carries ``base_lr``, its rate before the schedule.
    """
    names = blocks(model, head=head)
    spared = set(getattr(model, "no_weight_decay", set)())
    collected: dict[tuple[float, float], dict[str, Any]] = {}
    parameters = sorted(model.named_parameters(), key=lambda item: not within(item[0], head))
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        rate = lr * scale
        if not within(name, head):
            block = block_of(name, names)
            depth = len(names) - (block if block is not None else -1)
            rate = lr * scale * backbone_lr * layer_decay**depth
        plain = parameter.ndim <= 1 or name.endswith(".bias") or name in spared
        decay = 0.0 if plain else weight_decay
        group = collected.setdefault(
            (rate, decay), {"params": [], "lr": rate, "base_lr": rate, "weight_decay": decay}
        )
        group["params"].append(parameter)
    return list(collected.values())
