"""``zoo compare``: whether the first run is better than others, or the difference is noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.cli.console import apart, echo, print_json, print_table, reader_may_leave
from zoo.cli.data.output import bar
from zoo.cli.values import FiniteRange
from zoo.disk import refuse_folder
from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from zoo.evaluation.comparison.records import Comparison

__all__ = ["compare"]

_SHOWN_DIFFERENCES = 30


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--data", metavar="DATA", help="Compare on this data; by default on the runs' own.")
@click.option("--split", metavar="NAME", help="Split: test where all runs have one, else val.")
@click.option(
    "--metric", "metrics", metavar="NAMES",
    help="Besides accuracy and loss, as f1,auroc: zoo list metrics; f1 by default.",
)  # fmt: skip
@click.option(
    "--alpha", type=FiniteRange(0, 1, min_open=True, max_open=True), default=0.05,
    show_default=True, help="A difference with a p-value below this is no noise.",
)  # fmt: skip
@click.option(
    "--assert-better",
    metavar="METRIC",
    help="Exit with 10 unless the first run is better than every other one by this metric.",
)
@click.option("-o", "--output", metavar="FILE.html", help="Write a page with curves.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    runs: tuple[str, ...], data: str | None, split: str | None, metrics: str | None, alpha: float,
    assert_better: str | None, output: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare the first RUN with each other one on the same images.

    zoo compare A B says whether A is better than B: +3 points are in favour of A. A difference is
    tested image by image, accuracy by McNemar's test and other metrics by a paired bootstrap; with
    more than one other run the p-values are corrected by Holm. Runs that were not examined on the
    same images get intervals of their own, and the reason why they were not tested.
    """
    from zoo.api.runs import compare as compare_runs
    from zoo.api.runs import metric_label

    if len(runs) < 2:
        raise UsageError(
            "one run alone cannot be compared", hint=f"zoo compare {printable(runs[0])} runs/OTHER"
        )
    if output is not None:
        refuse_folder(Path(output))
    label = None if assert_better is None else metric_label(assert_better)
    wanted = metrics
    if label is not None and label not in ("accuracy", "loss"):
        wanted = f"{metrics},{assert_better}" if metrics else assert_better
    with bar("predictions") as progress, apart(as_json):
        comparison = compare_runs(
            runs, data=data, split=split, metrics=wanted, alpha=alpha,
            progress=lambda what, done, total: progress(done, total),
        )  # fmt: skip
    with reader_may_leave():  # said before the page is written, which may fail
        if as_json:
            print_json(comparison.as_dict())
        else:
            _print(comparison)
    if output is not None:
        from zoo.evaluation.comparison.page import write_page

        write_page(Path(output), comparison)
        if not as_json:
            echo(f"\npage  {printable(output)}")
    if label is not None:
        comparison.assert_better(label)


def _print(comparison: Comparison) -> None:
    """Prints the numbers, the verdicts and the differences."""
    from zoo.evaluation.comparison.words import change, outcome, p_text, span, with_interval

    runs, metrics = comparison.runs, comparison.metrics
    paired = all(run.not_paired is None for run in runs)
    data = printable(runs[0].examined.data.name)
    count = len(runs[0].examined.predictions)
    images = f"{count:,} images, the same for all runs" if paired else "not the same for all runs"
    echo(f"{comparison.split} split of {data}: {images}; 95 % intervals\n")
    print_table(
        ("run", *metrics, "best epoch", "training"),
        [
            (run.label, *(with_interval(m, run.values[m]) for m in metrics),
             "" if run.facts.best_row is None else str(run.facts.best_row["epoch"]),
             f"{run.facts.seconds:,.0f} s")
            for run in runs
        ],
    )  # fmt: skip
    for other in runs[1:]:
        echo(f"\n{printable(runs[0].label)} against {printable(other.label)}")
        if other.not_paired is not None:
            echo(f"  not tested: {printable(other.not_paired)}")
            continue
        print_table(
            ("  metric", "difference", "95 % interval", "p", "verdict"),
            [
                (f"  {v.metric}", change(v.metric, v.difference), span(v),
                 p_text(v.corrected).removeprefix("p = ").removeprefix("p "), outcome(v))
                for v in comparison.against(other)
            ],
        )  # fmt: skip
    if sum(run.not_paired is None for run in runs[1:]) > 1:
        echo("\np-values are corrected by Holm for the number of runs tested")
    _print_differences(comparison)
    for note in comparison.notes:
        echo(f"note  {printable(note)}")


def _print_differences(comparison: Comparison) -> None:
    """Prints what the runs were made with, where it is not the same."""
    differences = comparison.differences
    if not differences:
        echo("\nmade with the same options, components and versions")
        return
    echo()
    print_table(
        ("what differs", *(_cut(run.label) for run in comparison.runs)),
        [
            (d.key, *(_cut(value) for value in d.values))
            for d in differences[:_SHOWN_DIFFERENCES]
        ],
    )  # fmt: skip
    if len(differences) > _SHOWN_DIFFERENCES:
        echo(f"and {len(differences) - _SHOWN_DIFFERENCES} more: --json or -o FILE.html has them")


def _cut(text: str, most: int = 44) -> str:
    shown = printable(text) or "-"
    return shown if len(shown) <= most else shown[: most - 1] + "…"
