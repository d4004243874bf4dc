"""``zoo doctor``: what is wrong with plugins, names and the machine, and what to do about it."""

from __future__ import annotations

import click

from zoo.cli.console import echo, print_json, print_table
from zoo.errors import printable
from zoo.registry import Registry

__all__ = ["doctor"]

_SLOW_MILLISECONDS = 200.0


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check plugins, names and the machine. Exits with 5 if a plugin is broken."""
    from zoo.engine.records.environment import environment

    registry = Registry.installed()
    problems = _problems(registry)
    facts = environment()
    broken = any(record.status == "broken" for record in registry.plugins)
    if as_json:
        print_json({"problems": problems, "environment": facts})
    else:
        packages = facts.pop("packages")
        print_table(("machine", ""), [(k.replace("_", " "), v) for k, v in facts.items()])
        echo()
        print_table(
            ("package", "version"), [(k, v or "not installed") for k, v in packages.items()]
        )
        echo()
        for problem in problems:
            echo(f"- {printable(problem)}")
        total = sum(len(record.components) for record in registry.plugins)
        echo(f"{len(registry.plugins)} plugins, {total:,} components, {len(problems)} problems")
    if broken:
        raise click.exceptions.Exit(5)


def _problems(registry: Registry) -> list[str]:
    problems = []
    for record in registry.plugins:
        who = f"{record.namespace} ({record.distribution} {record.version})"
        if record.status in ("broken", "incompatible"):
            where = f" at {record.origin}" if record.origin else ""
            cure = (
                f"pip install -U {record.distribution}, or zoo plugins disable {record.namespace}"
            )
            problems.append(f"{who} is {record.status}: {record.cause}{where}; {cure}")
        if record.load_milliseconds > _SLOW_MILLISECONDS:
            problems.append(
                f"{who} takes {record.load_milliseconds:.0f} ms to declare its components"
            )
        problems += [f"{who}: {note}" for note in record.notes]
    return problems + registry.clashes()
