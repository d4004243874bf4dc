"""timm's optimizers as data, read from the source of the installed timm without importing it.

timm keeps them as records ``OptimInfo(name=..., opt_class=..., description=...)`` in one file;
importing that file would import torch. A test proves that what is read here equals
``timm.optim.list_optimizers()`` of the installed version.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.plugin import Component, Param

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["optimizer_components"]

TAGS: Mapping[str, str] = {
    # Takes second derivatives: the loss must be differentiated with create_graph=True.
    "Adahessian": "needs-create-graph",
    # Compiles its inner functions with torch.compile at the first step.
    "Kron": "needs-compiler",
}
"""What an optimizer class of timm needs beyond ``loss.backward()`` and ``step()``."""

REQUIRES: Mapping[str, str] = {
    # timm warns without it, and calls Kron unusable then in its own words.
    "Kron": "opt_einsum",
}
"""The package without which a class of timm is of no use, beside those that its path names."""


def optimizer_components() -> Iterable[Component]:
    """Yields a component for each name of timm's registry, in alphabetical order."""
    records = {record["name"]: record for record in _records(_source())}
    for name, record in sorted(records.items()):
        yield _component(str(name), record)


def _source() -> str:
    """Returns the part of timm's file that holds the records, empty without timm."""
    spec = find_spec("timm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "optim", "_optim_factory.py")
        if path.is_file():
            source = path.read_text(encoding="utf-8")
            # What stands before are the registry's classes: parsing them would double the time.
            return source[max(0, source.find("\ndef _register_")) :]
    return ""


def _records(source: str) -> Iterator[dict[str, object]]:
    """Yields the arguments of each record; an alias repeats those of its target."""
    found: dict[object, dict[str, object]] = {}
    aliases: list[tuple[object, object]] = []
    for call in _calls(ast.parse(source)):
        function = call.func
        if isinstance(function, ast.Name) and function.id == "OptimInfo":
            record = dict(
                zip(("name", "opt_class", "description"), map(_value, call.args), strict=False)
            )
            record.update({word.arg: _value(word.value) for word in call.keywords if word.arg})
            record["name"] = str(record["name"]).lower()
            found[record["name"]] = record
            yield record
        elif isinstance(function, ast.Attribute) and function.attr == "register_alias":
            alias, target = map(_value, call.args)
            aliases.append((alias, target))
    for alias, target in aliases:
        if target in found:
            yield {**found[target], "name": alias}


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yields the calls in the bodies of the file's functions, nested in lists or alone."""
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("_register"):
            for node in ast.walk(function):
                if isinstance(node, ast.Call):
                    yield node


def _value(node: ast.expr) -> object:
    """Returns a constant's value, and for a class the last part of its name."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _component(name: str, record: Mapping[str, object]) -> Component:
    path = str(record.get("opt_class", ""))
    package = path.partition(".")[0] if "." in path else REQUIRES.get(path, "")
    return Component(
        kind="optimizer",
        name=name,
        target="zoo_timm.optimizers:build",
        summary=" ".join(str(record.get("description", "")).split()),
        tags=tuple(tag for tag in (TAGS.get(path),) if tag),
        params=tuple(_params(record)),
        preset={"name": name},
        requires=(package,) if package else (),
    )


def _params(record: Mapping[str, object]) -> Iterator[Param]:
    """Yields what timm's record says that the optimizer takes."""
    if record.get("has_momentum"):
        yield Param(name="momentum", default=0.9, minimum=0, below=1, summary="momentum")
    if record.get("has_betas"):
        betas = record.get("num_betas", 2)
        for index in range(1, (betas if isinstance(betas, int) else 2) + 1):
            yield Param(
                name=f"beta{index}",
                minimum=0,
                below=1,
                optional=True,
                summary="decay of a running mean; none: the optimizer's own",
            )
    if record.get("has_eps", True):
        yield Param(name="eps", minimum=0, optional=True, summary="none: the optimizer's own")
