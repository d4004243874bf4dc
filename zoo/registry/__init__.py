"""Which components there are, and which one a name means. Imports no torch.

entry points -> discovery (plugin records) -> Registry (names) -> specs (arguments) -> loading

What third parties declare is kept in an index and read in a child process: discovery, index, child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.registry.discovery import PluginRecord, discover
    from zoo.registry.loading import build, load_target
    from zoo.registry.names import Entry, Registry
    from zoo.registry.specs import Choice, parse_choice, parse_choices

__all__ = [
    "Choice",
    "Entry",
    "PluginRecord",
    "Registry",
    "build",
    "discover",
    "load_target",
    "parse_choice",
    "parse_choices",
]

_WHERE = {
    "Choice": "specs",
    "Entry": "names",
    "PluginRecord": "discovery",
    "Registry": "names",
    "build": "loading",
    "discover": "discovery",
    "load_target": "loading",
    "parse_choice": "specs",
    "parse_choices": "specs",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: zoo --help needs few of them."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found
