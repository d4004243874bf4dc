"""``zoo plugins``: write, install, look at, check, switch off and remove plugins.

One file a command or two, each imported when it is called.
"""

from __future__ import annotations

import click

from zoo.cli.lazy import LazyGroup

__all__ = ["plugins"]

_COMMANDS = {
    "list": ("zoo.cli.plugins.listing:list_", "List plugins: version, status, what they provide."),
    "show": ("zoo.cli.plugins.showing:show", "Show one plugin: its components, files, times."),
    "new": ("zoo.cli.plugins.new:new", "Write a new plugin: a package that works at once."),
    "check": ("zoo.cli.plugins.check:check", "Check that a plugin keeps the rules of its kinds."),
    "install": ("zoo.cli.plugins.packages:install", "Install packages with pip or uv."),
    "remove": ("zoo.cli.plugins.packages:remove", "Uninstall a plugin with pip or uv."),
    "enable": ("zoo.cli.plugins.switches:enable", "Use a disabled plugin again."),
    "disable": ("zoo.cli.plugins.switches:disable", "Do not read this plugin any more."),
}


@click.group("plugins", cls=LazyGroup, lazy=_COMMANDS)
def plugins() -> None:
    """Write, install, check and switch plugins.

    Installing a plugin is running its code with your rights: install only what you trust.
    """
