"""``zoo list [KIND [PATTERN]]``."""

from __future__ import annotations

import click

from zoo.api import list_components
from zoo.cli.console import echo, print_json, print_table
from zoo.errors import UsageError, printable
from zoo.plugin import KINDS, plural
from zoo.registry import Registry

__all__ = ["kind_named", "list_"]


def kind_named(text: str) -> str:
    """Returns the kind that a user means: singular, plural, any case.

    Raises:
        UsageError: There is no such kind.
    """
    names = {form: kind for kind in KINDS for form in (kind, plural(kind))}
    names |= {"optim": "optimizer", "sched": "scheduler", "aug": "transform", "data": "dataset"}
    if (kind := names.get(text.lower())) is not None:
        return kind
    import difflib

    close = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.5)
    raise UsageError(
        f"there is no kind of component named {printable(text)!r}",
        found="there are " + ", ".join(plural(kind) for kind in KINDS),
        hint=f"zoo list {close[0]}" if close else "zoo list",
    )


@click.command("list")
@click.argument("kind", required=False)
@click.argument("pattern", required=False)
@click.option("--plugin", metavar="NAME", help="Only those of this plugin or package.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only those with this tag.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(
    kind: str | None, pattern: str | None, plugin: str | None, tags: tuple[str, ...], as_json: bool
) -> None:
    """List components of a KIND whose names match PATTERN.

    KIND is model, loss, optimizer, scheduler, transform, dataset...; without it, each kind is
    counted. PATTERN is a glob ('*resnet*') or a part of a name.
    """
    registry = Registry.installed()
    if kind is None:
        _count(registry, as_json)
        return
    name = kind_named(kind)
    entries = list_components(name, pattern, plugin=plugin, tags=tags, registry=registry)
    if as_json:
        print_json([
            {
                "id": entry.id, "name": entry.component.name, "summary": entry.component.summary,
                "aliases": entry.component.aliases, "tags": entry.component.tags,
                "package": entry.plugin.distribution, "version": entry.plugin.version,
            }
            for entry in entries
        ])  # fmt: skip
        return
    if entries:
        print_table(
            ("name", "plugin", "also", "what"),
            [
                (e.component.name, e.plugin.namespace, ", ".join(e.component.aliases),
                 e.component.summary)
                for e in entries
            ],
        )  # fmt: skip
    total = sum(1 for _ in registry.entries(name))
    of = "" if len(entries) == total else f" of {total:,}"
    click.echo(f"{len(entries):,}{of} {plural(name)}", err=True)
    _tell_absent(registry)


def _count(registry: Registry, as_json: bool) -> None:
    counts = {kind: sum(1 for _ in registry.entries(kind)) for kind in KINDS}
    if as_json:
        print_json(counts)
        return
    rows = []
    for kind, count in counts.items():
        examples = [
            e.component.name for e, _ in zip(registry.entries(kind), range(4), strict=False)
        ]
        if count:
            rows.append(
                (plural(kind), f"{count:,}", ", ".join(examples) + ("..." if count > 4 else ""))
            )
    print_table(("kind", "count", "such as"), rows)
    echo("\nzoo list models '*resnet*'   zoo show model mobilenetv3")
    _tell_absent(registry)


def _tell_absent(registry: Registry) -> None:
    broken = [p.namespace for p in registry.plugins if p.status in ("broken", "incompatible")]
    if broken:
        click.echo(
            f"not loaded: {', '.join(map(printable, broken))}; zoo doctor says why", err=True
        )
