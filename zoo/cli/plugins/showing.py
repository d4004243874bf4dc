"""``zoo plugins show NAME``."""

from __future__ import annotations

from typing import Any

import click

from zoo.api.plugins import find_plugins
from zoo.cli.console import echo, print_json, print_table
from zoo.cli.plugins.listing import described
from zoo.errors import printable
from zoo.registry import PluginRecord, Registry
from zoo.registry.stamps import plugin_files

__all__ = ["show"]

_MOST = 12
# Rows of each kind that a terminal is shown: the largest catalogue has 1,371 models.


@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show one plugin: where it is, how it loads, what it provides.

    NAME is its namespace or its package.
    """
    registry = Registry.installed()
    records = find_plugins(name, registry=registry)
    facts = [_facts(record, registry) for record in records]
    if as_json:
        print_json(facts)
        return
    for number, (record, fact) in enumerate(zip(records, facts, strict=True)):
        if number:
            echo()
        _print(record, fact)


def _facts(record: PluginRecord, registry: Registry) -> dict[str, Any]:
    return {
        **described(record, registry),
        "module": record.module,
        "files": plugin_files(record.module),
        "sha256": record.digest,
        "components": [
            {"id": f"{record.namespace}/{c.name}", "kind": c.kind, "target": c.target,
             "summary": c.summary, "aliases": list(c.aliases), "requires": list(c.requires),
             "replaced_by": c.replaced_by}
            for c in record.components
        ],
    }  # fmt: skip


def _print(record: PluginRecord, facts: dict[str, Any]) -> None:
    files = facts["files"]
    where = f"{files[0]}" + (f" and {len(files) - 1:,} more files" if len(files) > 1 else "")
    click.secho(printable(record.namespace), bold=True)
    for label, value in (
        ("package", f"{record.distribution} {record.version}"),
        ("api", record.api),
        ("status", record.status),
        ("cause", " at ".join(filter(None, (record.cause, record.origin)))),
        ("module", record.module),
        ("files", where if files else "its module is not found"),
        ("loads in", f"{record.load_milliseconds:.1f} ms, when it was read"),
        ("imports", ", ".join(record.heavy_imports)),
        *(("note", note) for note in facts["notes"]),
    ):
        if value:
            echo(f"  {label:9} {printable(value)}")
    for kind, names in record.provides.items():
        echo()
        components = [c for c in record.components if c.kind == kind]
        print_table((kind, "what"), [(c.name, c.summary) for c in components[:_MOST]])
        if len(names) > _MOST:
            echo(f"... {len(names) - _MOST:,} more: zoo list {kind} --plugin {record.namespace}")
