"""The optimizer and its parameter groups: which rate and which decay each parameter gets."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from zoo.network.blocks import block_of, blocks, within
from zoo.registry.loading import build_as

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.phases import Phase
    from zoo.registry import Choice

__all__ = ["optimizer_of", "parameter_groups"]


def optimizer_of(
    choice: Choice, model: nn.Module, *, head: Collection[str], config: RunConfig, phase: Phase,
    stand_ins: bool = False,
) -> torch.optim.Optimizer:  # fmt: skip
    """Builds the optimizer of a phase over the parameters that have gradients.

    Args:
        choice: The optimizer.
        model: The network.
        head: Names of its head's modules.
        config: Settled.
        phase: What trains.
        stand_ins: Over a number in the place of each parameter, to see what the optimizer refuses:
            one that hangs itself on gradients leaves the network as it is.

    Raises:
        UsageError: It refuses its arguments.
        PluginError: It is none, or raises something else.
    """
    assert config.lr is not None  # settled
    assert config.backbone_lr is not None
    assert config.weight_decay is not None
    groups = parameter_groups(
        model, head=head, lr=config.lr, backbone_lr=config.backbone_lr,
        layer_decay=phase.layer_decay, weight_decay=config.weight_decay, scale=phase.lr,
    )  # fmt: skip
    if stand_ins:
        for group in groups:
            group["params"] = [
                nn.Parameter(torch.zeros([1] * p.ndim, dtype=p.dtype)) for p in group["params"]
            ]
    optimizer: torch.optim.Optimizer = build_as(
        choice, "a torch.optim.Optimizer", lambda made: isinstance(made, torch.optim.Optimizer),
        params=groups, lr=config.lr, weight_decay=config.weight_decay,
    )  # fmt: skip
    return optimizer


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
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = any(not within(name, head) for name, _ in trained)
    names = blocks(model, head=head) if inner else ()
    spared = set(getattr(model, "no_weight_decay", set)())
    collected: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in sorted(trained, key=lambda item: not within(item[0], head)):
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
