"""What plugins and scripts lean on stays as it is: compared with public_api.json beside this file.

After a change that is meant: ``python -m tests.registry.test_public_api`` writes the file anew.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest

FILE = Path(__file__).with_name("public_api.json")
COMMAND = "python -m tests.registry.test_public_api"
RULE = (
    "Additions are for a minor version. Anything else, and whatever plugins would have to have or "
    "to take besides, is for zoo.v2, or comes after warnings in two minor versions."
)

MODULES = ("zoo", "zoo.plugin", "zoo.protocols", "zoo.errors", "zoo.testing")


def public_api() -> dict[str, Any]:
    """Returns all that is public of what others import, as plain data."""
    found: dict[str, Any] = {}
    for name in MODULES:
        module = import_module(name)
        found[name] = {one: _described(getattr(module, one)) for one in sorted(module.__all__)}
    hook = import_module("zoo.plugin").HookSpec
    found["hooks"] = {
        name: _signature(function, method=True)
        for name, function in vars(hook).items()
        if inspect.isfunction(function)
    }
    return found


def _described(value: Any) -> Any:
    """Returns what a name is: a class with its members, a function, or a value."""
    if inspect.isclass(value):
        return _class(value)
    if inspect.isfunction(value):
        return _signature(value)
    if isinstance(value, str | int | float):
        return repr(value)
    if isinstance(value, tuple):
        return dict.fromkeys(map(str, value), "an item")
    if hasattr(value, "items"):
        return {str(key): str(item) for key, item in value.items()}
    if type(value).__name__ == "FixtureFunctionDefinition":
        return "a fixture of pytest"
    if type(value).__module__ == "typing" or isinstance(value, type(int | str)):
        return str(value)
    return f"{type(value).__module__}.{type(value).__name__}"


def _class(cls: type) -> dict[str, Any]:
    """Returns fields, attributes and methods that a class itself has; an error's exit code."""
    found: dict[str, Any] = {}
    bases = [base.__name__ for base in cls.__bases__ if base not in (object, Protocol)]
    if bases:
        found["bases"] = ", ".join(bases)
    if isinstance(getattr(cls, "exit_code", None), int):
        found["exit code"] = str(cls.exit_code)
    if dataclasses.is_dataclass(cls):
        found["fields"] = {field.name: _field(field) for field in dataclasses.fields(cls)}
    elif annotations := inspect.get_annotations(cls):
        found["attributes"] = {k: str(v) for k, v in annotations.items() if not k.startswith("_")}
    members: dict[str, Any] = {}
    for name, member in vars(cls).items():
        own = name in ("__call__", "__len__", "__getitem__") or (
            name == "__init__" and not dataclasses.is_dataclass(cls) and not _is_protocol(cls)
        )
        if name.startswith("_") and not own:
            continue
        if isinstance(member, property):
            members[name] = {"property": str(inspect.signature(member.fget).return_annotation)}
        elif isinstance(member, classmethod | staticmethod):
            members[name] = _signature(member.__func__, method=isinstance(member, classmethod))
        elif inspect.isfunction(member):
            members[name] = _signature(member, method=True)
    if members:
        found["members"] = members
    return found


def _is_protocol(cls: type) -> bool:
    return bool(getattr(cls, "_is_protocol", False))


def _field(field: dataclasses.Field[Any]) -> str:
    """Returns type and default of a field."""
    default = ""
    if field.default is not dataclasses.MISSING:
        default = f" = {field.default!r}"
    elif field.default_factory is not dataclasses.MISSING:
        default = " = ..."
    return f"{field.type}{default}"


def _signature(function: Any, *, method: bool = False) -> dict[str, Any]:
    """Returns each argument with how it is passed, its type and default, and what is returned."""
    signature = inspect.signature(function)
    arguments = {}
    for place, (name, one) in enumerate(signature.parameters.items()):
        if method and place == 0:
            continue
        how = f"at place {place + 1 - method}, "
        if one.kind is one.KEYWORD_ONLY:
            how = "by name, "
        elif one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            how = "any number, "
        default = "" if one.default is one.empty else f" = {_plain(one.default)}"
        arguments[name] = f"{how}{_annotation(one.annotation)}{default}"
    return {"arguments": arguments, "returns": _annotation(signature.return_annotation)}


def _annotation(annotation: Any) -> str:
    return "anything" if annotation is inspect.Signature.empty else str(annotation)


def _plain(value: Any) -> str:
    """Returns a default without an address in memory."""
    return value.__name__ if callable(value) else repr(value)


# ---- comparing --------------------------------------------------------------------------------


def flat(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Returns the leaves of nested tables by their paths; an empty table is a leaf."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree if isinstance(tree, str) else ""}
    return {
        key: value for name, one in tree.items() for key, value in flat(one, (*path, name)).items()
    }


def compared(before: Any, now: Any) -> tuple[list[str], list[str]]:
    """Returns what was added, and what breaks plugins or scripts, a line each."""
    old, new = flat(before), flat(now)
    added, breaking = [], []
    for path in sorted({*old, *new}):
        name = " > ".join(path)
        if path not in new:
            breaking.append(f"- {name}: {old[path]}")
        elif path not in old:
            line = f"+ {name}: {new[path]}"
            (breaking if _asks_for_more(path, new[path], old) else added).append(line)
        elif old[path] != new[path]:
            breaking.append(f"- {name}: {old[path]}\n+ {name}: {new[path]}")
    return added, breaking


def _asks_for_more(path: tuple[str, ...], value: str, old: dict[tuple[str, ...], str]) -> bool:
    """Whether something new is asked of what exists: an argument or a field without a default.

    What a protocol has besides, plugins of today do not have, and what zoo passes besides, they do
    not take.
    """
    known = any(other[:2] == path[:2] for other in old)
    if not known:
        return False
    if path[0] in ("zoo.protocols", "hooks") and "fields" not in path:
        return path[1] != "EVENTS"
    new_member = not any(other[:4] == path[:4] for other in old) and "members" in path
    asks = "arguments" in path or "fields" in path
    return asks and not new_member and " = " not in value


def test_what_others_lean_on_is_as_it_was():
    before, now = json.loads(FILE.read_text(encoding="utf-8")), public_api()
    added, breaking = compared(before, now)
    lines = [
        *(["what breaks plugins or scripts:", *breaking] if breaking else []),
        *(["what was added:", *added] if added else []),
    ]
    if lines:
        text = "\n".join(lines)
        pytest.fail(f"the public API is not as it was\n{text}\n{RULE}\nIf it is meant: {COMMAND}")


# ---- the comparison itself --------------------------------------------------------------------


def _changed(**changes: Any) -> tuple[list[str], list[str]]:
    """Compares a small API with itself after changes at paths joined by ``/``."""
    before = {
        "zoo": {
            "run": {"arguments": {"config": "Config", "seed": "by name, int = 0"}},
            "list": {"arguments": {}},
        },
        "zoo.plugin": {"Component": {"fields": {"kind": "str", "tags": "tuple = ()"}}},
        "zoo.protocols": {"Metric": {"members": {"__call__": {"arguments": {"target": "T"}}}}},
    }
    now = json.loads(json.dumps(before))
    for path, value in changes.items():
        *parents, name = path.split("/")
        table = now
        for parent in parents:
            table = table.setdefault(parent, {})
        if value is None:
            del table[name]
        else:
            table[name] = value
    return compared(before, now)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("zoo/run/arguments/lr", "by name, float = 0.1"),
        ("zoo/walk", {"arguments": {"config": "Config"}}),
        ("zoo.plugin/Component/fields/origin", "str = ''"),
        ("zoo.plugin/Component/members/id", {"arguments": {"form": "str"}}),
        ("zoo.protocols/Judge", {"members": {"__call__": {"arguments": {"x": "T"}}}}),
    ],
)
def test_additions_are_told_from_breaks(path, value):
    added, breaking = _changed(**{path: value})
    assert added
    assert not breaking


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("zoo/run", None),
        ("zoo/run/arguments/seed", None),
        ("zoo/run/arguments/seed", "by name, int = 1"),
        ("zoo/run/arguments/lr", "by name, float"),
        ("zoo.plugin/Component/fields/origin", "str"),
        ("zoo.plugin/Component/fields/kind", "int"),
        ("zoo.protocols/Metric/attributes", {"range": "tuple"}),
        ("zoo.protocols/Metric/members/__call__/arguments/weights", "T = None"),
        ("zoo.protocols/Metric/members/reset", {"arguments": {}}),
    ],
)
def test_breaks_are_told_from_additions(path, value):
    added, breaking = _changed(**{path: value})
    assert breaking
    assert not added


def test_the_record_is_deep_enough():
    api = json.loads(FILE.read_text(encoding="utf-8"))
    assert api["zoo.plugin"]["Component"]["fields"]["target"] == "str"
    assert api["zoo.plugin"]["Param"]["fields"]["optional"] == "bool = False"
    assert set(api["zoo.plugin"]["KINDS"]) >= {"model", "exporter", "command"}
    assert api["hooks"]["zoo_components"] == {"arguments": {}, "returns": "Iterable[Component]"}
    metric = api["zoo.protocols"]["Metric"]
    assert metric["attributes"] == {"greater_is_better": "bool"}
    assert metric["members"]["__call__"]["arguments"]["target"] == "at place 2, Tensor"
    assert api["zoo.errors"]["PluginError"]["exit code"] == "5"
    assert api["zoo"]["export"]["arguments"]["to"] == "by name, str = 'onnx'"
    assert not [value for value in flat(api).values() if " at 0x" in value]


if __name__ == "__main__":
    FILE.write_text(json.dumps(public_api(), indent=1) + "\n", encoding="utf-8")
    sys.exit(0)
