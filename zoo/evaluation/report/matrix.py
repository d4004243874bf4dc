"""The confusion matrix as a page shows it: cells with a shade, and the part that matters most.

Shapes: K classes, M of them shown. Rows are true classes, columns predicted ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import printable
from zoo.evaluation.report.pictures import Picture, png_of
from zoo.evaluation.report.plots import PALETTE

__all__ = ["Cell", "MatrixView", "most_confused_classes", "shade", "view_of"]

_WHOLE = 60
_PART = 25
_LEVELS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: how many images, and the class of its shade (``g`` right, ``b`` wrong)."""

    count: int
    shade: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixView:
    """What is shown of a confusion matrix.

    Args:
        names: Classes of the rows and columns.
        rows: Their cells.
        whole: Whether these are all classes.
        num_classes: How many there are.
        size: Style class: how large cells are.
        picture: All classes as a picture, where not all are in the table.
        script: What the page's script needs: names, counts, and the totals of whole rows and
            columns.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    whole: bool
    num_classes: int
    size: str
    picture: Picture | None
    script: dict[str, object]


def view_of(counts_KK: NDArray[np.int64], classes: Sequence[str]) -> MatrixView:
    """Returns all of a matrix up to 60 classes, else its 25 most confused classes and a picture."""
    num = len(classes)
    whole = num <= _WHOLE
    shown_M = np.arange(num) if whole else most_confused_classes(counts_KK, _PART)
    counts_MM = counts_KK[np.ix_(shown_M, shown_M)]
    row_totals_M, column_totals_M = counts_KK.sum(1)[shown_M], counts_KK.sum(0)[shown_M]
    names = tuple(printable(classes[index]) for index in shown_M)
    rows = tuple(
        tuple(
            Cell(count=int(count), shade=shade(count / max(1, total), right=row == column))
            for column, count in enumerate(counts_M)
        )
        for row, (counts_M, total) in enumerate(zip(counts_MM, row_totals_M, strict=True))
    )
    size = "" if len(names) <= 16 else "small-cells" if len(names) <= 32 else "tiny-cells"
    return MatrixView(
        names=names, rows=rows, whole=whole, num_classes=num, size=size,
        picture=None if whole else _drawn(counts_KK),
        script={
            "names": list(names), "counts": counts_MM.tolist(),
            "rowTotals": row_totals_M.tolist(), "columnTotals": column_totals_M.tolist(),
        },
    )  # fmt: skip


def shade(share: float, *, right: bool) -> str:
    """Returns the style class for a share: errors by its root, so that rare ones can be seen.

    >>> shade(0.0, right=False), shade(0.01, right=False), shade(1.0, right=True)
    ('zero', 'b1', 'g9')
    """
    if share <= 0:
        return "zero"
    level = math.ceil(_LEVELS * min(1.0, share if right else math.sqrt(share)) - 1e-9)
    return f"{'g' if right else 'b'}{max(1, level)}"


def most_confused_classes(counts_KK: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Returns the classes that most errors are about, as true or as predicted one, in their order.

    The partner of an error comes with it, so that the errors stand in the part that is shown.
    """
    errors_KK = counts_KK.copy()
    np.fill_diagonal(errors_KK, 0)
    pairs = np.argsort(-errors_KK, axis=None, kind="stable")[: limit * limit]
    chosen: dict[int, None] = {}
    for pair in pairs:
        row, column = divmod(int(pair), len(counts_KK))
        if errors_KK[row, column] == 0 or len({*chosen, row, column}) > limit:
            break
        chosen |= {row: None, column: None}
    if len(chosen) < limit:
        by_errors_K = np.argsort(-(errors_KK.sum(0) + errors_KK.sum(1)), kind="stable")
        for index in by_errors_K:
            if len(chosen) == min(limit, len(counts_KK)):
                break
            chosen[int(index)] = None
    return np.array(sorted(chosen))


def _drawn(counts_KK: NDArray[np.int64]) -> Picture:
    """Returns the matrix as a picture of a pixel a cell, at least 600 pixels wide."""
    share_KK = counts_KK / np.maximum(counts_KK.sum(1, keepdims=True), 1)
    pale, full = (np.array(_rgb(PALETTE[name])) for name in ("mat", "c1"))
    wrong = np.array(_rgb(PALETTE["c2"]))
    levels_L = np.linspace(0, 1, 128)[:, None]
    palette = np.concatenate([pale + (full - pale) * levels_L, pale + (wrong - pale) * levels_L])
    index_KK = 128 + np.round(127 * np.sqrt(share_KK)).astype(np.int64)
    diagonal = np.arange(len(counts_KK))
    index_KK[diagonal, diagonal] = np.round(127 * share_KK[diagonal, diagonal])
    image = Image.fromarray(index_KK.astype(np.uint8), mode="P")
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    times = max(1, math.ceil(600 / len(counts_KK)))
    return png_of(image.resize((image.width * times,) * 2, Image.Resampling.NEAREST))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
