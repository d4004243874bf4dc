"""Metrics of the predicted labels alone: accuracy, precision, recall, F1, kappa, MCC.

All of them follow from how often each class is right, true and predicted. A value is torchmetrics'
where it has the definition; with weights, as a bootstrap needs, and where torchmetrics computes a
difference of large numbers in single precision (kappa, MCC), it is computed here in double.

Definitions are scikit-learn's. One label an image: ``macro`` is the mean over the classes that are
true or predicted somewhere (``labels=None``), so that a split that lacks a class can still reach 1.
Several labels: over all classes. A share of nothing is 0 (``zero_division=0``). With several labels
a class is predicted where its probability is above 0.5.

Shapes: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torchmetrics.functional.classification as functional
from torch import Tensor

from zoo_torchmetrics.metric import PlainMetric, Reweighted, mean_of, one_label_only

__all__ = [
    "Counts",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "kappa",
    "mcc",
    "precision",
    "recall",
    "specificity",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often each class is right, true and predicted; float64, each column a resample.

    Args:
        right_KR: Images of the class that are called it.
        true_KR: Images of the class.
        predicted_KR: Images that are called it.
        total_R: Images.
    """

    right_KR: Tensor
    true_KR: Tensor
    predicted_KR: Tensor
    total_R: Tensor


_Shares: TypeAlias = Callable[[Counts], tuple[Tensor, Tensor]]
"""Numerators and denominators of a share, both (K, R)."""


def _labels(probabilities_NK: Tensor, *, multi_label: bool) -> Tensor:
    return (probabilities_NK > 0.5) if multi_label else probabilities_NK.argmax(1)


def _counting(
    probabilities_NK: Tensor, target: Tensor, *, multi_label: bool
) -> Callable[[Tensor], Counts]:
    """Returns the function from weights_NR to counts."""
    predicted = _labels(probabilities_NK, multi_label=multi_label)
    num_classes = probabilities_NK.shape[1]
    if multi_label:
        true_KN, predicted_KN = target.T.float(), predicted.T.float()
        right_KN = true_KN * predicted_KN

        def count(weights_NR: Tensor) -> Counts:
            right, true, called = (x @ weights_NR for x in (right_KN, true_KN, predicted_KN))
            return Counts(
                right_KR=right.double(), true_KR=true.double(), predicted_KR=called.double(),
                total_R=weights_NR.sum(0).double(),
            )  # fmt: skip

        return count
    right_N = (predicted == target).nonzero().squeeze(1)

    def count_one(weights_NR: Tensor) -> Counts:
        zeros_KR = weights_NR.new_zeros((num_classes, weights_NR.shape[1]))
        right = zeros_KR.index_add(0, target[right_N], weights_NR[right_N])
        return Counts(
            right_KR=right.double(),
            true_KR=zeros_KR.index_add(0, target, weights_NR).double(),
            predicted_KR=zeros_KR.index_add(0, predicted, weights_NR).double(),
            total_R=weights_NR.sum(0).double(),
        )

    return count_one


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Returns the quotient, 0 where the denominator is."""
    return torch.where(denominator != 0, numerator / denominator, 0.0)


def _averaged(
    shares: _Shares, counts: Counts, *, average: str | None, multi_label: bool
) -> Tensor:  # fmt: skip
    """Returns values_R, or values_KR without an average."""
    numerator_KR, denominator_KR = shares(counts)
    if average == "micro":
        return _divide(numerator_KR.sum(0), denominator_KR.sum(0))
    score_KR = _divide(numerator_KR, denominator_KR)
    if average is None:
        return score_KR
    if average == "weighted":
        weight_KR = counts.true_KR
    elif multi_label:
        weight_KR = torch.ones_like(score_KR)
    else:
        weight_KR = (counts.true_KR + counts.predicted_KR > 0).double()
    return _divide((score_KR * weight_KR).sum(0), weight_KR.sum(0))


def _share(
    shares: _Shares, one: Callable[..., Tensor], several: Callable[..., Tensor], *,
    average: str | None, num_classes: int, multi_label: bool,
) -> PlainMetric:  # fmt: skip
    """Returns a metric that is a share for each class.

    Args:
        shares: Its numerators and denominators.
        one: torchmetrics' function for one label an image.
        several: torchmetrics' function for several.
        average: How classes are averaged.
        num_classes: How many there are.
        multi_label: Which of the two functions it is.
    """

    def value(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        predicted = _labels(probabilities_NK, multi_label=multi_label)
        if multi_label:
            return several(
                predicted.int(), target.int(), num_labels=num_classes, average=average or "none",
                validate_args=False,
            )  # fmt: skip
        return one(
            predicted, target, num_classes=num_classes, average=average or "none",
            validate_args=False,
        )  # fmt: skip

    def prepare(probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        count = _counting(probabilities_NK, target, multi_label=multi_label)
        return lambda weights_NR: _averaged(
            shares, count(weights_NR), average=average, multi_label=multi_label
        )

    return PlainMetric(value=value, prepare=prepare)


def precision(*, num_classes: int, multi_label: bool, average: str | None = "macro") -> PlainMetric:
    """Returns precision: the share of the images called a class that are of it."""
    return _share(
        lambda c: (c.right_KR, c.predicted_KR),
        functional.multiclass_precision, functional.multilabel_precision,
        average=average, num_classes=num_classes, multi_label=multi_label,
    )  # fmt: skip


def recall(*, num_classes: int, multi_label: bool, average: str | None = "macro") -> PlainMetric:
    """Returns recall: the share of a class's images that are called it."""
    return _share(
        lambda c: (c.right_KR, c.true_KR),
        functional.multiclass_recall, functional.multilabel_recall,
        average=average, num_classes=num_classes, multi_label=multi_label,
    )  # fmt: skip


def f1(*, num_classes: int, multi_label: bool, average: str | None = "macro") -> PlainMetric:
    """Returns F1, the harmonic mean of precision and recall."""
    return _share(
        lambda c: (2 * c.right_KR, c.true_KR + c.predicted_KR),
        functional.multiclass_f1_score, functional.multilabel_f1_score,
        average=average, num_classes=num_classes, multi_label=multi_label,
    )  # fmt: skip


def specificity(
    *, num_classes: int, multi_label: bool, average: str | None = "macro"
) -> PlainMetric:  # fmt: skip
    """Returns specificity: the share of the images not of a class that are not called it."""

    def shares(c: Counts) -> tuple[Tensor, Tensor]:
        others_KR = c.total_R - c.true_KR
        return others_KR - (c.predicted_KR - c.right_KR), others_KR

    return _share(
        shares, functional.multiclass_specificity, functional.multilabel_specificity,
        average=average, num_classes=num_classes, multi_label=multi_label,
    )  # fmt: skip


def accuracy(*, multi_label: bool) -> PlainMetric:
    """Returns accuracy; with several labels an image is right when all of them are."""

    def right_N(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        right = _labels(probabilities_NK, multi_label=multi_label) == target
        return right.all(1) if multi_label else right

    return mean_of(right_N, greater_is_better=True)


def balanced_accuracy(*, multi_label: bool) -> PlainMetric:
    """Returns the mean recall of the classes that have images; NaN if none has.

    With several labels, for each class the mean of its recall and its specificity, as far as there
    are images to tell, and the mean of that over the classes.
    """

    def reduced(c: Counts) -> Tensor:
        recall_KR = c.right_KR / c.true_KR  # 0 / 0 is NaN, and is left out
        if not multi_label:
            return recall_KR.nanmean(0)
        others_KR = c.total_R - c.true_KR
        specificity_KR = 1 - (c.predicted_KR - c.right_KR) / others_KR
        return torch.stack((recall_KR, specificity_KR)).nanmean(0).nanmean(0)

    return _of_counts(reduced, multi_label=multi_label)


def kappa(*, multi_label: bool, weights: str | None = None) -> PlainMetric:
    """Returns Cohen's kappa; NaN where chance alone agrees on everything.

    Args:
        multi_label: Refused.
        weights: How an error counts by the distance of the class indices: ``linear``,
            ``quadratic``, or None for all alike.

    Raises:
        UsageError: Images can have several labels.
    """
    one_label_only("kappa", multi_label=multi_label, instead="f1")
    if weights is None:

        def reduced(c: Counts) -> Tensor:
            observed_R = c.total_R - c.right_KR.sum(0)
            chance_R = c.total_R - (c.true_KR * c.predicted_KR).sum(0) / c.total_R
            return 1 - observed_R / chance_R

        return _of_counts(reduced, multi_label=False)
    power = {"linear": 1, "quadratic": 2}[weights]

    def prepare(probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        count = _counting(probabilities_NK, target, multi_label=False)
        classes_K = torch.arange(probabilities_NK.shape[1], dtype=torch.float64)
        distance_KK = (classes_K[:, None] - classes_K).abs() ** power
        error_N = (probabilities_NK.argmax(1) - target).abs().double() ** power

        def value(weights_NR: Tensor) -> Tensor:
            c = count(weights_NR)
            observed_R = error_N @ weights_NR.double()
            chance_R = (c.true_KR * (distance_KK @ c.predicted_KR)).sum(0) / c.total_R
            return 1 - observed_R / chance_R

        return value

    return _of_weights(prepare)


def mcc(*, multi_label: bool) -> PlainMetric:
    """Returns the correlation of predicted and true classes; 0 where either is always the same.

    Raises:
        UsageError: Images can have several labels.
    """
    one_label_only("mcc", multi_label=multi_label, instead="f1")

    def reduced(c: Counts) -> Tensor:
        together_R = c.right_KR.sum(0) * c.total_R - (c.true_KR * c.predicted_KR).sum(0)
        predicted_R = c.total_R**2 - (c.predicted_KR**2).sum(0)
        true_R = c.total_R**2 - (c.true_KR**2).sum(0)
        return _divide(together_R, (predicted_R * true_R).sqrt())

    return _of_counts(reduced, multi_label=False)


def _of_counts(reduced: Callable[[Counts], Tensor], *, multi_label: bool) -> PlainMetric:
    """Returns a metric that follows from counts."""

    def prepare(probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        count = _counting(probabilities_NK, target, multi_label=multi_label)
        return lambda weights_NR: reduced(count(weights_NR))

    return _of_weights(prepare)


def _of_weights(prepare: Callable[[Tensor, Tensor], Reweighted]) -> PlainMetric:
    """Returns a metric whose value is the one with all weights 1."""

    def value(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        ones_N1 = torch.ones((len(target), 1))
        return prepare(probabilities_NK, target)(ones_N1).squeeze(-1).float()

    return PlainMetric(value=value, prepare=prepare)
