"""What the tests of the kit share: a component made of any object, and which checks it fails."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType

from zoo.plugin import Component
from zoo.registry import Entry, PluginRecord
from zoo.testing.checking import attempt, identifier
from zoo.testing.subject import Example, Subject

_TARGETS = sys.modules.setdefault("made_targets", ModuleType("made_targets"))
_numbers = itertools.count()


def subject(kind, target, *, example=None, name="made", **declared) -> Subject:
    """Returns a subject whose target is this object."""
    attribute = f"target_{next(_numbers)}"
    setattr(_TARGETS, attribute, target)
    component = Component(
        kind=kind, name=name, target=f"made_targets:{attribute}", summary="made", **declared
    )
    record = PluginRecord(
        namespace="acme", module="made_targets", distribution="zoo-acme", version="1.0",
        components=(component,),
    )  # fmt: skip
    return Subject(entry=Entry(component, record), example=example or Example())


def failing(checks, made: Subject) -> dict[str, str]:
    """Returns the messages of the checks that fail, by their ids."""
    attempts = {identifier(check): attempt(check, made) for check in checks}
    return {name: one.message for name, one in attempts.items() if one.status == "failed"}


def skipped(checks, made: Subject) -> set[str]:
    """Returns the ids of the checks that say that they do not apply."""
    return {identifier(c) for c in checks if attempt(c, made).status == "not applicable"}


def assert_caught(checks, made: Subject, caught: dict[str, str]) -> None:
    """Asserts that exactly these checks fail, each with this text in its message."""
    found = failing(checks, made)
    assert set(found) == set(caught), found
    for name, text in caught.items():
        assert text in found[name]


def assert_each_can_fail(checks, table) -> None:
    """Asserts that for each check there is something in the table that it catches."""
    caught = {name for _, expected in table for name in expected}
    assert {identifier(check) for check in checks} == caught
