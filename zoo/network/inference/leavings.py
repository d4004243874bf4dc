"""What a pass leaves in a network's modules: threads that share it would take each other's.

A network may keep what it goes on with later in the same pass (``self.skip = x``). Two passes at
once then mix their images, and mostly raise nothing: parts are of one size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["Leavings", "leavings", "left_anew"]

Leavings: TypeAlias = "Mapping[tuple[str, str], object]"
"""By names of module and attribute."""

_PARTS = frozenset(vars(nn.Module()))
"""What every module has: its parameters, parts, hooks and mode."""


def leavings(model: nn.Module) -> Leavings:
    """Returns what the modules of a network hold besides parameters and parts, as it is now."""
    return {
        (name, key): _frozen(value)
        for name, module in model.named_modules()
        for key, value in (*vars(module).items(), *module._buffers.items())
        if key not in _PARTS
    }


def left_anew(before: Leavings, after: Leavings) -> str:
    """Returns the name of an attribute that is another one since; empty where there is none.

    Example:
        >>> network = nn.Flatten()
        >>> before = leavings(network)
        >>> network.number = 3
        >>> left_anew(before, leavings(network))
        'number'
    """
    for place in after:
        if place not in before or not _same(before[place], after[place]):
            return ".".join(filter(None, place))
    return ""


def _frozen(value: object) -> object:
    """Returns a value that stays what it is when something is written to it or put into it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(value) if isinstance(value, list | set) else value


def _same(one: object, two: object) -> bool:
    if one is two:
        return True
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    return type(one) is type(two) and bool(one == two)
