"""From a chosen component to what its target makes. Only here is plugin code imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from zoo.errors import PluginError, ZooError, as_zoo_error, in_words
from zoo.garbage import collected_rarely
from zoo.plugin import fold
from zoo.registry.names import Entry, Registry
from zoo.registry.specs import Choice
from zoo.without_compiler import compiler_spared

__all__ = [
    "blamed",
    "build",
    "build_as",
    "call",
    "failure",
    "load_target",
    "missing_packages",
    "of_a_plugin",
    "parameters_of",
]


def load_target(entry: Entry) -> Any:
    """Imports what a component's target names.

    Raises:
        PluginError: A required package is missing, or the import fails.
    """
    component = entry.component
    missing = missing_packages(component.requires)
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


def missing_packages(names: Iterable[str]) -> list[str]:
    """Returns those of the modules that cannot be imported. Imports none but their parents."""
    return [name for name in names if not _is_there(name)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing
        return False


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


def build_as(choice: Choice, what: str, fits: Callable[[Any], bool], **facts: object) -> Any:
    """Builds a component like :func:`build`, and holds what its target returns to its kind.

    Args:
        choice: The component.
        what: What the target has to return: ``a torch.nn.Module``.
        fits: Whether it did.
        facts: As for :func:`build`.

    Raises:
        PluginError: The target raises something that is not a ZooError, or returns another thing.
    """
    made = build(choice, **facts)
    if not fits(made):
        entry = choice.entry
        raise PluginError(
            f"the {entry.component.kind} {entry.id} is {type(made).__name__}, not {what}",
            hint=f"report it to the authors of {entry.origin}, or choose another",
        )
    return made


def parameters_of(entry: Entry) -> Collection[str]:
    """Returns the names of the parameters of a component's target."""
    import inspect

    return inspect.signature(load_target(entry)).parameters.keys()


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
    return PluginError(
        f"the {entry.component.kind} {entry.id} {what}",
        found=_words_and_place(entry, error),
        hint=f"report it to the authors of {entry.origin}, or choose another; --debug shows all",
    )


def _words_and_place(entry: Entry, error: BaseException) -> str:
    """Returns what an error says and the line of the component's package that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = _files_of(entry)
    inside = [frame for frame in frames if frame.filename.startswith(own)]
    last = (inside or frames)[-1:]
    where = "".join(f" at {frame.filename}:{frame.lineno}" for frame in last)
    return f"{in_words(error)}{where}"


def of_a_plugin(error: Exception) -> PluginError | None:
    """Returns what to tell of an error that an installed third-party plugin's code raised, if any.

    For whoever does not know which components were in use, see :func:`blamed`.
    """
    try:
        plugins = Registry.installed(read=False, builtins=False).plugins
    except ZooError:
        return None
    entries = [Entry(component, plugin) for plugin in plugins for component in plugin.components]
    if (entry := _culprit(entries, error)) is None:
        return None
    return PluginError(
        f"the plugin {entry.plugin.namespace} failed",
        found=_words_and_place(entry, error),
        hint=f"report it to the authors of {entry.origin}; --debug shows all",
    )


@contextmanager
def blamed(
    choices: Iterable[Choice], *, unless: Callable[[Exception], bool] = lambda error: False
) -> Iterator[None]:
    """Has an error that a third party's component raises inside the block name that component.

    Where zoo's own code is nearer to the error, what the component returned may be to blame, and
    the message says how to find out.

    Args:
        choices: The components that are used inside the block.
        unless: Whether an error is nobody's fault, as when memory runs out.

    Raises:
        PluginError: Instead of what a component's code raised.
        ZooError: Instead of what was raised while components of others were in use.
    """
    try:
        yield
    except ZooError:
        raise
    except Exception as error:
        theirs = [choice.entry for choice in choices if not choice.entry.plugin.builtin]
        told = as_zoo_error(error)
        if not theirs or unless(error) or type(told) is not ZooError:
            raise
        if (entry := _culprit(theirs, error)) is not None:
            raise failure(entry, "failed", error) from error
        names = ", ".join(dict.fromkeys(_checkable(entry) for entry in theirs))
        raise ZooError(
            f"this is a bug in zoo or in {', '.join(entry.id for entry in theirs)}: "
            f"{in_words(error)}",
            found=told.found,
            hint=f"zoo plugins check {names}; if that passes, {told.hint}",
        ) from error


def _checkable(entry: Entry) -> str:
    return entry.plugin.distribution if entry.plugin.digest else entry.plugin.namespace


def _culprit(entries: Iterable[Entry], error: Exception) -> Entry | None:
    """Returns whose code, of these and zoo's, an error is nearest to; None if it is zoo's."""
    theirs = [(entry, _files_of(entry)) for entry in entries]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(_OWN):
            return None
        for entry, files in theirs:
            if frame.filename.startswith(files):
                return entry
    return None


def _files_of(entry: Entry) -> tuple[str, ...]:
    """Returns what the names of the files of a target's package start with."""
    package = sys.modules.get(re.split("[.:]", entry.component.target)[0])
    folders = (os.path.join(folder, "") for folder in getattr(package, "__path__", ()))
    return (*folders, getattr(package, "__file__", None) or "?")


_OWN = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
