"""What the tests of components share: a target built as the core builds it."""

from __future__ import annotations

import inspect
from importlib import import_module

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
