"""A network as an ordered list of blocks, from its input to its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["block_of", "blocks", "within"]


def within(name: str, modules: Collection[str]) -> bool:
    """Whether a parameter or module name lies in one of these modules ("" is the whole network)."""
    return any(not module or name == module or name.startswith(module + ".") for module in modules)


def blocks(model: nn.Module, *, head: Collection[str]) -> tuple[str, ...]:
    """Returns the names of the blocks before the head, in the order in which they are defined.

    A block is a child that has parameters; a container of several blocks (a stage, a list of
    transformer layers) is opened. Definition order is forward order in timm and torchvision. A
    module that has two names goes by the first one, as its parameters do.
    """
    first_names = dict(model.named_modules())
    return tuple(name for name in _open(model, "", head) if name in first_names)


def _open(module: nn.Module, prefix: str, head: Collection[str]) -> list[str]:
    names: list[str] = []
    for child_name, child in module.named_children():
        name = f"{prefix}{child_name}"
        if within(name, head) or not any(True for _ in child.parameters()):
            continue
        container = isinstance(child, nn.Sequential | nn.ModuleList)
        holds_head = any(within(h, (name,)) for h in head)
        names += _open(child, f"{name}.", head) if container or holds_head else [name]
    return names


def block_of(parameter: str, names: tuple[str, ...]) -> int | None:
    """Returns the index of the block that a parameter belongs to, None for a root-level one."""
    return next((i for i, name in enumerate(names) if within(parameter, (name,))), None)
