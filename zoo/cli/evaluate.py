"""``zoo evaluate``: how good a run is, with intervals, class by class."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from zoo.cli.console import apart, echo, print_json, print_table
from zoo.errors import count_of, printable

if TYPE_CHECKING:
    from zoo.evaluation.evaluated import Evaluation

__all__ = ["evaluate"]

_MOST_CLASSES = 50
_FEW_CLASSES = 25


@click.command("evaluate")
@click.argument("run")
@click.option("--data", metavar="DATA", help="Other data, as zoo run --data takes it.")
@click.option("--split", metavar="SPLIT", help="train, val, test or all; test by default.")
@click.option("--metric", "metrics", multiple=True, metavar="NAMES",
              help="Metrics joined by , or +: zoo list metrics. Else a usual set.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "torch", "folded", "onnx", "openvino"]),
              default="auto", show_default=True, help="How the network is computed.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Compute predictions although they are kept.")
@click.option("--resamples", type=click.IntRange(0), metavar="N",
              help="Of the bootstrap; 0 for no intervals.  [1000; 200 for much data]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    run: str,
    data: str | None,
    split: str | None,
    metrics: tuple[str, ...],
    engine: str,
    fresh: bool,
    resamples: int | None,
    as_json: bool,
) -> None:
    """Measure a run on a split, each metric with the interval that the draw of images leaves open.

    RUN is a run folder. Classes of other data are matched by name. The result is also kept in
    RUN/evaluation/, the predictions in RUN/predictions/ for the next time.
    """
    from zoo.api import evaluate as measure

    notes: list[str] = []
    with _stages() as progress, apart(as_json):
        found = measure(
            run, data=data, split=split, metrics=list(metrics) or None, engine=engine, fresh=fresh,
            resamples=resamples, progress=progress, noted=notes.append,
        )  # fmt: skip
    if as_json:
        print_json(found.as_dict())
        return
    _show(found)
    for note in (*found.notes, *notes):
        click.echo(f"note: {printable(note)}", err=True)


@contextmanager
def _stages() -> Iterator[Callable[[str, int, int], None]]:
    """Yields what moves a bar on the terminal, stage by stage, and does nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda what, done, total: shown.update(
            task, description=what, completed=done, total=total
        )


def _show(found: Evaluation) -> None:
    """Prints the tables."""
    click.secho(
        f"{printable(found.run)} on {printable(found.data)}, {found.split}: "
        f"{count_of(found.num_images, 'image')} of {len(found.classes):,} classes",
        bold=True,
    )
    echo()
    print_table(
        ("metric", "value", "95% interval"),
        [
            (one.label, _number(one.value),
             "" if math.isnan(one.low) else f"{one.low:.4f} to {one.high:.4f}")
            for one in found.metrics
        ],
    )  # fmt: skip
    if found.calibration is not None:
        one = found.calibration
        echo()
        echo(
            f"calibration error {one.error_before:.4f}; {one.error_after:.4f} with the temperature "
            f"{one.temperature:.3g}, fitted on {found.calibrated_on}"
            + (" (the end of what is tried)" if one.at_limit else "")
        )
    _show_classes(found)
    if found.confused:
        echo()
        print_table(
            ("most confused", "taken for", "images", "of the class"),
            [(c.true, c.predicted, f"{c.count:,}", f"{c.share:.1%}") for c in found.confused],
        )


def _show_classes(found: Evaluation) -> None:
    """Prints a row a class; of very many classes those that it is worst at."""
    rows = list(found.classes)
    if many := len(rows) > _MOST_CLASSES:
        rows = sorted((row for row in rows if row.support), key=lambda row: row.f1)[:_FEW_CLASSES]
    echo()
    print_table(
        ("class", "images", "predicted", "precision", "recall", "f1", "auroc"),
        [
            (row.name, f"{row.support:,}", f"{row.predicted:,}", _number(row.precision),
             _number(row.recall), _number(row.f1), _number(row.auroc))
            for row in rows
        ],
    )  # fmt: skip
    if many:
        echo(
            f"the {len(rows)} classes of {len(found.classes):,} with the lowest f1; --json has all"
        )


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"
