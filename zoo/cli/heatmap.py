"""``zoo heatmap``: which parts of images speak for a class, as a page of pictures."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["heatmap"]

_BAD = 3  # the exit code of data


@click.command("heatmap")
@click.argument("run", metavar="RUN")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("-o", "--output", metavar="FILE.png", default="heatmap.png", show_default=True,
              help="The page that is written.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--explainer", metavar="SPEC", default="gradcam", show_default=True,
              help="How: zoo list explainers; with :layer=NAME at that layer.")  # fmt: skip
@click.option("--class", "class_name", metavar="NAME",
              help="The class to explain; by default the most probable one.")  # fmt: skip
@click.option("--count", type=click.IntRange(1, 1000), default=16, show_default=True,
              help="At most so many images, evenly spread over them all.")  # fmt: skip
@click.option("--data", metavar="DATA", help="Images of a data set, as zoo run --data takes it.")
@click.option("--split", metavar="SPLIT", help="Which split of it, or of the run's own data.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def heatmap(
    run: str, paths: tuple[str, ...], output: str, force: bool, explainer: str,
    class_name: str | None, count: int, data: str | None, split: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Draw images with the heat of the places that speak for a class.

    PATHS are files, folders, patterns or tables of paths; without any, images of the run's own test
    split. Exits with 3 if an image could not be read; the others are drawn all the same.
    """
    from zoo.api import heatmap as heat_of
    from zoo.cli.console import apart, echo, print_json
    from zoo.cli.data.output import bar
    from zoo.errors import count_of, printable
    from zoo.evaluation.interpretation.sheets import heat_sheet, save_sheet
    from zoo.evaluation.predict.writers import check_output

    check_output(Path(output), force=force, suffixes=(".png",))
    with bar("explaining") as progress, apart(as_json):
        found = heat_of(
            run, paths, data=data, split=split, explainer=explainer, class_name=class_name,
            count=count, progress=progress,
        )  # fmt: skip
    title = f"{Path(run).resolve().name}, {explainer}"
    save_sheet(Path(output), heat_sheet(found.explained, title=title))
    for name, why in found.bad.items():
        click.echo(f"not read: {printable(name)}: {printable(why)}", err=True)
    if as_json:
        print_json({
            "path": output,
            "images": [
                {"image_id": one.name, "class": one.class_name, "probability": one.probability,
                 "label": one.label}
                for one in found.explained
            ],
            "bad": dict(found.bad),
            "left_out": found.left_out,
        })  # fmt: skip
    else:
        more = f"; {found.left_out:,} more were left out, see --count" if found.left_out else ""
        echo(f"{count_of(len(found.explained), 'image')} in {printable(output)}{more}")
    return _BAD if found.bad else 0
