"""What trains and what is held still.

Frozen means frozen: no gradient for any parameter outside the trainable part (root-level ones such
as a ViT's class token too), no moving statistics in any normalisation layer there, no dropout and
no drop-path. Module types stay as they are, so a state dict fits before, during and after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from zoo.network.blocks import blocks, within

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "digest",
    "frozen_tensors",
    "put_in_modes",
    "set_modes",
    "set_trainable",
    "trainable_modules",
]

_HOLDS_STATISTICS = nn.modules.batchnorm._NormBase  # the base of every batch norm


def trainable_modules(
    model: nn.Module, *, head: Collection[str], trainable: str | int
) -> tuple[str, ...]:
    """Returns the names of the modules that a phase trains.

    Args:
        model: The network.
        head: Names of its head modules.
        trainable: ``head``, ``all``, or a number of last blocks to train along with the head.
    """
    if trainable == "all":
        return ("",)
    last = int(trainable) if trainable != "head" else 0
    return (*(blocks(model, head=head)[-last:] if last else ()), *head)


def set_trainable(model: nn.Module, modules: Collection[str]) -> None:
    """Lets the parameters of these modules have gradients, and no others (by complement)."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(within(name, modules))
        if not parameter.requires_grad:
            parameter.grad = None


def set_modes(
    model: nn.Module,
    modules: Collection[str],
    *,
    hold_statistics: bool,
    frozen_statistics_move: bool = False,
    never_held: Collection[str] = (),
) -> list[tuple[nn.Module, bool]]:
    """Puts these modules in training mode and all others in evaluation mode.

    Returns all modules with the mode that they were put in, for :func:`put_in_modes`.

    Args:
        model: The network.
        modules: Names of the modules that train.
        hold_statistics: Keep the running statistics of batch norms still in these modules too.
            On small data, statistics that move while fine-tuning ruin a pretrained network.
        frozen_statistics_move: Put batch norms of the frozen part in training mode.
        never_held: Names of modules whose batch norms count whenever they train: a new head's.
    """
    modes = []
    for name, module in model.named_modules():
        trains = within(name, modules)
        if isinstance(module, _HOLDS_STATISTICS):
            held = hold_statistics and not within(name, never_held)
            trains = not held if trains else frozen_statistics_move
        modes.append((module, trains))
    put_in_modes(modes)
    return modes


def put_in_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    """Puts modules in training mode, or in evaluation mode. Their children stay in theirs."""
    for module, trains in modes:
        if module.training is not trains:  # to set it takes long beside a step on kept features
            module.training = trains


def frozen_tensors(
    model: nn.Module, modules: Collection[str], *, statistics_move: bool = False
) -> dict[str, Tensor]:
    """Returns the parameters and buffers outside these modules.

    Args:
        model: The network.
        modules: Names of the modules that train.
        statistics_move: Leave out the buffers of batch norms, which are not held still then.
    """
    moving = {
        f"{name}.{buffer}"
        for name, module in (model.named_modules() if statistics_move else ())
        if isinstance(module, _HOLDS_STATISTICS)
        for buffer, _ in module.named_buffers(recurse=False)
    }
    # A module that has two names stands twice in a state dict, and trains under the first one.
    first_names = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name in first_names and not within(name, modules) and name not in moving
    }


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of names and bytes of tensors, independent of device and layout."""
    hashed = hashlib.sha256()
    for name in sorted(tensors):
        hashed.update(name.encode())
        flat = tensors[name].detach().cpu().contiguous().flatten()
        hashed.update(flat.view(torch.uint8).numpy().data)
    return hashed.hexdigest()
