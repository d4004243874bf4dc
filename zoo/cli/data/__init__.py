"""``zoo data``: check, measure, show, import and export data sets. One file a command."""

from __future__ import annotations

import click

from zoo.cli.lazy import LazyGroup

__all__ = ["data"]

_COMMANDS = {
    "check": ("zoo.cli.data.check:check", "Find broken, odd, doubled and leaking images."),
    "stats": ("zoo.cli.data.stats:stats", "Mean, deviation, class counts, sizes, contact sheet."),
    "preview": ("zoo.cli.data.preview:preview", "One augmented batch as the model will see it."),
    "import": ("zoo.cli.data.import_:import_", "Turn a data set into a folder of images."),
    "export": ("zoo.cli.data.export:export", "Turn a data set into arrays, a table or IDX files."),
}


@click.group("data", cls=LazyGroup, lazy=_COMMANDS)
def data() -> None:
    """Know the data: check, measure, show, import and export."""
