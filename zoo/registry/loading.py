"""From a chosen component to what its target makes. Only here is plugin code imported."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import traceback
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from zoo.errors import PluginError, ZooError
from zoo.plugin import fold
from zoo.registry.names import Entry
from zoo.registry.specs import Choice

__all__ = ["build", "call", "load_target"]


def load_target(entry: Entry) -> Any:
    """Imports what a component's target names.

    Raises:
        PluginError: A required package is missing, or the import fails.
    """
    component = entry.component
    missing = [name for name in component.requires if importlib.util.find_spec(name) is None]
    if missing:
        raise PluginError(
            f"the {component.kind} {entry.id} needs {', '.join(missing)}, which is not installed",
            hint=f"pip install {_installable(entry, missing)}",
        )
    module_name, _, path = component.target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise _failed(entry, f"cannot import {component.target}", error) from error
    return found


def _installable(entry: Entry, missing: list[str]) -> str:
    """Returns what to give pip: the extra of the plugin's package that brings what is missing.

    An extra that is named as the component or as the missing package, else the packages.
    """
    distribution = entry.plugin.distribution
    try:
        extras = {fold(extra) for extra in metadata(distribution).get_all("Provides-Extra") or ()}
    except PackageNotFoundError:
        extras = set()
    for name in (entry.component.name, *missing):
        if fold(name) in extras:
            return f"'{distribution}[{fold(name)}]'"
    return " ".join(missing)


def build(choice: Choice, **facts: object) -> Any:
    """Calls a chosen component's target with its preset, arguments and the facts that it names.

    Raises:
        PluginError: The target raises something that is not a ZooError.
    """
    entry = choice.entry
    given: dict[str, object] = {**entry.component.preset, **choice.arguments}
    return call(entry, load_target(entry), given, facts)


def call(entry: Entry, function: Any, given: dict[str, object], facts: dict[str, object]) -> Any:
    """Calls a function of a plugin with all of ``given`` and those of ``facts`` that it names."""
    try:
        accepted = inspect.signature(function).parameters
        taken = {name: value for name, value in facts.items() if name in accepted}
        return function(**given, **taken)
    except ZooError:
        raise
    except Exception as error:
        raise _failed(entry, "failed", error) from error


def _failed(entry: Entry, what: str, error: BaseException) -> PluginError:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    text = " ".join(str(error).split())
    return PluginError(
        f"the {entry.component.kind} {entry.id} {what}",
        found=f"{type(error).__name__}: {text[:300]}{where}",
        hint=f"report it to the authors of {entry.origin}, or choose another; --debug shows all",
    )
