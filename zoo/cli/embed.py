"""``zoo embed``: what a network makes of images, in a file and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zoo.evaluation.interpretation.embeddings import Embeddings

__all__ = ["embed"]

_BAD = 3  # the exit code of data


@click.command("embed")
@click.argument("run", metavar="RUN")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("-o", "--output", metavar="FILE", help="Write .npz or .parquet.")
@click.option("--plot", metavar="FILE.png", help="Draw the images on a plane, coloured by class.")
@click.option("--projector", metavar="SPEC", default=None,
              help="How they are placed: zoo list projectors.  [pca]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
              help="Of the projector's randomness.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--data", metavar="DATA", help="Images of a data set, as zoo run --data takes it.")
@click.option("--split", metavar="SPLIT", help="Which split of it, or of the run's own data.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def embed(
    run: str, paths: tuple[str, ...], output: str | None, plot: str | None, projector: str | None,
    seed: int, force: bool, data: str | None, split: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Write the embeddings of images: what the network gives its head, a row an image.

    PATHS are files, folders, patterns or tables of paths; without any, images of the run's own test
    split. Beside the numbers stand the names, the labels as far as they are known, and the
    predicted classes. Exits with 3 if an image could not be read.
    """
    from zoo.api import embed as embedded
    from zoo.cli.console import apart, echo, print_json
    from zoo.cli.data.output import bar
    from zoo.errors import UsageError, count_of, printable
    from zoo.evaluation.interpretation.embeddings import SUFFIXES, write_embeddings
    from zoo.evaluation.predict.writers import check_output
    from zoo.registry import Registry, parse_choice

    if output is None and plot is None:
        raise UsageError("there is nothing to write", hint="-o FILE.npz, or --plot FILE.png")
    if projector is not None and plot is None:
        raise UsageError("--projector has no effect without --plot", hint="--plot FILE.png")
    for name, suffixes in ((output, SUFFIXES), (plot, (".png",))):
        if name is not None:
            check_output(Path(name), force=force, suffixes=suffixes)
    if plot is not None:  # a name that is none is told before anything is computed
        parse_choice(Registry.installed(), "projector", projector or "pca")
    with apart(as_json):
        with bar("embedding") as progress:
            found = embedded(run, paths, data=data, split=split, progress=progress)
        if output is not None:
            write_embeddings(Path(output), found)
        if plot is not None:
            _draw(Path(plot), found, run=run, projector=projector or "pca", seed=seed)
    for name, why in found.bad.items():
        click.echo(f"not read: {printable(name)}: {printable(why)}", err=True)
    files = [name for name in (output, plot) if name is not None]
    size = found.embeddings_ND.shape[1]
    if as_json:
        print_json({"files": files, "images": len(found), "size": size, "bad": dict(found.bad)})
    else:
        echo(f"{count_of(len(found), 'image')}, {size:,} numbers each, in "
             f"{' and '.join(map(printable, files))}")  # fmt: skip
    return _BAD if found.bad else 0


def _draw(path: Path, found: Embeddings, *, run: str, projector: str, seed: int) -> None:
    from zoo.evaluation.interpretation.plane import project, save_plane

    points_N2 = project(found, projector=projector, seed=seed)
    title = f"{Path(run).resolve().name}: {len(found):,} images by {projector}"
    save_plane(path, points_N2, found, title=title)
