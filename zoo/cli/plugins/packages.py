"""``zoo plugins install`` and ``remove``."""

from __future__ import annotations

import click

from zoo.api.packages import install_plugins, remove_plugin
from zoo.cli.console import echo, print_table
from zoo.cli.plugins.listing import reason
from zoo.errors import printable
from zoo.registry import Registry

__all__ = ["install", "remove"]


@click.command("install", context_settings={"ignore_unknown_options": True})
@click.argument("specs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SPEC...")
@click.pass_context
def install(ctx: click.Context, specs: tuple[str, ...]) -> None:
    """Install packages with the pip or uv of this interpreter.

    SPEC is what pip takes: zoo-acme, 'zoo-acme==1.2', a wheel, -e FOLDER. Nothing but this command
    ever installs anything, and no configuration file does.
    """
    click.echo("a plugin is code that runs with your rights: install only what you trust", err=True)
    records = install_plugins(specs, told=_say)
    registry = Registry.installed()
    print_table(
        ("plugin", "package", "version", "status", "provides", "why"),
        [
            (r.namespace, r.distribution, r.version, r.status,
             ", ".join(f"{kind} {n}" for kind, names in r.provides.items() for n in names[:5]),
             reason(r, registry))
            for r in records
        ],
    )  # fmt: skip
    if any(record.status in ("broken", "incompatible") for record in records):
        ctx.exit(5)


@click.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Uninstall the package of a plugin. No code of it runs for that.

    NAME is its namespace or its package.
    """
    echo(f"{printable(remove_plugin(name, told=_say))} is removed")


def _say(command: str) -> None:
    click.echo(f"$ {printable(command)}", err=True)
