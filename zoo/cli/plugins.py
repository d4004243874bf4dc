"""``zoo plugins``: what is installed, and what of it is used. Never imports what it disables."""

from __future__ import annotations

import click

from zoo.cli.console import echo, print_json, print_table
from zoo.errors import UnknownName, printable
from zoo.registry import Registry, discover
from zoo.registry.settings import Settings, load_settings, save_disabled

__all__ = ["plugins"]


@click.group("plugins")
def plugins() -> None:
    """List, disable and enable plugins.

    Installing a plugin is running its code: install only what you trust.
    """


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List plugins with version, status and number of components."""
    records = Registry.installed().plugins
    if as_json:
        print_json([
            {
                "namespace": r.namespace, "package": r.distribution, "version": r.version,
                "builtin": r.builtin, "status": r.status, "cause": r.cause, "origin": r.origin,
                "notes": r.notes, "components": len(r.components),
                "load_milliseconds": round(r.load_milliseconds, 1),
            }
            for r in records
        ])  # fmt: skip
        return
    print_table(
        ("plugin", "package", "version", "status", "components", "ms", "why"),
        [
            (r.namespace, r.distribution, r.version, r.status, f"{len(r.components):,}",
             f"{r.load_milliseconds:.1f}", r.cause + (f" ({r.origin})" if r.origin else ""))
            for r in records
        ],
    )  # fmt: skip


@plugins.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Do not import this plugin any more, until it is enabled."""
    _known(name)
    settings = load_settings()
    path = save_disabled(settings.disabled | {name})
    echo(f"{printable(name)} is disabled ({path}); zoo plugins enable {printable(name)}")


@plugins.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Import a disabled plugin again."""
    settings = load_settings()
    if name not in settings.disabled:
        _known(name)
    save_disabled(settings.disabled - {name})
    echo(f"{printable(name)} is enabled")


def _known(name: str) -> None:
    """Checks that a plugin is installed, importing none."""
    everything = Settings(only=frozenset())
    records = [r for r in discover(everything, points=None) if not r.builtin]
    names = sorted({r.namespace for r in records} | {r.distribution for r in records})
    if name not in names:
        raise UnknownName(
            f"no third-party plugin is named {printable(name)!r}",
            found=", ".join(names) or "none is installed", hint="zoo plugins list",
        )  # fmt: skip
