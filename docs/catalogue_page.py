"""The catalogue of zoo's own components as a page."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from zoo.plugin import KINDS, Component, fold, plural
from zoo.registry import Entry, Registry, discover
from zoo.registry.settings import Settings
from zoo.registry.specs import format_value

__all__ = ["MOVING", "builtin_registry", "catalogue", "section"]

MOVING = ("timm", "torchvision")
"""Packages whose models are counted: other versions of them have others."""

_INTRO = """\
# Catalogue

What zoo brings, kind by kind. `zoo list KIND` prints the same for what is installed with you,
plugins of others included; `zoo show KIND NAME` has the range of each parameter. This page is made
by `python -m docs.build_pages`.

Where two plugins have a name, it means the first one's here; `plugin/name` is always exact.
Parameters have their defaults; those in bold are the ones that the short form sets, in its order.
**needs** is the extra to install besides zoo, as in `pip install 'classifier-zoo[interpret]'`, or a
package where no extra has it.
"""

_IMPORTED_AS = {"pytorch_grad_cam": "grad-cam", "sklearn": "scikit-learn"}
"""Packages of extras whose modules have other names."""

_WHAT = {
    "model": "networks with random or pretrained weights",
    "head": "classifiers in the place of a network's own",
    "loss": "what training makes small",
    "optimizer": "how weights follow the gradient",
    "scheduler": "the learning rate over time",
    "transform": "augmentation, and mixing of images",
    "dataset": "images by name",
    "metric": "how good predictions are",
    "explainer": "which parts of an image speak for a class",
    "projector": "embeddings on a plane",
    "reviewer": "labels that may be wrong",
    "callback": "who listens to a run",
    "exporter": "a trained network in another format",
    "recipe": "named configurations",
    "command": "more commands of the command line",
}


def builtin_registry() -> Registry:
    """Returns the components of zoo's own plugins, whatever else is installed."""
    settings = Settings(only=frozenset())
    return Registry([plugin for plugin in discover(settings) if plugin.builtin], settings=settings)


def catalogue(registry: Registry) -> str:
    """Returns the whole page."""
    made_with = ", ".join(f"{name} {version(name)}" for name in MOVING)
    rows = [
        f"| [{plural(kind)}](#{plural(kind)}) | {sum(1 for _ in registry.entries(kind)):,} "
        f"| {_WHAT.get(kind, '')} |"
        for kind in KINDS
    ]
    head = f"{_INTRO}\nModels are those of {made_with}.\n\n| kind | count | what |\n"
    table = "\n".join(["| --- | --- | --- |", *rows])
    return head + table + "\n" + "".join(f"\n{section(registry, kind)}\n" for kind in KINDS)


def section(registry: Registry, kind: str) -> str:
    """Returns the part of one kind."""
    entries = list(registry.entries(kind))
    title = f"## {plural(kind)}\n\n[How to write one](kinds/{kind}.md)."
    if not entries:
        return f"{title} zoo brings none."
    return f"{title}\n\n" + (_families(entries) if kind == "model" else _table(entries))


def _table(entries: list[Entry]) -> str:
    """Returns a row for each component, plugins one after the other, with the columns in use."""
    columns = {
        "name": lambda entry: f"`{entry.component.name}`",
        "what": lambda entry: _cell(entry.component.summary),
        "parameters": lambda entry: _parameters(entry.component),
        "also": lambda entry: _also(entry.component),
        "needs": lambda entry: _needs(entry.component),
    }
    parts = []
    for plugin in dict.fromkeys(entry.plugin.namespace for entry in entries):
        own = [entry for entry in entries if entry.plugin.namespace == plugin]
        cells = {name: [text(entry) for entry in own] for name, text in columns.items()}
        used = [name for name in cells if any(cells[name])]
        lines = [
            f"| {' | '.join(used)} |",
            "|" + " --- |" * len(used),
            *(f"| {' | '.join(row)} |" for row in zip(*(cells[n] for n in used), strict=True)),
        ]
        parts.append(f"### {plugin}, {_counted(own)}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _families(entries: list[Entry]) -> str:
    """Returns a row for each family of networks: a page of 1,400 lines would be read by nobody."""
    parts = []
    for plugin in dict.fromkeys(entry.plugin.namespace for entry in entries):
        own = [entry for entry in entries if entry.plugin.namespace == plugin]
        families: dict[str, list[Component]] = {}
        for entry in own:
            tags = entry.component.tags
            families.setdefault(tags[0] if tags else "other", []).append(entry.component)
        lines = ["| family | count | such as | also |", "| --- | --- | --- | --- |"]
        for family, members in sorted(families.items()):
            shown = _spread([member.name for member in members])
            also = [alias for member in members for alias in member.aliases]
            lines.append(f"| {family} | {len(members):,} | {_codes(shown)} | {_codes(also)} |")
        parts.append(f"### {plugin}, {_counted(own)}\n\n{_extra_of(own)}" + "\n".join(lines))
    return "\n\n".join(parts)


def _extra_of(entries: list[Entry]) -> str:
    """Returns a sentence where all of a plugin's networks need the same."""
    first, *others = {_needs(entry.component) for entry in entries}
    return f"All of them need the extra `{first}`.\n\n" if first and not others else ""


def _needs(component: Component) -> str:
    """Returns the extra that brings what a component requires besides zoo's own dependencies.

    Where no extra does: the packages.
    """
    extras = _packages()
    names = [_IMPORTED_AS.get(name, name) for name in component.requires]
    missing = {fold(name) for name in names} - extras[""]
    for extra, packages in extras.items():
        if missing and (missing <= packages or fold(extra) in missing):
            return extra
    return ", ".join(name for name in names if fold(name) in missing)


@functools.cache
def _packages() -> Mapping[str, frozenset[str]]:
    """Returns the packages of each extra in pyproject.toml, and under "" those of zoo itself."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: frozenset(fold(re.split(r"[\[<>=!~ ;]", line)[0]) for line in lines)
        for extra, lines in listed.items()
        if extra != "test"
    }


def _spread(names: list[str], most: int = 3) -> list[str]:
    """Returns the first, the middle and the last of many names."""
    if len(names) <= most:
        return names
    return [names[round(place * (len(names) - 1) / (most - 1))] for place in range(most)]


def _parameters(component: Component) -> str:
    """Returns parameters with their defaults; those of the short form come first, in bold."""
    short = list(component.shorthand)
    by_name = {param.name: param for param in component.params}
    ordered = [*short, *(name for name in by_name if name not in short)]
    return ", ".join(
        f"{'**' if name in short else ''}{name}{'**' if name in short else ''}"
        f"={_cell(format_value(by_name[name].default))}"
        for name in ordered
    ).replace("_", r"\_")


def _also(component: Component) -> str:
    return _codes(component.aliases)


def _codes(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _counted(entries: list[Entry]) -> str:
    return f"{len(entries):,}"


def _cell(text: str) -> str:
    """Returns text that is safe in a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
