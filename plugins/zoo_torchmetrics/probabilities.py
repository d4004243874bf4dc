"""Metrics of the probabilities themselves: top-k, negative log-likelihood, Brier, calibration.

Shapes: N images, K classes, R resamples.
"""

from __future__ import annotations

import torch
import torchmetrics.functional.classification as functional
from torch import Tensor

from zoo_torchmetrics.metric import PlainMetric, Reweighted, mean_of, one_label_only

__all__ = ["brier", "ece", "nll", "top_k"]

_SMALLEST = torch.finfo(torch.float32).eps
"""Probabilities below it count as it, as in scikit-learn: one image is worth at most 15.9 nats."""

_BELOW_ONE = 1 - 2**-24
"""The largest float32 below 1. torchmetrics gives exactly 1 a bin of its own; here it belongs to
the last one."""


def top_k(*, multi_label: bool, k: int = 5) -> PlainMetric:
    """Returns the share of images whose class is among the k most probable; all, from k classes on.

    Of classes that are equally probable the first counts as the more probable, as argmax has it.

    Raises:
        UsageError: Images can have several labels.
    """
    one_label_only("top-k", multi_label=multi_label, instead="average-precision")

    def found_N(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        own_N1 = probabilities_NK.gather(1, target[:, None])
        earlier_NK = torch.arange(probabilities_NK.shape[1]) < target[:, None]
        before_NK = (probabilities_NK > own_N1) | ((probabilities_NK == own_N1) & earlier_NK)
        return before_NK.sum(1) < k

    return mean_of(found_N, greater_is_better=True)


def nll(*, multi_label: bool) -> PlainMetric:
    """Returns the mean negative log-likelihood in nats; with several labels, of each answer."""

    def of_images(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        if not multi_label:
            return -probabilities_NK.gather(1, target[:, None]).clamp(min=_SMALLEST).log()[:, 0]
        given_NK = torch.where(target > 0.5, probabilities_NK, 1 - probabilities_NK)
        return -given_NK.clamp(min=_SMALLEST).log().mean(1)

    return mean_of(of_images, greater_is_better=False)


def brier(*, multi_label: bool) -> PlainMetric:
    """Returns the Brier score: squared error, summed over the classes, so 0..2.

    With several labels each class is a question of its own and the mean over them is taken: 0..1.
    """

    def of_images(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        if multi_label:
            return (probabilities_NK - target).square().mean(1)
        own_N = probabilities_NK.gather(1, target[:, None])[:, 0]
        return probabilities_NK.square().sum(1) - own_N.square() + (1 - own_N).square()

    return mean_of(of_images, greater_is_better=False)


def ece(*, num_classes: int, multi_label: bool, bins: int = 15) -> PlainMetric:
    """Returns the expected calibration error (Guo et al. 2017), 0..1.

    The mean distance of confidence and accuracy over bins of equal width, each weighed by its
    images. A bin has its lower edge, the last one also its upper. With several labels every
    answer for a class counts: its probability against how often the class holds.
    """

    def value(probabilities_NK: Tensor, target: Tensor) -> Tensor:
        bounded_NK = probabilities_NK.clamp(max=_BELOW_ONE)
        if multi_label:
            return functional.binary_calibration_error(
                bounded_NK.flatten(), target.flatten().int(), n_bins=bins, validate_args=False
            )
        return functional.multiclass_calibration_error(
            bounded_NK, target, num_classes=num_classes, n_bins=bins, validate_args=False
        )

    def prepare(probabilities_NK: Tensor, target: Tensor) -> Reweighted:
        """The gap of a bin times its weight is the size of a sum over its images."""
        if multi_label:
            confidence_ND, held_ND = probabilities_NK, target
        else:
            best = probabilities_NK.max(1, keepdim=True)
            confidence_ND, held_ND = best.values, (best.indices == target[:, None])
        gap_ND = held_ND.double() - confidence_ND.double()
        edges = torch.linspace(0, 1, bins + 1)
        place_ND = torch.bucketize(confidence_ND.clamp(max=_BELOW_ONE), edges, right=True) - 1
        gap_NB = gap_ND.new_zeros((len(gap_ND), bins)).scatter_add_(1, place_ND, gap_ND)

        def reweighted(weights_NR: Tensor) -> Tensor:
            total_R = weights_NR.sum(0).double() * gap_ND.shape[1]
            return (gap_NB.T @ weights_NR.double()).abs().sum(0) / total_R

        return reweighted

    return PlainMetric(value=value, prepare=prepare, greater_is_better=False, biased=True)
