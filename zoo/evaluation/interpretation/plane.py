"""Embeddings on a plane, drawn.

Shapes: N images, D numbers an embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import PluginError, printable
from zoo.registry import Registry, build, parse_choice
from zoo.registry.loading import blamed

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from zoo.evaluation.interpretation.embeddings import Embeddings
    from zoo.protocols import Projector

__all__ = ["draw_plane", "project", "save_plane"]

_MOST_NAMED = 20
"""Classes that a legend can hold, and that twenty colours tell apart."""

_COLOURS = (
    "#1f6fb4", "#e8702a", "#2a9d63", "#c93a45", "#8a5fb0", "#8c6a4f", "#d76fb0", "#6e7781",
    "#b5a51f", "#20a9b8", "#8fbfe6", "#f5b98a", "#96d3a8", "#eb9a9e", "#c4afdb", "#c3ada0",
    "#ebb3d8", "#b9bfc6", "#d9d17f", "#93d7de",
)  # fmt: skip


def project(
    embeddings: Embeddings, *, projector: str = "pca", seed: int = 0,
    registry: Registry | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Returns points_N2, one for each image.

    Args:
        embeddings: What to place.
        projector: Spec of a projector.
        seed: Of its randomness, if it has any.
        registry: The components to choose from; by default all that are installed.

    Raises:
        UsageError: There are too few images for it.
        PluginError: Its package is not installed, or it returns no points.
    """
    choice = parse_choice(registry or Registry.installed(), "projector", projector)
    projecting: Projector = build(choice, seed=seed)
    with blamed([choice]):
        points_N2 = np.asarray(projecting(embeddings.embeddings_ND), dtype=np.float32)
    if points_N2.shape != (len(embeddings), 2) or not np.isfinite(points_N2).all():
        raise PluginError(
            f"the projector {choice.entry.id} did not return a point for each image",
            found=f"shape {points_N2.shape} for {len(embeddings)} images, or no finite numbers",
        )
    return points_N2


def draw_plane(points_N2: NDArray[np.float32], embeddings: Embeddings, *, title: str) -> Figure:
    """Returns a scatter plot, coloured by class; an image that is predicted wrongly is a cross.

    Colours are those of the labels where all are known, else of the predicted classes. Up to twenty
    classes stand in a legend. Draw it inside ``zoo.evaluation.report.plots.drawing``.

    Args:
        points_N2: Where each image is.
        embeddings: Which images.
        title: Headline.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    known = all(embeddings.labels)
    shown = np.asarray(embeddings.labels if known else embeddings.predicted, dtype=object)
    # Several labels at once are joined by a bar. What is the name of a class is that class.
    one_label = set(embeddings.classes)
    right_N = np.asarray([
        said == name or (name not in one_label and said in name.split("|"))
        for said, name in zip(embeddings.predicted, shown.tolist(), strict=True)
    ], dtype=np.bool_)  # fmt: skip
    names = [name for name in embeddings.classes if (shown == name).any()]
    names += sorted(set(shown.tolist()) - set(names))  # several labels at once
    figure = Figure(figsize=(8.4, 6.2), layout="constrained")
    axes = figure.add_subplot()
    size = float(np.clip(9000 / max(1, len(points_N2)), 5, 45))
    colours = _colours(len(names))
    colour_of = dict(zip(names, colours, strict=True))
    order_N = np.random.default_rng(0).permutation(len(points_N2))  # no class hides another
    for is_right, marker in ((True, "o"), (False, "X")):
        rows = order_N[right_N[order_N] == is_right]
        axes.scatter(
            points_N2[rows, 0], points_N2[rows, 1], s=size * (1 if is_right else 2.2),
            c=[colour_of[name] for name in shown[rows]], marker=marker, alpha=0.8,
            linewidths=0 if is_right else 0.5, edgecolors="none" if is_right else "#16191d",
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#e2e6ea")
    axes.set_title(printable(title)[:90], loc="left", fontsize=12, color="#16191d", pad=12)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour_of[name], markersize=6)
        for name in names
    ]
    labels = [_short(name) for name in names]
    if len(names) > _MOST_NAMED:
        handles, labels = [], []
        axes.set_xlabel(f"{len(names)} classes, a colour each", color="#5b6570")
    if not right_N.all() and known:
        handles.append(Line2D([], [], marker="X", linestyle="", color="#5b6570", markersize=7,
                              markeredgecolor="#16191d", markeredgewidth=0.5))  # fmt: skip
        labels.append(f"predicted wrongly ({int((~right_N).sum()):,})")
    if handles:
        legend = axes.legend(
            handles, ["" for _ in labels], loc="center left", bbox_to_anchor=(1.01, 0.5),
            frameon=False, fontsize=10,
            title="label" if known else "predicted", alignment="left",
        )  # fmt: skip
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)  # afterwards: a legend drops names that begin with _
    return figure


def save_plane(
    path: Path, points_N2: NDArray[np.float32], embeddings: Embeddings, *, title: str
) -> None:
    """Draws the plane into a PNG, whole or not at all.

    Raises:
        MachineError: The file cannot be written.
    """
    from zoo.disk import atomic_file, machine_errors
    from zoo.evaluation.report.plots import drawing

    with drawing(), machine_errors("writing", path):
        figure = draw_plane(points_N2, embeddings, title=title)
        atomic_file(path, lambda beside: figure.savefig(beside, format="png", dpi=150))


def _colours(count: int) -> list[str]:
    """Returns colours, twenty that differ well or a wheel of more."""
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    import colorsys

    # Three rings of lightness, so that neighbours on the wheel differ in two ways.
    wheel = [colorsys.hsv_to_rgb(i / count, 0.75, (0.85, 0.6, 0.4)[i % 3]) for i in range(count)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in wheel]


def _short(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= 32 else f"{shown[:31]}…"
