"""Which components there are, and which one a name means. Imports no torch.

entry points -> discovery (plugin records) -> Registry (names) -> specs (arguments) -> loading
"""

from __future__ import annotations

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
