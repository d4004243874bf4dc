"""Spec strings: ``NAME``, ``NAME-VALUE-VALUE`` and ``NAME:key=value,key=value``.

An exact name always wins over the shorthand, so ``vit-b-16`` is a model and ``SGDR-10-2`` is SGDR
with two arguments. Values read ``1e-3``, ``-1``, ``true``, ``none``, ``[30,80]`` and, in a
shorthand, ``30,80``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo.errors import SpecError, UsageError, printable
from zoo.plugin import Param, Value, plural
from zoo.registry.names import Entry, Registry
from zoo.registry.notices import tell_of

__all__ = [
    "Choice",
    "format_value",
    "parse_choice",
    "parse_choices",
    "parse_pairs",
    "parse_value",
    "split_joined",
]

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(_NUMBER)
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "none": None}
_SHORT_VALUE = re.compile(rf"-({_NUMBER}(?:,{_NUMBER})*|true|false|none)(?=-|$)", re.IGNORECASE)
# The + of an exponent (1e+3) does not join two specs.
_JOIN = re.compile(r"(?<![0-9.][eE])\+")


@dataclass(frozen=True, slots=True)
class Choice:
    """A component that was chosen, and the arguments that the user gave it.

    Args:
        entry: The component and its plugin.
        arguments: Every declared param with its value, defaults filled in.
    """

    entry: Entry
    arguments: Mapping[str, Value] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        """The full form: ``namespace/name:key=value,...`` with every argument that has a value.

        ``none`` is written where it is not the default. A deprecated argument that has its default
        is left out: who repeats this would be warned of what nobody set.
        """
        params = {param.name: param for param in self.entry.component.params}
        given = []
        for key, value in self.arguments.items():
            param = params.get(key)
            is_default = param is not None and value == param.default
            if is_default and (value is None or (param is not None and param.deprecated)):
                continue
            if value is not None or param is not None:
                given.append(f"{key}={format_value(value)}")
        return self.entry.id + (":" + ",".join(given) if given else "")


def parse_choice(registry: Registry, kind: str, text: str) -> Choice:
    """Returns the component and arguments that a spec string means.

    Raises:
        UnknownName, AmbiguousName: The name does not resolve.
        SpecError: The arguments do not parse, are unknown, or are out of range; all at once.
    """
    text = text.strip()
    if not text:
        raise SpecError(f"the {kind} is empty", hint=f"zoo list {plural(kind)}")
    entry, given = _resolved(registry, kind, text)
    choice = _bind(entry, given, text)
    tell_of(entry, given, registry.builtin_names(kind))
    return choice


def _resolved(registry: Registry, kind: str, text: str) -> tuple[Entry, dict[str, Value]]:
    """Returns what a spec names and which arguments it gives, unchecked."""
    if (entry := registry.get(kind, text)) is not None:
        return entry, {}
    name, colon, tail = text.partition(":")
    if colon:
        entry = registry.find(kind, name)
        return entry, _read(entry, _pairs(tail, text))
    for end in reversed([match.start() for match in re.finditer("-", text)]):
        if end and (entry := registry.get(kind, text[:end])) is not None:
            if not entry.component.shorthand and registry.get(kind, text.replace("-", "")):
                break  # resnet-50 is a slip for resnet50, and no resnet with a value
            return entry, _short(entry, text[end:], text)
    return registry.find(kind, text), {}  # raises UnknownName


def parse_choices(registry: Registry, kind: str, text: str) -> tuple[Choice, ...]:
    """Returns the components of a spec that joins several with ``+``: ``flip+rotate-15``."""
    return tuple(parse_choice(registry, kind, part) for part in split_joined(text))


def split_joined(text: str) -> list[str]:
    """Returns the specs that ``+`` joins.

    >>> split_joined("flip+erase:p=1e+0")
    ['flip', 'erase:p=1e+0']
    """
    return _JOIN.split(text)


def parse_value(text: str) -> Value:
    """Returns what one value of a spec string says.

    >>> parse_value("1e-3"), parse_value("[30,80]"), parse_value("none"), parse_value("mean")
    (0.001, (30, 80), None, 'mean')
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        items = [parse_value(item) for item in text[1:-1].split(",") if item.strip()]
        return tuple(item for item in items if not isinstance(item, tuple))
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) > 40:  # int() of a million digits would take minutes
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def format_value(value: Value) -> str:
    """Returns the text that :func:`parse_value` reads as this value."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(format_value, value)) + "]"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _short(entry: Entry, tail: str, text: str) -> dict[str, Value]:
    """Reads ``-10-2`` by the component's shorthand."""
    component = entry.component
    if not component.shorthand:
        raise SpecError(
            f"{printable(text)!r}: {component.name} takes no values after its name",
            found=_takes(entry),
            hint=f"zoo show {component.kind} {component.name}",
        )
    values: list[Value] = []
    position = 0
    while position < len(tail) and (match := _SHORT_VALUE.match(tail, position)):
        values.append(parse_value(f"[{match[1]}]" if "," in match[1] else match[1]))
        position = match.end()
    form = component.name + "".join(f"-<{name}>" for name in component.shorthand)
    if position < len(tail) or len(values) > len(component.shorthand):
        raise SpecError(
            f"{printable(text)!r} does not read as {form}",
            found=_takes(entry),
            hint=f"zoo show {component.kind} {component.name}",
        )
    return dict(zip(component.shorthand, values, strict=False))


def parse_pairs(tail: str, text: str) -> dict[str, Value]:
    """Reads ``key=value,key=[1,2]``.

    Args:
        tail: The pairs.
        text: What messages show: all that the user typed.

    Raises:
        SpecError: A pair without ``=``, or a key that is given twice.
    """
    return {key: parse_value(value) for key, value in _pairs(tail, text).items()}


def _pairs(tail: str, text: str) -> dict[str, str]:
    """Returns the values of the pairs as they are written."""
    given: dict[str, str] = {}
    for part in re.findall(r"(?:\[[^\]]*\]|[^,\[])+", tail):
        key, equals, value = part.partition("=")
        key = key.strip().lower().replace("-", "_")
        if not equals or not key:
            raise SpecError(
                f"{printable(text)!r}: {printable(part)!r} is not key=value",
                hint="write NAME:key=value,key=value",
            )
        if key in given:
            raise SpecError(f"{printable(text)!r}: {printable(key)!r} is given twice")
        given[key] = value.strip()
    return given


def _read(entry: Entry, pairs: Mapping[str, str]) -> dict[str, Value]:
    """Returns the values that pairs say. A text stays as it is written: 007 is no number there."""
    texts = {param.name for param in entry.component.params if param.type == "str"}
    return {
        key: _text(value) if key in texts else parse_value(value) for key, value in pairs.items()
    }


def _text(value: str) -> str | None:
    return None if value.lower() == "none" else value


def _bind(entry: Entry, given: Mapping[str, Value], text: str) -> Choice:
    """Checks the given arguments against the declared params, all problems together."""
    declared = {param.name: param for param in entry.component.params}
    problems: list[UsageError] = []
    arguments: dict[str, Value] = {name: param.default for name, param in declared.items()}
    for name, value in given.items():
        if name not in declared:
            problems.append(SpecError(
                f"{printable(text)!r}: {entry.component.name} has no argument {printable(name)!r}",
                found=_takes(entry), hint=f"zoo show {entry.component.kind} {entry.component.name}",
            ))  # fmt: skip
            continue
        try:
            arguments[name] = coerce(declared[name], value)
        except ValueError as error:
            problems.append(SpecError(f"{printable(text)!r}: {name} {error}", found=_takes(entry)))
    if problems:
        raise UsageError.together(problems)
    return Choice(entry, arguments)


def coerce(param: Param, value: Value) -> Value:
    """Returns the value as the param's type.

    Raises:
        ValueError: It has another type or is out of range. The message continues "NAME ...".
    """
    if value is None:
        if param.optional or param.default is None:
            return None
        raise ValueError(f"is none, and must be a {param.type}")
    if param.type.endswith("list"):
        items = value if isinstance(value, tuple) else (value,)
        return tuple(_scalar(param, param.type.removesuffix(" list"), item) for item in items)
    return _scalar(param, param.type, value)


def _scalar(param: Param, type_name: str, value: Value) -> bool | int | float | str:
    shown = printable(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    result: bool | int | float | str
    if type_name == "bool" and isinstance(value, bool):
        result = value
    elif type_name == "int" and number and value % 1 == 0:  # type: ignore[operator]  # a number
        result = int(value)  # type: ignore[arg-type]  # a number
    elif type_name == "float" and number:
        result = _as_float(value)  # type: ignore[arg-type]  # a number
    elif type_name == "str" and isinstance(value, str | int | float):
        result = value if isinstance(value, str) else format_value(value)
    else:
        raise ValueError(
            f"is {shown}, and must be {'an' if type_name == 'int' else 'a'} {type_name}"
        )
    allowed = result in param.choices if param.choices else _in_range(param, result)
    if not allowed:
        raise ValueError(f"is {shown}, and must be {param.range or 'finite'}")
    return result


def _as_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return float("inf")


def _in_range(param: Param, value: bool | int | float | str) -> bool:
    if isinstance(value, str | bool):
        return True
    return (
        abs(value) != float("inf")
        and (param.minimum is None or value >= param.minimum)
        and (param.maximum is None or value <= param.maximum)
        and (param.above is None or value > param.above)
        and (param.below is None or value < param.below)
    )


def _takes(entry: Entry) -> str:
    """Says which arguments a component takes, with ranges and defaults."""
    if not entry.component.params:
        return f"{entry.component.name} takes no arguments"
    return "it takes " + ", ".join(
        f"{p.name} ({p.type}{', ' + p.range if p.range else ''}, default {format_value(p.default)})"
        for p in entry.component.params
    )
