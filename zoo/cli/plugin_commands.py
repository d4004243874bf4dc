"""Commands that plugins bring: told from the index, imported when they are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from zoo.errors import PluginError, ZooError
from zoo.plugin import fold

if TYPE_CHECKING:
    from zoo.registry import Entry, Registry

__all__ = ["PluginCommands", "shadowed"]


class PluginCommands:
    """The commands of plugins, below zoo's own.

    Args:
        taken: The names of zoo's own commands, which no plugin's stands for. A plugin's command of
            such a name is called by its full id, ``zoo acme/list``, as is one that two have.
    """

    heading = "Commands of plugins"

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = frozenset(map(fold, taken))

    def rows(self) -> Sequence[tuple[str, str]]:
        """Returns names and summaries. Reads the index and no plugin."""
        from zoo.registry.commands import command_entries, command_registry

        registry = command_registry(read=False)
        rows = [
            (name, entry.component.summary or f"of {entry.origin}")
            for name, entry in command_entries(registry, self._taken).items()
        ]
        unread = [p.namespace for p in registry.plugins if p.status == "unread"]
        if unread:
            rows.append(("...", f"not read yet: {', '.join(unread[:5])}; zoo doctor reads them"))
        return rows

    def find(self, name: str) -> click.Command | None:
        """Returns the command that a name means, imported.

        Raises:
            AmbiguousName: Two plugins have it.
            PluginError: It cannot be imported, or is no command.
        """
        entry = self._entry(name)
        if entry is None:
            return None
        from zoo.registry.loading import load_target

        command = load_target(entry)
        if not isinstance(command, click.Command):
            raise PluginError(
                f"the command {entry.id} is no click command",
                found=f"{entry.component.target} is a {type(command).__name__}",
                hint=f"report it to the authors of {entry.origin}",
            )
        return command

    def told(self, name: str, error: Exception) -> Exception:
        """Returns the error with the plugin, file and line to blame, unless it says enough."""
        entry = self._entry(name)
        if isinstance(error, ZooError | MemoryError) or entry is None:
            return error
        from zoo.registry.loading import failure

        return failure(entry, "failed", error)

    def _entry(self, name: str) -> Entry | None:
        """Returns what a name means. Plugins that are not in the index are read for it."""
        from zoo.registry.commands import command_registry

        return command_registry(read=True).get("command", name)


def shadowed(registry: Registry, taken: Iterable[str]) -> list[str]:
    """Returns a line for each command of a plugin that has the name of one of zoo's own."""
    own = frozenset(map(fold, taken))
    return [
        f"the command {entry.component.name} of {entry.origin} has the name of zoo's own; "
        f"call it as zoo {entry.id}"
        for entry in registry.entries("command")
        if fold(entry.component.name) in own and not entry.plugin.builtin
    ]
