"""What is required of every declaration, whatever its kind."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from zoo.errors import ZooError
from zoo.plugin import Component, Param, Value, fold
from zoo.registry import Choice, Registry, load_target, parse_choice
from zoo.registry.specs import coerce, format_value
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS", "FACTS"]

FACTS: Mapping[str, frozenset[str] | None] = MappingProxyType(
    {
        "model": frozenset({"num_classes", "channels", "image_size"}),
        "head": frozenset({"num_features", "num_classes"}),
        "loss": frozenset({"num_classes", "class_weight_K"}),
        "optimizer": frozenset({"params", "lr", "weight_decay"}),
        "scheduler": frozenset({"epochs", "lr"}),
        "transform": frozenset(),
        "dataset": frozenset({"seed", "split", "on_bad", "unsplit"}),
        "metric": frozenset({"num_classes", "multi_label"}),
        "explainer": frozenset({"head"}),
        "projector": frozenset({"seed"}),
        "reviewer": frozenset(),
        "callback": frozenset({"run_path"}),
        "exporter": frozenset({"classes", "preprocessing", "rebuild"}),
        "recipe": frozenset(),
        "command": None,
    }
)
"""What the core hands to a target of each kind, if its signature names it. None: not called."""

_LONGEST_SUMMARY = 120


def declaring_imports_nothing_heavy(subject: Subject) -> None:
    """Importing the plugin and asking for its components imports no torch, numpy or the like."""
    module = subject.entry.plugin.module
    loaded = sys.modules.get(module.partition(":")[0])
    if loaded is not None and loaded.__spec__ is None:
        raise NotApplicable("the plugin is a module that the running process made")
    told = _asked_in_a_child(module, tuple(sys.path))
    lines = []
    for found in told.get("imports", ()):
        through = f" (imported by {found['through']})" if found["through"] else ""
        lines.append(f"{found['by']} imports {found['package']}{through}")
    if lines:
        raise AssertionError(
            f"declaring {subject.entry.plugin.namespace} imports what takes long to import, so "
            f"every command of zoo would take as long: {'; '.join(lines)}. Import it in the "
            "target's module, which is imported when a component is chosen"
        )
    if told.get("error"):
        raise AssertionError(f"in a process of its own the plugin fails: {told['error']}")


@lru_cache(maxsize=8)
def _asked_in_a_child(module: str, path: tuple[str, ...]) -> Any:
    """Returns what :mod:`zoo.testing.import_blocker` found, once for all components of a plugin."""
    done = subprocess.run(
        [sys.executable, "-m", "zoo.testing.import_blocker", module],
        capture_output=True, text=True, timeout=120, check=False, encoding="utf-8",
        errors="replace", env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
    )  # fmt: skip
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = " ".join(done.stderr.split()[-30:])
        return {"error": f"the process ended with code {done.returncode}: {last}"}


def target_resolves(subject: Subject) -> None:
    """The target can be imported, and can be called (a recipe may be a mapping)."""
    target = load_target(subject.entry)
    if not callable(target) and not (
        subject.component.kind == "recipe" and isinstance(target, Mapping)
    ):
        raise AssertionError(
            f"the target {subject.component.target} is {type(target).__name__}, not a factory"
        )


def package_contains_target(subject: Subject) -> None:
    """The installed package lists the files of the declaration and of the target as its own."""
    plugin = subject.entry.plugin
    try:
        package = distribution(plugin.distribution)
    except (PackageNotFoundError, ValueError):
        raise NotApplicable("the plugin is not installed as a package") from None
    if _is_editable(package):
        raise NotApplicable("the package is installed in editable form, which has every file")
    files = {PurePosixPath(*file.parts) for file in package.files or ()}
    for module in (plugin.module.partition(":")[0], subject.component.target.partition(":")[0]):
        root = PurePosixPath(module.partition(".")[0])
        elsewhere = root.name != plugin.module.partition(".")[0].partition(":")[0]
        if elsewhere and not any(root in file.parents or file.stem == root.name for file in files):
            raise NotApplicable(f"the target is in {root}, which another package brings")
        path = PurePosixPath(*module.split("."))
        if not any(file == path / "__init__.py" or _is_module(file, path) for file in files):
            raise AssertionError(
                f"{plugin.distribution} {plugin.version} does not contain {path}.py, which "
                f"{subject.id} needs: whoever installs the package gets a component that cannot "
                "be imported. Add it to what the build puts into the wheel"
            )


def _is_module(file: PurePosixPath, path: PurePosixPath) -> bool:
    """Whether a file is that module: Python source, or compiled for some machine."""
    return file.parent == path.parent and (
        file.name == f"{path.name}.py"
        or (file.name.startswith(f"{path.name}.") and file.suffix in (".so", ".pyd"))
    )


def _is_editable(package: Distribution) -> bool:
    told = package.read_text("direct_url.json")
    found: Any = json.loads(told) if told else {}
    return bool(found.get("dir_info", {}).get("editable"))


def names_are_legal(subject: Subject) -> None:
    """The namespace and each param can be typed in a spec string, as the component's own name can.

    A namespace is letters and digits joined by - _ and dots, a param a word in lower case: spec
    strings and configuration files fold what they read. Names and aliases of components are
    refused by :class:`zoo.plugin.Component` itself.
    """
    namespace = subject.entry.plugin.namespace
    try:
        Component(kind="model", name=namespace, target="any:thing")
    except ValueError:
        raise AssertionError(
            f"the namespace {namespace!r} is not letters and digits joined by - _ ."
        ) from None
    for param in subject.component.params:
        if not param.name.isidentifier() or param.name != param.name.lower():
            raise AssertionError(
                f"the param {param.name!r} cannot be set by a spec string, which reads names in "
                f"lower case: call it {param.name.lower()!r}"
            )


def names_lead_to_one_component(subject: Subject) -> None:
    """Name and aliases mean this component alone in its plugin; a replacement is there."""
    component, plugin = subject.component, subject.entry.plugin
    own = [fold(name) for name in (component.name, *component.aliases)]
    if repeated := sorted({name for name in own if own.count(name) > 1}):
        raise AssertionError(f"{subject.id} declares {', '.join(repeated)} more than once")
    for other in plugin.components:
        if other is component or other.kind != component.kind:
            continue
        if both := sorted(set(own) & {fold(name) for name in (other.name, *other.aliases)}):
            raise AssertionError(
                f"{', '.join(both)} is a name or an alias of {other.name}, too, so it is unclear "
                "which one it means"
            )
    replacement = component.replaced_by
    if replacement is not None and replacement.partition("/")[0] == replacement:
        names = {fold(other.name) for other in plugin.components if other.kind == component.kind}
        if fold(replacement) not in names - {fold(component.name)}:
            raise AssertionError(
                f"it is replaced by {replacement!r}, and the plugin has no such {component.kind}"
            )


def summary_is_there(subject: Subject) -> None:
    """One line says what the component is, and another what each param does."""
    lines = {"the component": subject.component.summary}
    lines |= {f"the param {param.name}": param.summary for param in subject.component.params}
    for what, line in lines.items():
        if not line.strip():
            raise AssertionError(f"{what} has no summary, which zoo list and zoo show print")
        if len(line.splitlines()) > 1 or len(line) > _LONGEST_SUMMARY:
            raise AssertionError(
                f"the summary of {what} has {len(line.splitlines())} lines and {len(line)} "
                f"characters; one line of at most {_LONGEST_SUMMARY} fits a list"
            )


def params_fit_the_signature(subject: Subject) -> None:
    """Params and preset are arguments of the target, and it requires nothing that nobody gives."""
    facts = FACTS[subject.component.kind]
    target = load_target(subject.entry)
    given = {param.name for param in subject.component.params} | set(subject.component.preset)
    if facts is None or isinstance(target, Mapping):
        if given:
            raise AssertionError(f"{sorted(given)} are declared, but the target is never called")
        return
    accepted = _parameters(target)
    kinds = inspect.Parameter
    by_name = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    named = {p.name for p in accepted if p.kind in by_name}
    anything = any(p.kind is kinds.VAR_KEYWORD for p in accepted)
    if (unknown := sorted(given - named)) and not anything:
        raise AssertionError(
            f"{unknown} are declared, and {subject.component.target} has no such arguments: "
            f"it takes {sorted(named)}"
        )
    required = {
        p.name for p in accepted
        if p.default is kinds.empty and p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    }  # fmt: skip
    if missing := sorted(required - ((given | facts) & named)):
        raise AssertionError(
            f"{subject.component.target} requires {missing}, which is neither a param nor in the "
            f"preset, nor a fact of a {subject.component.kind} ({sorted(facts) or 'it has none'})"
        )


def _parameters(target: object) -> Sequence[inspect.Parameter]:
    try:
        return tuple(inspect.signature(target).parameters.values())  # type: ignore[arg-type]  # callable, as target_resolves proves
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the target has no signature that can be read: {error}") from error


def defaults_are_in_range(subject: Subject) -> None:
    """The default of each param is a value that a user could have set."""
    for param in subject.component.params:
        try:
            value = coerce(param, param.default)
        except ValueError as error:
            raise AssertionError(f"the default of {param.name} {error}") from None
        if value != param.default:
            raise AssertionError(
                f"the default of {param.name} is {param.default!r}, and its type {param.type} "
                f"makes it {value!r}"
            )


def shorthand_reads(subject: Subject) -> None:
    """``NAME-VALUE-VALUE`` sets the params that the shorthand names, one after the other."""
    component = subject.component
    if not component.shorthand:
        raise NotApplicable("it has no shorthand")
    if len(set(component.shorthand)) < len(component.shorthand):
        raise AssertionError(f"the shorthand {component.shorthand} names a param twice")
    params = {param.name: param for param in component.params}
    expected: dict[str, Value] = {}
    text = subject.entry.id
    for name in component.shorthand:
        value = next(_values(params[name]), None)
        shown = format_value(value).strip("[]")
        if params[name].type == "str" or not shown:
            raise AssertionError(
                f"the shorthand names {name}, a {params[name].type}: only numbers, true, false, "
                "none and lists of numbers can stand there"
            )
        text, expected[name] = f"{text}-{shown}", value
        _compare(subject, text, {**_defaults(subject), **expected})


def spec_string_round_trips(subject: Subject) -> None:
    """The full spec string that a run stores is read back as the same arguments."""
    _compare(subject, Choice(subject.entry, _defaults(subject)).spec, _defaults(subject))
    for param in subject.component.params:
        for value in _values(param):
            arguments = {**_defaults(subject), param.name: value}
            _compare(subject, Choice(subject.entry, arguments).spec, arguments)


def _compare(subject: Subject, text: str, expected: Mapping[str, Value]) -> None:
    """Requires that a spec string means these arguments of the component."""
    registry = Registry((subject.entry.plugin,))
    try:
        choice = parse_choice(registry, subject.component.kind, text)
    except ZooError as error:
        raise AssertionError(f"{text} does not parse: {error.what}") from None
    if choice.entry.component is not subject.component:
        raise AssertionError(f"{text} means {choice.entry.id}")
    wrong = {
        name: (choice.arguments.get(name), value)
        for name, value in expected.items()
        if choice.arguments.get(name) != value
    }
    for name, (read, meant) in wrong.items():
        raise AssertionError(f"{text} sets {name} to {read!r}, and {meant!r} was meant")


def _defaults(subject: Subject) -> dict[str, Value]:
    return {param.name: param.default for param in subject.component.params}


def _values(param: Param) -> Iterator[Value]:
    """Yields a few values that a user could set, other than the default first."""
    tries: list[Value] = [True, False, *param.choices, 2, 0.125, 3, 0.5, 1e-7, 40.0, "word"]
    tries += [param.minimum, param.maximum, (30, 80), (0.25, 0.5), param.default]
    seen: list[Value] = []
    for value in tries:
        try:
            fitting = coerce(param, value)
        except ValueError:
            continue
        if fitting is not None and fitting not in seen:
            seen.append(fitting)
    yield from sorted(seen, key=lambda value: value == param.default)
    if param.optional:
        yield None


CHECKS = (
    declaring_imports_nothing_heavy,
    target_resolves,
    package_contains_target,
    names_are_legal,
    names_lead_to_one_component,
    summary_is_there,
    params_fit_the_signature,
    defaults_are_in_range,
    shorthand_reads,
    spec_string_round_trips,
)
