"""What is known of a plugin, as data: in memory, and as the JSON that the index keeps of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from zoo.plugin import KINDS, Component, Param, ParamType, fold

__all__ = [
    "HOST",
    "PluginRecord",
    "check_component",
    "component_from",
    "fold_package",
    "plain",
]

HOST = "classifier-zoo"
"""The distribution whose plugins are built in."""

Status = Literal["ok", "disabled", "broken", "incompatible", "unread"]

_STRINGS = ("aliases", "tags", "shorthand", "requires")
_BOUNDS = ("minimum", "maximum", "above", "below")
_SCALARS = (bool, int, float, str)
_ROWS = (tuple, list)  # a list is taken for the tuple that it becomes
_TYPES = frozenset(get_args(ParamType))


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One plugin as it was found.

    Args:
        namespace: The entry point's name, first part of its components' ids.
        module: The entry point's value.
        distribution: The package that declares it.
        version: The package's version.
        api: The version of zoo's plugin API that it speaks.
        status: ``incompatible`` speaks another API version; ``disabled`` was not imported;
            ``unread`` is installed and was not read yet.
        cause: Why it is not ``ok``, in one line.
        origin: ``file:line`` where it broke.
        notes: What was skipped and why.
        components: What it provides; empty unless ``ok``.
        load_milliseconds: Time that importing and asking it took, when it was read.
        heavy_imports: Large packages that declaring its components imported.
        digest: SHA-256 of its code, of one that ``--plugin PATH`` brought in; else empty.
    """

    namespace: str
    module: str
    distribution: str
    version: str
    api: str = "v1"
    status: Status = "ok"
    cause: str = ""
    origin: str = ""
    notes: tuple[str, ...] = ()
    components: tuple[Component, ...] = ()
    load_milliseconds: float = 0.0
    heavy_imports: tuple[str, ...] = ()
    digest: str = ""

    @property
    def builtin(self) -> bool:
        """Whether zoo itself ships it."""
        return self.distribution == HOST

    def is_called(self, name: str) -> bool:
        """Whether a name is its namespace's, or its package's."""
        return fold(name) == fold(self.namespace) or (
            fold_package(name) == fold_package(self.distribution)
        )

    @property
    def provides(self) -> dict[str, list[str]]:
        """The names of its components by kind, in the order of :data:`zoo.plugin.KINDS`."""
        names: dict[str, list[str]] = {}
        for kind in KINDS:
            if found := [c.name for c in self.components if c.kind == kind]:
                names[kind] = found
        return names


def fold_package(name: str) -> str:
    """Returns the form under which packages are compared (PEP 503).

    >>> fold_package("Zoo_Acme.models")
    'zoo-acme-models'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def check_component(component: object) -> None:
    """Checks the types of everything in a component, which its constructor leaves to mypy.

    Raises:
        TypeError: It is no component, or a field has another type than it declares.
    """
    if not isinstance(component, Component):
        raise TypeError(f"yielded {_shown(component)}, not a Component")
    for name, holds, what in _CHECKS:
        if not holds(getattr(component, name)):
            shown = _shown(getattr(component, name))
            raise TypeError(f"{_shown(component.name)}: {name} is {shown}, not {what}")
    for param in component.params:
        for name, holds, what in _PARAM_CHECKS:
            if not holds(getattr(param, name)):
                shown = _shown(getattr(param, name))
                where = f"{component.name}: param {_shown(param.name)}"
                raise TypeError(f"{where}: {name} is {shown}, not {what}")


def plain(component: Component) -> dict[str, object]:
    """Returns a component as what JSON can say, without the fields that have their default."""
    table = _without_defaults(component)
    if component.params:
        table["params"] = [_without_defaults(param) for param in component.params]
    if "preset" in table:
        table["preset"] = dict(component.preset)
    return table


def component_from(table: object) -> Component:
    """Returns the component that :func:`plain` wrote, checked as if it had just been declared.

    Raises:
        TypeError, ValueError: It is not of that form, or not a legal component.
    """
    given = _known(table, Component)
    for name in _STRINGS:
        if name in given:
            given[name] = _tuple(given[name])
    if "params" in given:
        given["params"] = tuple(_param_from(one) for one in _tuple(given["params"]))
    if "preset" in given:
        preset = given["preset"]
        if not isinstance(preset, dict):
            raise TypeError("preset is not a table")
        given["preset"] = MappingProxyType({k: _value(v) for k, v in preset.items()})
    component = Component(**cast("dict[str, Any]", given))
    check_component(component)
    return component


def _param_from(table: object) -> Param:
    given = _known(table, Param)
    if "default" in given:
        given["default"] = _value(given["default"])
    if "choices" in given:
        given["choices"] = tuple(_value(one) for one in _tuple(given["choices"]))
    return Param(**cast("dict[str, Any]", given))


def _without_defaults(record: Component | Param) -> dict[str, object]:
    """Returns the fields of a record that differ from their defaults, by type as well as value."""
    table: dict[str, object] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if type(value) is not type(default) or value != default:
            table[field.name] = value
    return table


def _known(table: object, form: type[Component | Param]) -> dict[str, object]:
    if not isinstance(table, dict) or not _FIELDS[form].issuperset(table):
        raise TypeError(f"is not the table of a {form.__name__}")
    return dict(table)


def _tuple(value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{_shown(value)} is not a list")
    return tuple(value)


def _value(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _is_value(value: object) -> bool:
    """Whether it is what a spec string or a TOML file can say, of these very types."""
    if isinstance(value, _ROWS):
        return all(item is None or type(item) in _SCALARS for item in value)
    return value is None or type(value) in _SCALARS


def _all(form: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, _ROWS) and all(isinstance(item, form) for item in value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_preset(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and _is_value(item) for key, item in value.items()
    )


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    *((name, _is_text, "a string") for name in ("kind", "name", "target", "summary")),
    *((name, _all(str), "strings in a tuple") for name in _STRINGS),
    ("replaced_by", lambda value: value is None or isinstance(value, str), "a string"),
    ("params", _all(Param), "Params in a tuple"),
    ("preset", _is_preset, "a mapping of plain values"),
)
_PARAM_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("name", lambda value: isinstance(value, str) and value.isidentifier(), "a keyword"),
    ("type", lambda value: isinstance(value, str) and value in _TYPES, "a type of Param"),
    ("default", _is_value, "a plain value"),
    ("summary", _is_text, "a string"),
    ("choices", lambda value: isinstance(value, _ROWS) and all(map(_is_value, value)), "values"),
    ("optional", lambda value: isinstance(value, bool), "true or false"),
    ("deprecated", _is_text, "a string"),
    *((name, lambda value: isinstance(value, int | float | None), "a number") for name in _BOUNDS),
)
_FIELDS = {form: frozenset(field.name for field in fields(form)) for form in (Component, Param)}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else f"{type(value).__name__} {value!r:.80}"
