"""Which images a report shows: confused pairs, the greatest losses, the surest mistakes.

Pure functions from predictions to indices and words. Shapes: N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.evaluation.metrics import Confused, most_confused
from zoo.evaluation.predictions import Predictions

__all__ = [
    "Shot",
    "confused_pairs",
    "greatest_losses",
    "sample_to_explain",
    "shots",
    "surest_mistakes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """An image with what it is and what was said.

    Args:
        index: Of the image in its split.
        name: What a person calls it.
        true: What it is.
        said: What the network says.
        probability: That the network gives it, 0..1.
        right: Whether the two are the same.
        loss: Of this image; NaN where its label is not known.
    """

    index: int
    name: str
    true: str
    said: str
    probability: float
    right: bool
    loss: float


def confused_pairs(
    predictions: Predictions, counts_KK: NDArray[np.int64], *, limit: int, each: int
) -> list[tuple[Confused, list[int]]]:
    """Returns the pairs with most errors, the most frequent first, with their surest images."""
    sure_N = predictions.probabilities_NK.max(1).values.numpy()
    labels_N, said_N = predictions.labels_N.numpy(), predictions.predicted_N.numpy()
    found = []
    for pair in most_confused(torch.from_numpy(counts_KK), count=limit):
        (rows,) = np.nonzero((labels_N == pair.true) & (said_N == pair.predicted))
        surest = rows[np.argsort(-sure_N[rows], kind="stable")][:each]
        found.append((pair, surest.tolist()))
    return found


def greatest_losses(predictions: Predictions, limit: int) -> list[int]:
    """Returns the images that the network finds hardest, the hardest first."""
    losses_N = torch.nan_to_num(predictions.losses_N, nan=float("inf"))
    return [int(index) for index in losses_N.argsort(descending=True, stable=True)[:limit]]


def surest_mistakes(predictions: Predictions, limit: int) -> list[int]:
    """Returns the images that are wrong, those that the network is surest of first."""
    wrong = (~predictions.right_N).nonzero().flatten()
    sure_N = _sureness(predictions)[wrong]
    order = sure_N.argsort(descending=True, stable=True)[:limit]
    return [int(index) for index in wrong[order]]


def sample_to_explain(predictions: Predictions, limit: int) -> list[int]:
    """Returns images for heat maps: the surest mistakes and as many that are right.

    Those that are right are spread over the classes: the one of middle sureness of each, of the
    largest classes first.
    """
    wrong = surest_mistakes(predictions, limit // 2)
    sure_N = _sureness(predictions)
    right: list[int] = []
    sizes = torch.bincount(predictions.labels_N.clamp(min=0), minlength=len(predictions.classes))
    for label in sizes.argsort(descending=True, stable=True).tolist():
        if len(right) == limit - len(wrong):
            break
        found = (predictions.right_N & (predictions.labels_N == label)).nonzero().flatten()
        if len(found):
            right.append(int(found[sure_N[found].argsort(stable=True)[len(found) // 2]]))
    return [*wrong, *right]


def shots(predictions: Predictions, indices: Sequence[int]) -> list[Shot]:
    """Returns what there is to say about some images."""
    rows = torch.as_tensor(indices, dtype=torch.int64)
    chances_MK = predictions.probabilities_NK[rows]
    known = predictions.labelled
    losses_M = predictions.losses_N[rows] if known else torch.full((len(rows),), math.nan)
    right_M = predictions.right_N[rows]
    found = []
    for place, index in enumerate(indices):
        true, said, probability = _words(predictions, index, chances_MK[place])
        found.append(
            Shot(
                index=index, name=predictions.names[index], true=true, said=said,
                probability=probability, right=bool(right_M[place]), loss=float(losses_M[place]),
            )
        )  # fmt: skip
    return found


def _words(predictions: Predictions, index: int, chances_K: torch.Tensor) -> tuple[str, str, float]:
    """Returns what an image is, what was said, and the probability of that."""
    classes = predictions.classes
    if predictions.targets_NK is None:
        answer = int(predictions.predicted_N[index])
        label = int(predictions.labels_N[index])
        true = classes[label] if label >= 0 else "no label"
        return true, classes[answer], float(chances_K[answer])
    targets_K = predictions.targets_NK[index] > 0.5
    true = ", ".join(name for name, there in zip(classes, targets_K, strict=True) if there)
    worst = int((chances_K - targets_K.float()).abs().argmax())
    said = f"{'no ' if targets_K[worst] else ''}{classes[worst]}"
    chance = float(chances_K[worst])
    return true or "no label", said, 1 - chance if targets_K[worst] else chance


def _sureness(predictions: Predictions) -> torch.Tensor:
    """Returns how sure each answer is; of the worst label where an image has several."""
    if predictions.targets_NK is None:
        return predictions.probabilities_NK.max(1).values
    return (predictions.probabilities_NK - predictions.targets_NK).abs().max(1).values
