"""``zoo resume RUN``."""

from __future__ import annotations

import click

from zoo.api import resume as resume_run
from zoo.cli.run import with_display

__all__ = ["resume"]


@click.command("resume")
@click.argument("run", metavar="RUN")
@click.option(
    "--force", is_flag=True, help="Go on although plugins, versions or data have changed."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def resume(run: str, force: bool, as_json: bool) -> None:
    """Go on with the run in the folder RUN from its last whole checkpoint, to the bit.

    A run that has ended is left as it is. One whose plugins, versions or data have changed since
    is refused, and the differences are listed.
    """
    with_display(lambda observer: resume_run(run, force=force, observer=observer), as_json=as_json)
