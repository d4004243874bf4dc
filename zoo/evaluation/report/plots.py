"""The figures of a report, as matplotlib figures: the same ones are inlined and saved as PNG.

Colours are taken from PALETTE only: in a page they follow its theme.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from zoo.errors import printable
from zoo.evaluation.calibration import Bin

__all__ = [
    "PALETTE",
    "Mark",
    "Series",
    "bars",
    "calibration",
    "curves",
    "drawing",
    "matrix",
]

PALETTE = {
    "ink": "#16191d", "soft": "#5b6570", "faint": "#8a939d", "line": "#e2e6ea",
    "mat": "#f5f7f9", "paper": "#ffffff",
    "c1": "#2563a8", "c2": "#c2571a", "c3": "#2a8a6a", "c4": "#8a5fb0",
    "c5": "#a8801a", "c6": "#3f93b5", "c7": "#a8475f", "c8": "#76818c",
}  # fmt: skip
"""Name to colour, as in style.css; c1 to c8 tell lines apart."""

_WIDTH, _HEIGHT = 5.2, 3.1
_FEW = 10
_FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Microsoft YaHei", "Arial Unicode MS", "Noto Emoji",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of a chart.

    Args:
        label: Its name in the legend.
        xs: Places, rising.
        ys: Values; NaN leaves a gap.
        colour: A name of :data:`PALETTE`.
        dashed: Whether it is broken.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str = "c1"
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point of a chart that is ringed, with a word in the legend."""

    x: float
    y: float
    text: str
    colour: str = "c1"


@contextmanager
def drawing() -> Iterator[None]:
    """Sets what a figure takes while it is drawn, and takes it back.

    A character that no font of the machine has becomes a box, without a warning.
    """
    settings = {
        "svg.fonttype": "none", "svg.hashsalt": "zoo", "font.family": list(_fonts()),
        "font.size": 10, "text.parse_math": False, "axes.unicode_minus": False,
        "path.simplify": True,
    }  # fmt: skip
    with mpl.rc_context(cast("Any", settings)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


@cache
def _fonts() -> tuple[str, ...]:
    """Returns the fonts of the list that this machine has, matplotlib's own first."""
    from matplotlib.font_manager import fontManager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    there = set(fontManager.get_font_names())
    return tuple(name for name in _FONTS if name in there)


def curves(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str = "epoch",
    boundaries: Sequence[tuple[float, str]] = (),
    marks: Sequence[Mark] = (),
    percent: bool = False,
    from_zero: bool = False,
) -> Figure:
    """Returns lines over epochs, with a legend above them.

    Args:
        series: The lines.
        title: Stands above, in a PNG as in a page.
        x_label: What the horizontal axis counts.
        boundaries: Where a phase begins and its name; all but the first get a line.
        marks: Points that stand out.
        percent: Whether values are shares.
        from_zero: Whether the vertical axis begins at zero.
    """
    with drawing():
        figure, axes = _frame(title)
        for one in series:
            _line(
                axes, one.xs, one.ys, color=PALETTE[one.colour], linewidth=1.9,
                label=_text(one.label), linestyle=(0, (4, 2)) if one.dashed else "-",
                solid_capstyle="round", marker="o" if len(one.xs) < 20 else None, markersize=3.6,
                zorder=3,
            )  # fmt: skip
        for mark in marks:
            _line(
                axes, [mark.x], [mark.y], marker="o", markersize=9, markerfacecolor="none",
                markeredgecolor=PALETTE[mark.colour], markeredgewidth=1.5, linestyle="", zorder=4,
                label=_text(mark.text),
            )  # fmt: skip
        if from_zero:
            axes.set_ylim(bottom=0)
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel(x_label, color=PALETTE["soft"], fontsize=9.5)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.1 * (high - low))  # room for the phases' names
        _phases(axes, boundaries)
        if len(series) + len(marks) > 1:
            _legend(axes)
    return figure


def calibration(
    before: Sequence[Bin], after: Sequence[Bin] | None, *, title: str, multi_label: bool = False
) -> Figure:
    """Returns a reliability diagram: how often answers are right that are this sure.

    Bins of fewer than ten answers are rings that the line leaves out: they say little.

    Args:
        before: Bins that have answers.
        after: The same with the temperature; None without one.
        title: Stands above.
        multi_label: Whether an image has an answer for each class, and not one.
    """
    counted, given, share = "images", "its answer", "share that is right"
    if multi_label:
        counted, given, share = "answers", "each label", "share that holds"
    with drawing():
        figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        for part in (axes, below):
            _plain(part)
        _title(axes, title)
        axes.plot([0, 1], [0, 1], color=PALETTE["faint"], linewidth=1, linestyle=(0, (3, 3)),
                  label="perfect")  # fmt: skip
        for label, bins, colour in (
            ("as trained", before, "c2"), ("with temperature", after or (), "c1"),
        ):  # fmt: skip
            many = [one for one in bins if one.count >= _FEW] or list(bins)
            few = [one for one in bins if one not in many]
            _line(
                axes, [one.confidence for one in many], [one.accuracy for one in many],
                color=PALETTE[colour], marker="o", markersize=4, linewidth=1.9, label=label,
                zorder=3,
            )  # fmt: skip
            _line(
                axes, [one.confidence for one in few], [one.accuracy for one in few], linestyle="",
                marker="o", markersize=3.5, markerfacecolor="none", markeredgewidth=0.9, zorder=2,
                markeredgecolor=PALETTE[colour],
            )  # fmt: skip
        counts = after or before
        below.bar([b.confidence for b in counts], [b.count for b in counts], width=0.045,
                  color=PALETTE["c1" if after else "c2"])  # fmt: skip
        below.set_ylabel(counted, color=PALETTE["soft"], fontsize=9.5)
        below.set_xlabel(f"probability that the network gives {given}",
                         color=PALETTE["soft"], fontsize=9.5)  # fmt: skip
        axes.set_ylabel(share, color=PALETTE["soft"], fontsize=9.5)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        for axis in (axes.yaxis, below.xaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        _legend(axes)
    return figure


def bars(names: Sequence[str], values: Sequence[float], *, title: str) -> Figure:
    """Returns a horizontal bar for each name, the first on top, with its number beside it."""
    with drawing():
        figure = Figure(figsize=(_WIDTH, 0.9 + 0.26 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        _plain(axes)
        places = np.arange(len(names))
        axes.barh(places, values, color=PALETTE["c1"], height=0.62)
        axes.set_yticks(places, [_text(name, 28) for name in names])
        axes.tick_params(axis="y", labelcolor=PALETTE["ink"])
        axes.grid(False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.invert_yaxis()
        most = max([*values, 1e-9])
        axes.set_xlim(0, most * 1.16)
        for place, value in enumerate(values):
            axes.text(value + most * 0.015, place, f"{value:,.0f}",
                      va="center", color=PALETTE["soft"], fontsize=9)  # fmt: skip
        _title(axes, title)
    return figure


def matrix(counts_KK: NDArray[np.int64], classes: Sequence[str], *, title: str) -> Figure:
    """Returns a confusion matrix in which each row sums to one; names up to 60 classes."""
    with drawing():
        num = len(classes)
        named = num <= 60
        side = min(12.0, max(4.2, 0.34 * num + 1.6)) if named else 9.0
        figure = Figure(figsize=(side, side), layout="constrained")
        axes = figure.add_subplot()
        totals_K1 = counts_KK.sum(1, keepdims=True)
        share_KK = counts_KK / np.maximum(totals_K1, 1)
        colours = LinearSegmentedColormap.from_list("zoo", [PALETTE["mat"], PALETTE["c1"]])
        axes.imshow(share_KK, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        if named:
            size = 9 if num <= 20 else 7 if num <= 40 else 5
            shown = [_text(name, 20) for name in classes]
            axes.set_xticks(range(num), shown, rotation=90, fontsize=size)
            axes.set_yticks(range(num), shown, fontsize=size)
        if num <= 20:
            for row, column in zip(*np.nonzero(counts_KK), strict=True):
                ink = PALETTE["paper" if share_KK[row, column] > 0.55 else "ink"]
                axes.text(column, row, f"{counts_KK[row, column]:,}", ha="center", va="center",
                          color=ink, fontsize=8)  # fmt: skip
        axes.tick_params(length=0, colors=PALETTE["soft"])
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted", color=PALETTE["soft"])
        axes.set_ylabel("true", color=PALETTE["soft"])
        _title(axes, title)
    return figure


def _frame(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    _plain(axes)
    _title(axes, title)
    return figure, axes


def _line(axes: Axes, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
    """Draws a line over the edge of the axes too, if there is a point of it to draw.

    Without one its place is nowhere, and a layout that makes room for it leaves none for the rest.
    """
    if np.isfinite(ys).any():
        axes.plot(xs, ys, clip_on=False, **style)


def _plain(axes: Axes) -> None:
    """Leaves of the axes what helps to read a value."""
    axes.grid(axis="y", color=PALETTE["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(PALETTE["faint"])
    axes.tick_params(length=0, labelsize=9.5, labelcolor=PALETTE["soft"], color=PALETTE["faint"])


def _title(axes: Axes, title: str) -> None:
    axes.set_title(
        _text(title, 60), loc="left", color=PALETTE["ink"], fontsize=11, fontweight=600, pad=10
    )


def _legend(axes: Axes) -> None:
    """Puts the legend beside the title where there is room, else where it hides least."""
    handles, labels = axes.get_legend_handles_labels()
    beside = sum(map(len, (*labels, axes.get_title(loc="left")))) + 6 * len(labels) < 66
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": len(labels)}
    legend = axes.legend(
        handles, labels, frameon=False, fontsize=9.5, labelcolor=PALETTE["soft"], handlelength=1.4,
        borderaxespad=0.1, columnspacing=1.1, handletextpad=0.5,
        **(where if beside else {"loc": "best"}),
    )  # fmt: skip
    legend.set_in_layout(not beside)  # the title's row has the room


def _phases(axes: Axes, boundaries: Sequence[tuple[float, str]]) -> None:
    """Draws where each phase begins, and its name at the top."""
    if len(boundaries) < 2:
        return
    left = axes.get_xlim()[0]
    for number, (start, name) in enumerate(boundaries):
        if number:
            axes.axvline(start, color=PALETTE["faint"], linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            _text(name, 20), (max(start, left), 1), xycoords=("data", "axes fraction"),
            xytext=(4, -2), textcoords="offset points", va="top", fontsize=9,
            color=PALETTE["faint"],
        )  # fmt: skip


def _text(name: str, most: int = 40) -> str:
    """Returns a name in one line that cannot act, short enough for its place."""
    shown = printable(name)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
