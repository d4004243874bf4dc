"""``zoo plugins enable`` and ``disable``. Neither imports any plugin."""

from __future__ import annotations

import click

from zoo.api.plugins import disable_plugin, enable_plugin
from zoo.cli.console import echo
from zoo.errors import printable

__all__ = ["disable", "enable"]


@click.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Do not read this plugin any more, until it is enabled.

    NAME is its namespace or its package.
    """
    path = disable_plugin(name)
    echo(f"{printable(name)} is disabled ({path}); zoo plugins enable {printable(name)}")


@click.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Use a disabled plugin again."""
    enable_plugin(name)
    echo(f"{printable(name)} is enabled")
