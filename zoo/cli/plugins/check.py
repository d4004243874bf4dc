"""``zoo plugins check NAME|PATH``."""

from __future__ import annotations

import dataclasses

import click

from zoo.api.plugins import check_plugin
from zoo.cli.console import apart, echo, print_json, print_table
from zoo.errors import printable

__all__ = ["check"]


@click.command("check")
@click.argument("plugin", metavar="NAME|PATH")
@click.option("--all", "everything", is_flag=True, help="List what passed, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, plugin: str, everything: bool, as_json: bool) -> None:
    """Check that a plugin keeps the contract of its kinds. Exits with 5 if it does not.

    NAME is an installed plugin or package, PATH a module file, a package folder, a project or a
    wheel that is not installed. The same checks run under pytest: zoo.testing.
    """
    with apart(as_json):
        results = list(check_plugin(plugin))
    failed = [result for result in results if not result.ok]
    if as_json:
        print_json([{**dataclasses.asdict(result), "ok": result.ok} for result in results])
    else:
        rows = [r for r in results if everything or r.status != "passed"]
        if rows:
            print_table(
                ("component", "check", "result", "why"),
                [(f"{r.kind} {r.component}", r.check, r.status, r.message or r.what) for r in rows],
            )
        counts = dict.fromkeys(("passed", *(r.status for r in results)), 0)
        for result in results:
            counts[result.status] += 1
        told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
        echo(f"{printable(plugin)}: {len(results):,} checks, {told}")
    if failed:
        ctx.exit(5)
