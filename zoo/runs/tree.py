"""A nested state (dicts, lists, tensors, plain values) as JSON plus named tensors, no pickle."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["join", "split"]


def split(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Returns the state with each tensor replaced by a reference, and the tensors by name.

    The tensors are those of the state, no copies. Dicts may have any plain keys; tuples and
    non-finite floats survive the round trip.

    >>> import torch
    >>> tree, tensors = split({"step": 3, "momentum": [torch.ones(2)]})
    >>> join(tree, tensors)
    {'step': 3, 'momentum': [tensor([1., 1.])]}
    """
    tensors: dict[str, Tensor] = {}
    return _taken_apart(state, tensors), tensors


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Returns a value without its tensors, which are added to ``tensors``."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach()
        return {"$tensor": name}
    if isinstance(value, dict):
        pairs = value.items()
        return {"$dict": [[_taken_apart(part, tensors) for part in pair] for pair in pairs]}
    if isinstance(value, tuple):
        return {"$tuple": [_taken_apart(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_taken_apart(item, tensors) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return {"$float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state cannot hold {type(value).__name__} {value!r:.60}")


def join(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Returns the state that :func:`split` took apart."""
    if isinstance(tree, list):
        return [join(item, tensors) for item in tree]
    if isinstance(tree, dict):
        ((tag, content),) = tree.items()
        if tag == "$tensor":
            return tensors[content]
        if tag == "$dict":
            return {join(key, tensors): join(item, tensors) for key, item in content}
        if tag == "$tuple":
            return tuple(join(item, tensors) for item in content)
        return float(content)
    return tree
