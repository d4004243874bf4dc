"""``zoo plugins list``. Imports no plugin of others."""

from __future__ import annotations

from typing import Any

import click

from zoo.api.plugins import list_plugins
from zoo.cli.console import print_json, print_table
from zoo.plugin import plural
from zoo.registry import PluginRecord, Registry
from zoo.registry.imitations import imitations_of

__all__ = ["described", "list_", "reason"]


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List plugins: version, API, status, what they provide.

    No code of theirs runs for it: one that was not read since it was installed or changed is
    listed as "not read yet". zoo doctor reads all.
    """
    records = list_plugins()
    registry = Registry(records)
    if as_json:
        print_json([described(record, registry) for record in records])
        return
    print_table(
        ("plugin", "package", "version", "api", "status", "ms", "provides", "why"),
        [
            (r.namespace, r.distribution, r.version, r.api, _status(r),
             f"{r.load_milliseconds:.0f}" if r.status in ("ok", "broken") else "",
             _counted(r), reason(r, registry))
            for r in records
        ],
    )  # fmt: skip


def described(record: PluginRecord, registry: Registry) -> dict[str, Any]:
    """Returns what is known of a plugin as plain data."""
    return {
        "namespace": record.namespace, "distribution": record.distribution,
        "version": record.version, "api": record.api, "builtin": record.builtin,
        "status": record.status, "cause": record.cause, "origin": record.origin,
        "notes": [*record.notes, *imitations_of(record, registry)],
        "provides": record.provides,
        "load_milliseconds": round(record.load_milliseconds, 1),
        "heavy_imports": list(record.heavy_imports),
    }  # fmt: skip


def reason(record: PluginRecord, registry: Registry) -> str:
    """Returns what there is to say of a plugin besides its status, in one line."""
    cause = record.cause + (f" ({record.origin})" if record.origin else "")
    heavy = f"imports {', '.join(record.heavy_imports)}" if record.heavy_imports else ""
    likes = imitations_of(record, registry)
    return "; ".join(filter(None, (cause, *record.notes, *likes[:1], heavy)))


def _status(record: PluginRecord) -> str:
    return "not read yet" if record.status == "unread" else record.status


def _counted(record: PluginRecord) -> str:
    return ", ".join(
        f"{len(names):,} {kind if len(names) == 1 else plural(kind)}"
        for kind, names in record.provides.items()
    )
