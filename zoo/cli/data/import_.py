"""``zoo data import``: a data set as a folder of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo.cli.console import echo, print_json
from zoo.cli.data.output import bar, counted
from zoo.errors import printable

if TYPE_CHECKING:
    from zoo.data.exchange.writing import Written
    from zoo.protocols import DataSet

__all__ = ["import_", "told", "whole"]


@click.command("import")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DEST")
@click.option("--size", type=click.IntRange(1), metavar="PIXELS",
              help="The longer side becomes at most this; the aspect stays.")  # fmt: skip
@click.option("--format", "image_format", default="png", show_default=True,
              help="File format of the images; png and webp keep every pixel.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of the split, where the data has none.")
@click.option("--on-bad", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="What to do about images that cannot be read.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def import_(
    source: str,
    destination: str,
    size: int | None,
    image_format: str,
    seed: int,
    on_bad: str,
    as_json: bool,
) -> None:
    """Write a data set as DEST/SPLIT/CLASS/NAME.png: the label is the folder.

    SRC is what zoo run --data takes: IDX files, a CIFAR archive, an .npz file, a manifest, a
    folder, or the name of a data set.
    """
    from zoo.data.exchange.convert import import_images

    data = whole(source, seed=seed, skip=on_bad == "skip")
    with bar("writing") as progress:
        written = import_images(
            data, destination, size=size, format=image_format, progress=progress
        )
    told(written, data, as_json=as_json)


def whole(source: str, *, seed: int, skip: bool) -> DataSet:
    """Returns a data set; if it is asked for, without the images that cannot be read."""
    from zoo.api import read_data
    from zoo.cores import num_cores
    from zoo.data.pixels.damage import without_bad

    if not skip:
        return read_data(source, seed=seed)
    with bar("looking for bad images") as progress:
        data = read_data(source, seed=seed, on_bad="skip")
        return without_bad(data, num_threads=num_cores(), progress=progress)


def told(written: Written, data: DataSet, *, as_json: bool) -> None:
    """Prints what an import or export wrote, and what there is to know about its source."""
    notes = [*data.notes, *written.notes]
    if as_json:
        print_json({
            "path": str(written.path), "splits": dict(written.splits),
            "num_classes": written.num_classes, "notes": notes,
        })  # fmt: skip
        return
    echo(f"wrote      {written.num_images:,} images of {written.num_classes:,} classes to "
         f"{printable(written.path)}: {counted(written.splits)}")  # fmt: skip
    for note in notes:
        echo(f"note       {printable(note)}")
