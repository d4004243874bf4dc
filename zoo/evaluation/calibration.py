"""Whether probabilities mean what they say, and one number that makes them mean it more.

Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks") divides the logits
by a number that is fitted on validation images. It changes no prediction.

Shapes: N images, K classes, D answers: one an image, or K where an image can have several labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from zoo.evaluation.predictions import Predictions

__all__ = [
    "HIGHEST",
    "LOWEST",
    "Bin",
    "Calibration",
    "calibrate",
    "calibration_error",
    "fit_temperature",
    "reliability",
]

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
"""Between these a temperature is sought."""

_FAR = 1e4
_ITERATIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The answers whose confidence lies in one interval.

    Args:
        low: Its lower edge, inside.
        high: Its upper edge, outside but for the last bin's.
        confidence: Their mean confidence; NaN without any.
        accuracy: How many of them are right, 0..1; NaN without any.
        count: How many there are.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What temperature scaling does to a split.

    Args:
        temperature: Above 1 the classifier was too sure, below 1 not sure enough.
        at_limit: Whether the fit ran into the end of what is tried, as it does when every
            validation image is right; the temperature then says little.
        error_before: Expected calibration error without it, 0..1.
        error_after: With it.
        loss_before: Mean cross-entropy without it.
        loss_after: With it.
    """

    temperature: float
    at_limit: bool
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float


def reliability(probabilities_NK: Tensor, target: Tensor, bins: int = BINS) -> tuple[Bin, ...]:
    """Returns bins of equal width over 0..1, those without answers too.

    Args:
        probabilities_NK: What the classifier says.
        target: Indices_N: the most probable class is the answer, and is right or not. Targets_NK
            of 0 and 1: each probability is an answer, and "right" is that the class holds.
        bins: How many.
    """
    if target.ndim == 2:
        confidence_D, right_D = probabilities_NK.flatten(), target.flatten() > 0.5
    else:
        confidence_D, best_D = probabilities_NK.max(1)
        right_D = best_D == target
    edges = torch.linspace(0, 1, bins + 1)
    # float32 edges for float32 confidences: 0.8 is in the bin that begins at 0.8.
    place_D = (torch.bucketize(confidence_D, edges, right=True) - 1).clamp(0, bins - 1)
    counts_B = torch.bincount(place_D, minlength=bins)
    confidence_B = torch.bincount(place_D, weights=confidence_D.double(), minlength=bins) / counts_B
    right_B = torch.bincount(place_D, weights=right_D.double(), minlength=bins) / counts_B
    return tuple(
        Bin(
            low=index / bins, high=(index + 1) / bins, confidence=confidence, accuracy=accuracy,
            count=count,
        )
        for index, (confidence, accuracy, count) in enumerate(
            zip(confidence_B.tolist(), right_B.tolist(), counts_B.tolist(), strict=True)
        )
    )  # fmt: skip


def calibration_error(bins: Sequence[Bin]) -> float:
    """Returns the expected calibration error: mean distance of confidence and accuracy, 0..1."""
    total = sum(one.count for one in bins)
    if not total:
        return math.nan
    return sum(abs(b.confidence - b.accuracy) * b.count for b in bins if b.count) / total


def fit_temperature(logits_NK: Tensor, target: Tensor) -> float:
    """Returns the temperature with the least cross-entropy, between 0.05 and 20.

    The loss is convex in the inverse temperature, so its slope has one zero, which safeguarded
    Newton steps find to the last digits; nothing is random.

    Args:
        logits_NK: Of validation images.
        target: Indices_N, or targets_NK.
    """
    scores_NK = logits_NK.double().clamp(-_FAR, _FAR)  # the logarithm of a mean can be -inf
    origin_NK = scores_NK[:, :1] if target.ndim == 1 else torch.zeros_like(scores_NK)
    if torch.equal(scores_NK, origin_NK.expand_as(scores_NK)):  # no temperature changes anything
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    if _slope(scores_NK, target, low)[0] >= 0:
        return HIGHEST
    if _slope(scores_NK, target, high)[0] <= 0:
        return LOWEST
    inverse = 1.0
    for _ in range(_ITERATIONS):
        slope, bend = _slope(scores_NK, target, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / bend if bend > 0 else math.inf
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) <= 1e-10 * inverse:
            break
        inverse = following
    return 1 / inverse


def _slope(scores_NK: Tensor, target: Tensor, inverse: float) -> tuple[float, float]:
    """Returns the first two derivatives of the mean loss by the inverse temperature."""
    if target.ndim == 2:
        shares_NK = (scores_NK * inverse).sigmoid()
        slope = ((shares_NK - target) * scores_NK).mean()
        bend = (shares_NK * (1 - shares_NK) * scores_NK.square()).mean()
        return float(slope), float(bend)
    shares_NK = (scores_NK * inverse).softmax(1)
    mean_N = (shares_NK * scores_NK).sum(1)
    slope = (mean_N - scores_NK.gather(1, target[:, None])[:, 0]).mean()
    bend = ((shares_NK * scores_NK.square()).sum(1) - mean_N.square()).mean()
    return float(slope), float(bend)


def calibrate(validation: Predictions, shown: Predictions, *, bins: int = BINS) -> Calibration:
    """Returns what the temperature that fits validation images does to a split.

    Args:
        validation: What it is fitted on; its images have labels. Where some of them are in
            ``shown`` too, the error with the temperature looks too good.
        shown: The split to look at.
        bins: Of the calibration error.
    """
    temperature = fit_temperature(validation.logits_NK, validation.target)
    errors, losses = [], []
    for one in (replace(shown, temperature=1.0), replace(shown, temperature=temperature)):
        errors.append(calibration_error(reliability(one.probabilities_NK, one.target, bins)))
        losses.append(float(one.losses_N.double().mean()))
    return Calibration(
        temperature=temperature, at_limit=temperature in (LOWEST, HIGHEST),
        error_before=errors[0], error_after=errors[1],
        loss_before=losses[0], loss_after=losses[1],
    )  # fmt: skip
