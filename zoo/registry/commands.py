"""Which commands plugins bring, without loading zoo's own 1,500 components for it."""

from __future__ import annotations

from collections.abc import Collection

from zoo.plugin import fold
from zoo.registry.names import Entry, Registry

__all__ = ["command_entries", "command_registry"]


def command_registry(*, read: bool) -> Registry:
    """Returns the registry of third-party plugins.

    Args:
        read: Whether those that the index does not know are read.
    """
    return Registry.installed(read=read, builtins=False)


def command_entries(registry: Registry, taken: Collection[str]) -> dict[str, Entry]:
    """Returns the commands of plugins by what is typed: their name, else their full id.

    Args:
        registry: Of the plugins.
        taken: Folded names that mean zoo's own commands.
    """
    entries = list(registry.entries("command"))
    names = [fold(entry.component.name) for entry in entries]
    typed = {}
    for entry, name in zip(entries, names, strict=True):
        alone = names.count(name) == 1 and name not in taken
        typed[entry.component.name if alone else entry.id] = entry
    return dict(sorted(typed.items()))
