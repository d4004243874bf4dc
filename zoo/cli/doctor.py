"""``zoo doctor``: what is wrong with plugins, names and the machine, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli.console import echo, print_json, print_table
from zoo.errors import printable
from zoo.plugin import fold
from zoo.registry import PluginRecord, Registry
from zoo.registry.imitations import imitations_of

__all__ = ["doctor"]

_SLOW_MILLISECONDS = 200.0


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check plugins, names and the machine. Exits with 5 if a plugin is broken."""
    from zoo.engine.records.environment import environment
    from zoo.network.fast.native.compiler import compiler

    registry = Registry.installed()
    problems = _problems(registry)
    command = compiler()
    facts = {**environment(), "c_compiler": Path(command[0]).name if command else "none"}
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
    from zoo.cli.main import COMMANDS
    from zoo.cli.plugin_commands import shadowed

    problems = []
    for record in registry.plugins:
        who = f"{record.namespace} ({record.distribution} {record.version})"
        if record.status in ("broken", "incompatible"):
            where = f" at {record.origin}" if record.origin else ""
            problems.append(f"{who} is {record.status}: {record.cause}{where}; {_cure(record)}")
        # A busy machine makes any plugin slow, and zoo's own are not the user's to mend.
        if record.heavy_imports and not record.builtin:
            problems.append(
                f"{who} imports {', '.join(record.heavy_imports)} to declare its components "
                f"({record.load_milliseconds:.0f} ms when it was read): tell its authors"
            )
        elif record.load_milliseconds > _SLOW_MILLISECONDS and not record.builtin:
            problems.append(
                f"{who} takes {record.load_milliseconds:.0f} ms to declare its components"
            )
        problems += [f"{who}: {note}" for note in record.notes]
        problems += [f"{who}: {like}" for like in imitations_of(record, registry)]
        problems += _outranked(record, registry)
    return problems + shadowed(registry, COMMANDS) + registry.clashes()


def _outranked(record: PluginRecord, registry: Registry) -> list[str]:
    """Returns a line if names of a plugin mean zoo's own components when they stand alone."""
    if record.builtin:
        return []
    ours = {kind: set(map(fold, registry.builtin_names(kind))) for kind in record.provides}
    names = [f"{c.kind} {c.name}" for c in record.components if fold(c.name) in ours[c.kind]]
    if not names:
        return []
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return [
        f"{record.namespace} ({record.distribution} {record.version}): {', '.join(names[:5])}"
        f"{more} alone mean zoo's own; say {record.namespace}/NAME for this plugin's"
    ]


def _cure(record: PluginRecord) -> str:
    """Returns what to do about a plugin that cannot be used."""
    away = f"zoo plugins disable {record.namespace}, or zoo plugins remove {record.namespace}"
    if record.status == "incompatible":
        number = int(record.api.removeprefix("v") or 0)
        newer = number > 1
        update = (
            "pip install -U classifier-zoo" if newer else f"pip install -U {record.distribution}"
        )
        return f"{update}; it was not imported"
    return f"pip install -U {record.distribution}; else {away}"
