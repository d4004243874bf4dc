"""The curves of a run, and the table behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo.evaluation.report.plots import Mark, Series, curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.evaluation.report.facts import RunFacts

__all__ = ["boundaries", "curve_figures", "metric_names", "number"]

_KNOWN = {
    "phase", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds",
    "images_per_second", "best",
}  # fmt: skip


def metric_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the further numbers that the run kept an eye on, as ``val_f1``."""
    names = {
        key: None for row in rows for key, value in row.items()
        if key not in _KNOWN and number(value) == number(value)
    }  # fmt: skip
    return list(names)


def number(value: object) -> float:
    """Returns what a row says as a number; NaN where it says none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan  # type: ignore[arg-type]  # just checked


def boundaries(facts: RunFacts) -> list[tuple[float, str]]:
    """Returns where each phase begins, half an epoch before its first one's end, and its name."""
    return [(phase.first - 0.5, phase.name) for phase in facts.phases]


def curve_figures(facts: RunFacts) -> dict[str, Figure]:
    """Returns loss, accuracy, learning rate and what else was measured, by file name."""
    rows, best = facts.rows, facts.best_row
    if not rows:
        return {}
    phases = boundaries(facts)
    epochs = [row["epoch"] for row in rows]

    def line(label: str, key: str, colour: str, *, dashed: bool = False) -> Series:
        values = [number(row.get(key)) for row in rows]
        return Series(label=label, xs=epochs, ys=values, colour=colour, dashed=dashed)

    def at_best(key: str, form: str) -> list[Mark]:
        if best is None or number(best[key]) != number(best[key]):
            return []
        kept = "" if facts.average else ", kept"
        text = f"epoch {best['epoch']}{kept}: {best[key]:{form}}"
        return [Mark(x=best["epoch"], y=best[key], text=text)]

    figures = {
        "loss": curves(
            [line("training", "train_loss", "c8", dashed=True), line("validation", "val_loss",
             "c1")],
            title="Loss", boundaries=phases, marks=at_best("val_loss", ".3f"),
        ),
        "accuracy": curves(
            [line("training", "train_accuracy", "c8", dashed=True),
             line("validation", "val_accuracy", "c1")],
            title="Accuracy", boundaries=phases, percent=True,
            marks=at_best("val_accuracy", ".1%"),
        ),
        "learning-rate": curves(
            [line("learning rate of the head", "lr", "c1")], title="Learning rate of the head",
            boundaries=phases, from_zero=True,
        ),
    }  # fmt: skip
    further = metric_names(rows)
    if further:
        colours = [f"c{1 + number % 8}" for number in range(len(further))]
        figures["metrics"] = curves(
            [line(name, name, colour) for name, colour in zip(further, colours, strict=True)],
            title="Metrics on the validation split",
            boundaries=phases,
        )
    return figures
