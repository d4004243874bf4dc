"""From a chosen component to what its target makes. Only here is plugin code imported."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from zoo.errors import PluginError, ZooError, in_words
from zoo.garbage import collected_rarely
from zoo.plugin import fold
from zoo.registry.names import Entry
from zoo.registry.specs import Choice
from zoo.without_compiler import compiler_spared

__all__ = ["build", "call", "failure", "load_target"]


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
        with collected_rarely(), compiler_spared():
            found: Any = importlib.import_module(module_name)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise failure(entry, f"cannot import {component.target}", error) from error
    return found


_DISTRIBUTIONS = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python-headless",
    "open_clip": "open-clip-torch", "pytorch_grad_cam": "grad-cam", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "umap": "umap-learn", "yaml": "pyyaml",
}  # fmt: skip
"""Packages to install for modules that are named otherwise, among those that plugins ask for."""

_OF_EXTRA = re.compile(r"\s*([A-Za-z0-9._-]+).*;.*extra\s*==\s*['\"]([^'\"]+)['\"]")
_FOR_AUTHORS = ("dev", "docs", "test", "tests")


def _installable(entry: Entry, missing: list[str]) -> str:
    """Returns what to give pip for modules that are missing.

    The extra of the plugin's package that is named as the component or as a module, or that
    requires a module's package; else the packages. A module that nobody is known to bring is
    taken for a package of its own name, and that is said.
    """
    distribution = entry.plugin.distribution
    packages = [_DISTRIBUTIONS.get(name, name) for name in missing]
    try:
        described = metadata(distribution)
    except PackageNotFoundError:
        extras, required = set(), {}
    else:
        extras = {fold(extra) for extra in described.get_all("Provides-Extra") or ()}
        lines = map(_OF_EXTRA.match, described.get_all("Requires-Dist") or ())
        required = {fold(m[1]): fold(m[2]) for m in lines if m and m[2] not in _FOR_AUTHORS}
    for name in (entry.component.name, *missing, *packages):
        extra = fold(name) if fold(name) in extras else required.get(fold(name))
        if extra is not None:
            return f"'{distribution}[{extra}]'"
    guessed = [name for name in missing if name not in _DISTRIBUTIONS]
    if not guessed:
        return " ".join(packages)
    return f"{' '.join(packages)} (or the package that has the module {', '.join(guessed)})"


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
    import inspect

    try:
        accepted = inspect.signature(function).parameters
        taken = {name: value for name, value in facts.items() if name in accepted}
        return function(**given, **taken)
    except ZooError:
        raise
    except Exception as error:
        raise failure(entry, "failed", error) from error


def failure(entry: Entry, what: str, error: BaseException) -> PluginError:
    """Returns the error that says which component failed, why, and in which line of its package.

    Args:
        entry: The component.
        what: What it did, after its name: ``failed``.
        error: What its code raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    package = sys.modules.get(re.split("[.:]", entry.component.target)[0])
    own = (*getattr(package, "__path__", ()), getattr(package, "__file__", None) or "?")
    inside = [frame for frame in frames if frame.filename.startswith(own)]
    last = (inside or frames)[-1:]
    where = "".join(f" at {frame.filename}:{frame.lineno}" for frame in last)
    return PluginError(
        f"the {entry.component.kind} {entry.id} {what}",
        found=f"{in_words(error)}{where}",
        hint=f"report it to the authors of {entry.origin}, or choose another; --debug shows all",
    )
