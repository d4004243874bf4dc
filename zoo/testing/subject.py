"""What a check is given: one component, and how to build it as the core would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from zoo.plugin import Component
from zoo.registry import Choice, Entry, build

__all__ = ["Example", "NotApplicable", "Subject"]


class NotApplicable(Exception):  # it is no error
    """Raised by a check that has nothing to say about this component. Its text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What no check can find out by itself about a component. Given by its author.

    Args:
        arguments: Arguments to build it with, where its defaults will not do: a file to read.
        reference: An independent way to the same numbers, called as the component itself is: a
            metric or a loss with its tensors, a schedule with the epoch.
    """

    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    reference: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One component under test."""

    entry: Entry
    example: Example = field(default_factory=Example)

    @property
    def component(self) -> Component:
        """Its declaration."""
        return self.entry.component

    @property
    def id(self) -> str:
        """``kind/namespace/name``, the first part of the ids of its cases."""
        return f"{self.component.kind}/{self.entry.id}"

    def build(self, arguments: Mapping[str, Any] | None = None, **facts: object) -> Any:
        """Calls its target with its declared defaults, the example, ``arguments`` and ``facts``."""
        defaults = {param.name: param.default for param in self.component.params}
        given = {**defaults, **self.example.arguments, **(arguments or {})}
        return build(Choice(entry=self.entry, arguments=given), **facts)
