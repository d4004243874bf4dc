"""What is said about one image, and the columns in which it is written down.

    image_id    what the image is called
    label       the most probable class; where an image can have several labels, those whose
                probability is above the threshold, joined by ``|``
    score       the probability of the most probable class
    label_1, score_1 ... label_k, score_k    the k most probable classes
    p:CLASS     the probability of each class
    error       why there is no prediction; empty where there is one

Shapes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["JOINED_BY", "Columns", "Prediction", "predictions_of"]

JOINED_BY = "|"
"""Stands between the labels of an image in one cell. JSON has a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns are asked for.

    Args:
        classes: Class names, position is index.
        top_k: How many of the most probable classes, at most as many as there are; 0 for none.
        probabilities: Whether every class has a column.
        multi_label: Whether an image can have several labels.
        threshold: Probability above which it has one, there.
    """

    classes: tuple[str, ...]
    top_k: int = 0
    probabilities: bool = False
    multi_label: bool = False
    threshold: float = 0.5

    @property
    def names(self) -> list[str]:
        """The header."""
        names = ["image_id", "label", "score"]
        for rank in range(1, self.top_k + 1):
            names += [f"label_{rank}", f"score_{rank}"]
        if self.probabilities:
            names += [f"p:{name}" for name in self.classes]
        return [*names, "error"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What is said about one image.

    Args:
        image: What it is called.
        labels: Its class; any number of them where an image can have several. Empty with an error.
        score: Probability of the most probable class, 0..1; None with an error.
        top: The most probable classes with their probabilities, as many as were asked for.
        probabilities: Of all classes, float32 (K), if they were asked for.
        error: Why there is no prediction; empty where there is one.
    """

    image: str
    labels: tuple[str, ...] = ()
    score: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    probabilities: NDArray[np.float32] | None = None
    error: str = ""

    @property
    def label(self) -> str:
        """The label, or all labels joined by ``|``; empty where there is none."""
        return JOINED_BY.join(self.labels)

    def cells(self, columns: Columns) -> list[str | float | None]:
        """Returns the row of a table: texts as they are, numbers, None for an empty cell."""
        if self.score is None:
            return [self.image, *[None] * (len(columns.names) - 2), self.error]
        row: list[str | float | None] = [self.image, self.label, self.score]
        for label, score in self.top:
            row += [label, score]
        if columns.probabilities and self.probabilities is not None:
            row += self.probabilities.tolist()
        return [*row, ""]

    def as_dict(self, columns: Columns) -> dict[str, object]:
        """Returns plain data for JSON. Several labels are a list, names are unchanged."""
        table: dict[str, object] = {"image_id": self.image}
        if self.score is None:
            return {**table, "label": None, "score": None, "error": self.error}
        table["label"] = list(self.labels) if columns.multi_label else self.label
        table["score"] = _short(self.score)
        if columns.top_k:
            table["top"] = [{"label": label, "score": _short(score)} for label, score in self.top]
        if columns.probabilities and self.probabilities is not None:
            pairs = zip(columns.classes, self.probabilities.tolist(), strict=True)
            table["probabilities"] = {name: _short(value) for name, value in pairs}
        return table


def predictions_of(
    probabilities_BK: Tensor, names: Sequence[str], columns: Columns
) -> Iterator[Prediction]:
    """Yields what is said about each image of a batch.

    Args:
        probabilities_BK: Float32.
        names: What each image is called.
        columns: What is asked for.
    """
    count = min(max(1, columns.top_k), len(columns.classes))
    # Of equally probable classes the first, as evaluation has it; torch.topk takes any of them.
    found: Sequence[Tensor] = (
        probabilities_BK.max(1, keepdim=True)
        if count == 1
        else probabilities_BK.sort(dim=1, descending=True, stable=True)
    )
    scores_BT, order_BT = (one[:, :count].tolist() for one in found)
    above = (probabilities_BK > columns.threshold).tolist() if columns.multi_label else None
    values_BK = probabilities_BK.numpy() if columns.probabilities else None
    for row, name in enumerate(names):
        ranked = [columns.classes[index] for index in order_BT[row]]
        labels = tuple(ranked[:1])
        if above is not None:
            labels = tuple(c for c, it_is in zip(columns.classes, above[row], strict=True) if it_is)
        yield Prediction(
            image=name, labels=labels, score=scores_BT[row][0],
            top=tuple(zip(ranked, scores_BT[row], strict=True))[: columns.top_k],
            probabilities=None if values_BK is None else values_BK[row],
        )  # fmt: skip


def _short(value: float) -> float:
    """Returns a float32 without the digits that only its double has."""
    return float(f"{value:.8g}")
