"""``zoo data stats``: what the pixels, classes and sizes of a data set are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.console import apart, echo, print_json, print_table
from zoo.cli.data.output import bar, counted, print_pairs, save_png
from zoo.errors import printable

if TYPE_CHECKING:
    from PIL import Image

    from zoo.data.inspection.findings import Report, Spread
    from zoo.data.statistics import ChannelStatistics
    from zoo.protocols import DataSet

__all__ = ["stats"]

_SHOWN_CLASSES = 40


@click.command("stats")
@click.argument("source", metavar="PATH")
@click.option("--sheet", metavar="FILE.png", help="Write a contact sheet of each class.")
@click.option("--per-class", type=click.IntRange(1, 50), default=8, show_default=True,
              help="With --sheet: images of each class.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of the split, where the data has none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(source: str, sheet: str | None, per_class: int, seed: int, as_json: bool) -> None:
    """Show mean and deviation of the training images, class counts and sizes.

    PATH is what zoo run --data takes. The mean and the deviation are exact, of the pixels as they
    are in the images, and what zoo run --normalize data uses. Images that cannot be read are left
    out and counted.
    """
    from zoo.api import read_data
    from zoo.cores import num_cores
    from zoo.data.inspection.check import check_data
    from zoo.data.pixels.damage import without_bad
    from zoo.data.statistics import channel_statistics

    with bar("looking for bad images") as progress, apart(as_json):
        data = read_data(source, seed=seed, on_bad="skip")
        data = without_bad(data, num_threads=num_cores(), progress=progress)
    with bar("sizes") as progress, apart(as_json):
        report = check_data(data, near=None, progress=progress)
    with bar("pixels") as progress, apart(as_json):
        channels = channel_statistics(
            data.splits["train"].images, num_threads=num_cores(), progress=progress
        )
    if sheet is not None:
        save_png(_class_sheet(data, per_class), Path(sheet))
    if as_json:
        print_json({
            "name": data.name, "channels": asdict(channels), "classes": data.classes,
            "counts": report.counts, "num_bad": len(data.bad), "fingerprint": data.fingerprint,
            "sizes": asdict(report.sizes) if report.sizes else None, "formats": report.formats,
            "imbalance": asdict(report.imbalance) if report.imbalance else None,
        })  # fmt: skip
        return
    _print(data, report, channels)
    if sheet is not None:
        echo(f"sheet      {printable(sheet)}")


def _print(data: DataSet, report: Report, channels: ChannelStatistics) -> None:
    """Prints the table of classes and the totals."""
    splits = list(report.counts)
    num_train = max(1, len(data.splits["train"].images))
    print_table(
        ("class", *splits, "share of train"),
        [
            (label, *(f"{report.counts[split].get(label, 0):,}" for split in splits),
             f"{report.counts['train'].get(label, 0) / num_train:.1%}")
            for label in data.classes
        ],
    )  # fmt: skip
    echo()
    sizes = report.sizes
    print_pairs({
        "images": counted({split: len(part.images) for split, part in data.splits.items()})
        + (f"; {len(data.bad):,} cannot be read and are left out" if data.bad else ""),
        "size": f"width {_spread(sizes.width)}, height {_spread(sizes.height)}" if sizes else "",
        "formats": counted(report.formats),
        "mean": "  ".join(f"{value:.6f}" for value in channels.mean) + "  (red, green, blue; 0..1)",
        "std": "  ".join(f"{value:.6f}" for value in channels.std),
        "pixels": f"{channels.num_pixels:,} of the training images, each counted",
    })  # fmt: skip


def _spread(spread: Spread) -> str:
    return f"{spread.smallest:,g} to {spread.largest:,g} (median {spread.median:,g})"


def _class_sheet(data: DataSet, per_class: int) -> Image.Image:
    """Returns a few training images of each class, spread evenly over the class."""
    import numpy as np

    from zoo.data.inspection.check import picture
    from zoo.data.sheet import Cell, contact_sheet

    part = data.splits["train"]
    several_NK = part.targets_NK if data.multi_label else None
    cells = []
    for label, name in enumerate(data.classes[:_SHOWN_CLASSES]):
        has_N = part.labels_N == label if several_NK is None else several_NK[:, label] > 0.5
        rows = np.flatnonzero(has_N)
        chosen = rows[np.linspace(0, len(rows) - 1, min(per_class, len(rows))).round().astype(int)]
        heading = f"{name}  ({len(rows):,})"
        cells += [Cell(image=picture(part.images, int(row)), group=heading) for row in chosen]
    hidden = len(data.classes) - _SHOWN_CLASSES
    more = f", the first {_SHOWN_CLASSES} shown" if hidden > 0 else ""
    title = f"{data.name}: {len(data.classes)} classes{more}"
    return contact_sheet(cells, columns=min(8, per_class), side=112, title=title)
