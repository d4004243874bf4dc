"""The components of one plugin, or an error that says why there are none."""

from __future__ import annotations

import difflib

from zoo.errors import PluginError, UnknownName, printable
from zoo.plugin import KINDS, fold
from zoo.registry import Entry, PluginRecord, Registry

__all__ = ["components_of"]


def components_of(plugin: str | PluginRecord) -> tuple[Entry, ...]:
    """Returns the components of a plugin, kind by kind, each kind in the plugin's own order.

    Args:
        plugin: A namespace, the name of a distribution (all its plugins), or a record.

    Raises:
        UnknownName: No installed plugin has that name.
        PluginError: The plugin is broken, disabled, of another API or declares nothing: checks
            that silently check nothing are worse than none.
    """
    records = (plugin,) if isinstance(plugin, PluginRecord) else _named(plugin)
    for record in records:
        if record.status != "ok":
            raise PluginError(
                f"the plugin {printable(record.namespace)} is {record.status}, so nothing of it "
                "can be checked",
                found=printable(" at ".join(filter(None, (record.cause, record.origin)))),
            )
        if record.notes:  # a kind that is misspelt is one that nobody knows
            raise PluginError(
                f"the plugin {printable(record.namespace)} is not understood in full",
                found=printable("; ".join(record.notes)),
                hint=f"the kinds are {', '.join(KINDS)}",
            )
        if not record.components:
            raise PluginError(
                f"the plugin {printable(record.namespace)} declares no components",
                hint="its hook zoo_components yields them",
            )
    entries = [Entry(component, record) for record in records for component in record.components]
    return tuple(sorted(entries, key=lambda entry: KINDS.index(entry.component.kind)))


def _named(name: str) -> tuple[PluginRecord, ...]:
    """Returns the plugin of that namespace, else those of the distribution of that name."""
    plugins = Registry.installed().plugins
    found = [plugin for plugin in plugins if fold(plugin.namespace) == fold(name)]
    found = found or [plugin for plugin in plugins if plugin.is_called(name)]
    if found:
        return tuple(found)
    names = sorted({known for p in plugins for known in (p.namespace, p.distribution)})
    close = difflib.get_close_matches(name, names, n=3)
    raise UnknownName(
        f"no plugin or package with plugins is named {printable(name)!r}",
        found=printable("close: " + ", ".join(close)) if close else f"{len(plugins)} plugins",
        hint="zoo plugins list; a package under test is installed first: pip install -e .",
    )
