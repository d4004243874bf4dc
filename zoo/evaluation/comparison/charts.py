"""The charts of a comparison: curves laid over each other, differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from zoo.errors import printable
from zoo.evaluation.report.plots import PALETTE, Mark, Series, curves, drawing
from zoo.evaluation.report.training import boundaries, metric_names

if TYPE_CHECKING:
    from zoo.evaluation.comparison.records import Comparison, Standing

__all__ = ["curve_figures", "forest"]

_NUM_COLOURS = 8
_OUTCOMES = {"better": "c3", "worse": "c2", "noise": "c8"}


def curve_figures(runs: Sequence[Standing]) -> dict[str, Figure]:
    """Returns validation loss, accuracy and further metrics of all runs over epochs, by title.

    The boundaries of phases are drawn where all runs have the same ones.
    """
    trained = [run for run in runs if run.facts.rows]
    if not trained:
        return {}
    phases = [boundaries(run.facts) for run in trained]
    common = phases[0] if all(phase == phases[0] for phase in phases) else []
    shared = [name for name in metric_names(trained[0].facts.rows)
              if all(name in metric_names(run.facts.rows) for run in trained)]  # fmt: skip
    wanted = {"val_accuracy": "Validation accuracy", "val_loss": "Validation loss",
              "train_loss": "Training loss", "lr": "Learning rate of the head"}  # fmt: skip
    wanted |= {name: f"Validation {name.removeprefix('val_')}" for name in shared}
    figures = {}
    for key, title in wanted.items():
        series, marks = [], []
        for number, run in enumerate(trained):
            colour = f"c{1 + number % _NUM_COLOURS}"
            series.append(Series(
                label=run.label, xs=[row["epoch"] for row in run.facts.rows],
                ys=[_number(row.get(key)) for row in run.facts.rows], colour=colour,
                dashed=number >= _NUM_COLOURS,
            ))  # fmt: skip
            best = None if run.facts.average else run.facts.best_row  # else no epoch was kept
            value = float("nan") if best is None else _number(best.get(key))
            if best is not None and value == value and key.startswith("val_"):
                marks.append(Mark(x=best["epoch"], y=value, text="", colour=colour))
        figures[title] = curves(
            series,
            title=title,
            boundaries=common,
            marks=marks,
            percent=key == "val_accuracy",
            from_zero=key == "lr",
        )
    return figures


def forest(comparison: Comparison) -> Figure | None:
    """Returns the difference in accuracy to each other run with its interval; None without any."""
    found = [v for v in comparison.verdicts if v.metric == "accuracy" and v.outcome != "untested"]
    if not found:
        return None
    with drawing():
        figure = Figure(figsize=(5.2, 1.1 + 0.34 * len(found)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=PALETTE["faint"], linewidth=1, linestyle=(0, (3, 3)))
        for place, verdict in enumerate(found):
            colour = PALETTE[_OUTCOMES[verdict.outcome]]
            low, high = 100 * verdict.low, 100 * verdict.high
            axes.plot([low, high], [place, place], color=colour, linewidth=3,
                      solid_capstyle="round")  # fmt: skip
            axes.plot([100 * verdict.difference], [place], marker="o", markersize=7, color=colour,
                      linestyle="")  # fmt: skip
        names = [f"against {printable(verdict.other)}" for verdict in found]
        axes.set_yticks(range(len(found)), [n if len(n) < 30 else n[:29] + "…" for n in names])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(PALETTE["faint"])
        axes.tick_params(length=0, labelsize=9.5, labelcolor=PALETTE["soft"])
        axes.tick_params(axis="y", labelcolor=PALETTE["ink"])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:+g}" if value else "0")
        )
        axes.set_xlabel("points of accuracy, in favour of the first run to the right",
                        color=PALETTE["soft"], fontsize=9.5)  # fmt: skip
        axes.set_title("Difference in accuracy", loc="left", color=PALETTE["ink"], fontsize=11,
                       fontweight=600, pad=10)  # fmt: skip
    return figure


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
