"""``zoo review``: images whose label may be wrong, as a list and as a page of pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zoo.evaluation.interpretation.review import Review

__all__ = ["review"]

_SHOWN = 20


@click.command("review")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--data", metavar="DATA", help="Review a data set, as zoo run --data takes it.")
@click.option("--split", metavar="SPLIT",
              help="Images: train, val, test or all.  [all; of several runs val]")  # fmt: skip
@click.option("--reviewer", metavar="SPEC", default="confident-learning", show_default=True,
              help="How: zoo list reviewers.")  # fmt: skip
@click.option("-o", "--output", metavar="FILE.csv", help="Write all candidates, ranked.")
@click.option("--sheet", metavar="FILE.png", help="Draw the first candidates.")
@click.option("--count", type=click.IntRange(1, 1000), default=48, show_default=True,
              help="How many are drawn.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print all candidates as JSON.")
def review(
    runs: tuple[str, ...], data: str | None, split: str | None, reviewer: str,
    output: str | None, sheet: str | None, count: int, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """List images whose label may be wrong, the most suspicious first, for you to look at.

    Nothing is changed. A run has learned the labels of the images it was trained on, wrong ones
    too: labels are judged best by a run that has not seen them. Give the folder that zoo kfold made
    to have every image judged so.
    """
    from zoo.api import review as reviewed
    from zoo.cli.console import apart, print_json
    from zoo.cli.data.output import bar
    from zoo.errors import printable
    from zoo.evaluation.interpretation.review import write_review
    from zoo.evaluation.interpretation.sheets import review_sheet, save_sheet
    from zoo.evaluation.predict.writers import check_output

    for name, suffixes in ((output, (".csv",)), (sheet, (".png",))):
        if name is not None:
            check_output(Path(name), force=force, suffixes=suffixes)
    with bar("looking at the images") as progress, apart(as_json):
        found = reviewed(
            runs, data=data, split=split, reviewer=reviewer,
            progress=lambda what, done, total: progress(done, total),
        )  # fmt: skip
    if output is not None:
        write_review(Path(output), found)
    if sheet is not None:
        save_sheet(Path(sheet), review_sheet(found, most=count))
    for note in found.notes:
        click.echo(f"note: {printable(note)}", err=True)
    if as_json:
        print_json({
            "data": found.data, "reviewer": found.reviewer, "images": found.num_images,
            "candidates": [
                {key: value for key, value in dataclasses.asdict(one).items() if key != "place"}
                for one in found.candidates
            ],
        })  # fmt: skip
    else:
        _show(found, [name for name in (output, sheet) if name is not None])


def _show(found: Review, files: list[str]) -> None:
    """Prints the first candidates, and where all of them are."""
    from zoo.cli.console import echo, print_table
    from zoo.errors import printable

    count = len(found.candidates)
    if not count:
        echo(f"{printable(found.data)}: no label to look at among {found.num_images:,} images")
    else:
        print_table(
            ("image", "split", "label", "suggested", "suspicion"),
            [
                (one.name, one.split, one.label, one.suggested, f"{one.suspicion:.3f}")
                for one in found.candidates[:_SHOWN]
            ],
        )
        more = f", the first {_SHOWN} above" if count > _SHOWN else ""
        echo(f"\n{count:,} of {found.num_images:,} labels to look at ({found.reviewer}){more}")
    if files:
        echo(f"written: {', '.join(map(printable, files))}")
    elif count > _SHOWN:
        echo("-o FILE.csv lists all of them, --sheet FILE.png shows them")
