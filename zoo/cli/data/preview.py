"""``zoo data preview``: one augmented batch as a picture."""

from __future__ import annotations

import math
from pathlib import Path

import click

from zoo.cli.console import apart, echo, print_json
from zoo.cli.data.output import save_png
from zoo.cli.run import Grouped, run_flags, table_of
from zoo.errors import count_of, printable
from zoo.plugin import Value

__all__ = ["preview"]


def _preview(
    config_file: str | None,
    settings: tuple[str, ...],
    output: str,
    count: int,
    epoch: int,
    as_json: bool,
    **flags: Value,
) -> None:
    """Draw the first training images of an epoch, augmented, as the model will see them.

    Takes all flags of zoo run; --data, --aug, --img-size, --fit and --seed are those that matter
    most. A mixed image shows all of its labels.
    """
    import numpy as np
    from PIL import Image

    from zoo.api import preview as previewed
    from zoo.cli.progress import RunDisplay
    from zoo.data.sheet import Cell, contact_sheet

    display = None if as_json else RunDisplay()
    try:
        table = table_of(config_file, settings, flags)
        with apart(as_json):
            pairs = previewed(table, count=count, epoch=epoch - 1, observer=display)
    finally:
        if display is not None:
            display.close()
    cells = [
        Cell(image=Image.fromarray(np.squeeze(pixels, -1) if pixels.shape[-1] == 1 else pixels),
             caption=caption)
        for pixels, caption in pairs
    ]  # fmt: skip
    side = max((max(cell.image.size) for cell in cells), default=1)
    title = f"{table.get('data', 'fashion-mini')}, epoch {epoch}, {side} pixels"
    sheet = contact_sheet(
        cells, columns=max(1, math.isqrt(len(cells) * 2)), side=max(96, min(side, 256)), title=title
    )
    save_png(sheet, Path(output))
    if as_json:
        print_json({"path": output, "epoch": epoch, "labels": [caption for _, caption in pairs]})
    else:
        echo(f"{count_of(len(cells), 'image')} in {printable(output)}")


preview = Grouped(
    "preview",
    callback=_preview,
    help=_preview.__doc__,
    params=[
        click.Option(["-o", "--output"], metavar="FILE.png", default="preview.png",
                     show_default=True, help="The picture that is written."),
        click.Option(["--count"], type=click.IntRange(1, 1000), default=32, show_default=True,
                     help="How many images."),
        click.Option(["--epoch"], type=click.IntRange(1), default=1, show_default=True,
                     help="Of the run; each is augmented differently."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the labels as JSON."),
        *run_flags(),
    ],
)  # fmt: skip
