"""``zoo report``: one page that says how good a run is, where it fails, and how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.errors import printable

if TYPE_CHECKING:
    from zoo.evaluation.report.making import Report

__all__ = ["report"]


@click.command("report")
@click.argument("run", metavar="RUN")
@click.option("--data", metavar="DATA", help="Other data than the run was trained on.")
@click.option("--split", metavar="SPLIT", help="train, val, test or all.  [test, else val]")
@click.option("-o", "--output", metavar="FILE.html", help="Where the page goes.  [RUN/report.html]")
@click.option("--explainer", default="gradcam", show_default=True, metavar="NAME",
              help="Heat maps: zoo list explainers, or none.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "torch", "folded", "onnx", "openvino"]),
              default="auto", show_default=True, help="How the network is computed.")  # fmt: skip
@click.option("--open", "opened", is_flag=True, help="Show the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print paths and numbers as JSON.")
def report(
    run: str,
    data: str | None,
    split: str | None,
    output: str | None,
    explainer: str,
    engine: str,
    opened: bool,
    as_json: bool,
) -> None:
    """Write a page about a run, its plots as PNG, and a model card.

    The page is one file that needs nothing else: it can be mailed, and opens without a network.
    Plots and model-card.md go into the run folder.
    """
    from zoo.api import report as make
    from zoo.cli.console import apart, echo, print_json
    from zoo.cli.data.output import bar

    with bar("report") as shown, apart(as_json):
        made = make(
            run, data=data, split=split, output=output, engine=engine,
            explainer=None if explainer == "none" else explainer,
            progress=lambda what, done, total: shown(done, total),
        )  # fmt: skip
    if as_json:
        print_json(_plain(made))
    else:
        for note in made.notes:
            echo(f"note       {printable(note)}")
        for name, (value, low, high) in list(made.scores.items())[:1]:
            between = "" if low is None or high is None else f", 95% {low:.1%} to {high:.1%}"
            echo(f"{made.split:<10} {name} {value:.1%}{between}")
        echo(f"report     {printable(made.page)}")
        echo(f"card       {printable(made.card)}")
        echo(f"plots      {len(made.plots)} in {printable(made.card.parent / 'plots')}")
    if opened:
        import webbrowser

        webbrowser.open(Path(made.page).resolve().as_uri())


def _plain(made: Report) -> dict[str, object]:
    return {
        "report": str(made.page), "card": str(made.card), "plots": [str(p) for p in made.plots],
        "split": made.split, "notes": list(made.notes),
        "scores": {
            name: {"value": value, "low": low, "high": high}
            for name, (value, low, high) in made.scores.items()
        },
    }  # fmt: skip
