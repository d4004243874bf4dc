"""``zoo resume RUN``."""

from __future__ import annotations

import click

from zoo.api import resume as resume_run
from zoo.cli.run import with_display

__all__ = ["resume"]


@click.command("resume")
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def resume(run: str, as_json: bool) -> None:
    """Go on with the run in the folder RUN from its last whole checkpoint, to the bit."""
    with_display(lambda observer: resume_run(run, observer=observer), as_json=as_json)
