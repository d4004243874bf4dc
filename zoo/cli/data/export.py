"""``zoo data export``: a data set in files that others read."""

from __future__ import annotations

import click

from zoo.cli.data.import_ import told, whole
from zoo.cli.data.output import bar

__all__ = ["export"]


@click.command("export")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DEST")
@click.option("--size", type=click.IntRange(1), metavar="PIXELS",
              help="Side of the square that images become. For a table images are copied, and "
              "their longer side becomes at most this.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of the split, where the data has none.")
@click.option("--on-bad", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="What to do about images that cannot be read.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(
    source: str, destination: str, size: int | None, seed: int, on_bad: str, as_json: bool
) -> None:
    """Write a data set as DEST.npz, as a DEST.csv that lists its files, or as IDX files in DEST.

    SRC is what zoo run --data takes. IDX files and arrays need images of one size: give --size.
    """
    from zoo.data.exchange.convert import export_images

    data = whole(source, seed=seed, skip=on_bad == "skip")
    with bar("writing") as progress:
        written = export_images(data, destination, size=size, progress=progress)
    told(written, data, as_json=as_json)
