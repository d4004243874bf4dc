"""What to say when a run was made with a component that is not there now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from zoo.errors import PluginError, printable
from zoo.plugin import KINDS, fold

if TYPE_CHECKING:
    from zoo.registry.names import Registry

__all__ = ["refuse_missing"]

_KINDS = {"data": "dataset"}


def refuse_missing(
    components: object, registry: Registry, *, run: object, parts: Iterable[str] | None = None
) -> None:
    """Raises an error if components that a run was made with are not there now.

    Args:
        components: What the run stores: for each part its ``spec`` and its ``package``. What is
            not of that form says nothing and is passed over.
        registry: The components that are there.
        run: What to call the run: its folder.
        parts: Only these parts, such as ``model``; None means all.

    Raises:
        PluginError: Some are missing. It names each package with its version, and how to have it.
    """
    if not isinstance(components, Mapping):
        return
    missing: dict[str, tuple[str, str]] = {}
    for part, component in components.items():
        if parts is not None and part not in parts:
            continue
        spec, package = _said(component)
        kind = _KINDS.get(part, part.partition("-")[0])
        name = spec.partition(":")[0]
        if kind in KINDS and name and registry.get(kind, name) is None:
            missing[f"the {kind} {name}"] = (name.partition("/")[0], package)
    if not missing:
        return
    causes, cures = [], []
    for what, (namespace, package) in missing.items():
        cause, cure = _explained(namespace, package, registry)
        causes.append(f"{what} of {printable(package)}: {cause}")
        cures.append(cure)
    named = ", ".join(printable(what) for what in missing)
    raise PluginError(
        f"the run {printable(run)} was made with {named}, which is not there now",
        found="; ".join(dict.fromkeys(map(printable, causes))),
        kept="the run as it is",
        hint="; ".join(dict.fromkeys(map(printable, cures))),
    )


def _explained(namespace: str, package: str, registry: Registry) -> tuple[str, str]:
    """Returns why a plugin's component is not there, and what to do about it."""
    distribution, _, wanted = package.rpartition(" ")
    if wanted.startswith("sha256:"):
        return (
            f"a file that --plugin named, {wanted}; --plugin PATH is missing",
            f"the same command with --plugin PATH/{distribution}",
        )
    pinned = f"pip install '{distribution}=={wanted}'"
    for record in registry.plugins:
        if fold(record.namespace) != fold(namespace) or record.builtin:
            continue
        if record.status == "disabled" and record.cause.startswith("disabled"):
            return "it is disabled", f"zoo plugins enable {record.namespace}"
        if record.status == "disabled":
            return f"it is {record.cause}", f"add {record.namespace} to ZOO_PLUGINS"
        if record.status != "ok":
            return f"it is {record.status}: {record.cause}", f"{pinned}; zoo doctor"
        if record.digest:
            return f"{record.distribution} declares it no more", "undo the change to that file"
        return f"{record.distribution} {record.version} does not have it", pinned
    try:
        there = version(distribution)
    except (PackageNotFoundError, ValueError):
        return "it is not installed", pinned
    if there == wanted:
        return f"{distribution} {there} is there, and its plugin is not", "zoo doctor"
    return f"{distribution} {there} has no such plugin", pinned


def _said(component: Any) -> tuple[str, str]:
    """Returns spec and package of one component as a run stores it."""
    if not isinstance(component, Mapping):
        return "", ""
    return str(component.get("spec", "")), str(component.get("package", ""))
