"""``zoo plugins new``: write a plugin that works at once."""

from __future__ import annotations

import click

from zoo.plugin import KINDS

__all__ = ["new"]


@click.command("new")
@click.argument("name")
@click.option("--kind", "kinds", metavar="KIND", multiple=True, required=True,
              type=click.Choice(KINDS, case_sensitive=False),
              help=f"What it provides, given once or more: {', '.join(KINDS)}.")  # fmt: skip
@click.option("--path", metavar="DIR", help="The folder to write; by default NAME.")
@click.option("--author", metavar="TEXT", default="",
              help="'Name' or 'Name <address>', for its metadata.")  # fmt: skip
def new(name: str, kinds: tuple[str, ...], path: str | None, author: str) -> None:
    """Write a package with a small working component of each KIND, and tests that pass.

    NAME is what pip will call it, such as zoo-acme; then zoo calls its components acme/...
    What is there already is never overwritten.
    """
    from zoo.api import new_plugin
    from zoo.cli.console import echo
    from zoo.errors import printable

    made = new_plugin(name, kinds, path=path, author=author)
    echo(f"{made.distribution}: {len(made.files)} files in {printable(made.path)}")
    for note in made.notes:
        echo(f"note: {note}")
    echo("\nnext:")
    for command in made.commands:
        echo(f"  {command}")
