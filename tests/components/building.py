"""What the tests of components share: a target built as the core builds it, a state taken apart."""

from __future__ import annotations

import inspect
import json
from importlib import import_module

import torch

from zoo.plugin import Component


def target_of(component: Component):
    module, _, attribute = component.target.partition(":")
    return getattr(import_module(module), attribute)


def build(component: Component, facts: dict | None = None, **arguments):
    """Calls the target with defaults, preset, arguments and the facts that its signature names."""
    target = target_of(component)
    wanted = inspect.signature(target).parameters
    chosen = {param.name: param.default for param in component.params}
    chosen |= dict(component.preset) | arguments
    chosen |= {name: fact for name, fact in (facts or {}).items() if name in wanted}
    return target(**chosen)


def through_files(state: dict) -> dict:
    """Takes an optimizer's state through JSON and separate tensors, as a checkpoint does.

    What is neither tensor nor JSON raises TypeError. Tuples become lists.
    """
    tensors: list[torch.Tensor] = []

    def take(value):
        if isinstance(value, torch.Tensor):
            tensors.append(value.detach().clone())
            return {"tensor": len(tensors) - 1}
        if isinstance(value, dict):
            return {"items": [[key, take(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return [take(item) for item in value]
        return value

    def give(value):
        if isinstance(value, dict):
            if "tensor" in value:
                return tensors[value["tensor"]]
            return {key: give(item) for key, item in value["items"]}
        if isinstance(value, list):
            return [give(item) for item in value]
        return value

    kept = {key: state[key] for key in ("state", "param_groups")}
    return give(json.loads(json.dumps(take(kept), allow_nan=False)))
