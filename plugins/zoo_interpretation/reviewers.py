"""Which labels may be wrong, by what a classifier says about the images.

Shapes: N images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.protocols import Reviewer

__all__ = ["class_thresholds", "confident_joint", "confident_learning", "margin", "self_confidence"]

_LEAST = np.float32(1e-6)
# The least suspicion of a candidate: 0 is for an image that is none.


def class_thresholds(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns for each class the mean probability of it among the images labelled so.

    A class without images has a threshold that nothing reaches.
    """
    num_classes = probabilities_NK.shape[1]
    own_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
    counts_K = np.bincount(labels_N, minlength=num_classes)
    sums_K = np.bincount(labels_N, weights=own_N, minlength=num_classes)
    return np.where(counts_K > 0, sums_K / np.maximum(counts_K, 1), np.inf)


def confident_joint(
    probabilities_NK: NDArray[np.float64], labels_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns joint_KK: how many images are labelled i (row) and are really j (column).

    An image counts for the most probable of the classes whose threshold it reaches, and not at all
    if it reaches none. Rows are then scaled to the number of images labelled so.

    Source: Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", JAIR 70 (2021), equations 1 to 3.
    """
    num_classes = probabilities_NK.shape[1]
    confident_NK = probabilities_NK >= class_thresholds(probabilities_NK, labels_N)
    true_N = np.where(confident_NK, probabilities_NK, -1.0).argmax(axis=1)
    counted_N = confident_NK.any(axis=1)
    joint_KK = np.zeros((num_classes, num_classes))
    np.add.at(joint_KK, (labels_N[counted_N], true_N[counted_N]), 1.0)
    totals_K = np.bincount(labels_N, minlength=num_classes)
    rows_K = joint_KK.sum(axis=1)
    # A class of which no image is confident: all of its labels are taken to be right.
    empty = rows_K == 0
    joint_KK[empty, empty] = 1.0
    return joint_KK * (totals_K / np.where(empty, 1.0, rows_K))[:, None]


def confident_learning() -> Reviewer:
    """Returns a reviewer by confident learning, pruned by noise rate.

    For each pair of classes (i, j) as many images labelled i are candidates as the confident joint
    expects to be really j: those with the largest margin of j over i. An image whose label is its
    most probable class is no candidate: there would be nothing to suggest.

    Suspicion is one minus the probability of the label, which ranks better than the margin: with
    350 of 7,000 labels changed, 80 % of the first 350 candidates were changed ones, and 70 % by the
    margin (``benchmarks/label_review.py``, out of fold, one seed).
    """

    def review(
        probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        suspicion_N = np.zeros(len(labels_N), dtype=np.float32)
        known_N = np.flatnonzero(labels_N >= 0)
        if not len(known_N):
            return suspicion_N
        probs, labels = probabilities_NK[known_N].astype(np.float64), labels_N[known_N]
        joint_KK = confident_joint(probs, labels)
        disputed = probs.argmax(axis=1) != labels
        doubts = 1 - probs[np.arange(len(labels)), labels]
        for given, true in zip(*np.nonzero(joint_KK), strict=True):
            members = np.flatnonzero(labels == given)
            expected = min(round(float(joint_KK[given, true])), len(members))
            if given == true or not expected:
                continue
            margins = probs[members, true] - probs[members, given]
            chosen = np.argsort(-margins, kind="stable")[:expected]
            chosen = chosen[disputed[members[chosen]]]
            rows = members[chosen]
            suspicion_N[known_N[rows]] = np.maximum(doubts[rows].astype(np.float32), _LEAST)
        return suspicion_N

    return review


def self_confidence(*, below: float) -> Reviewer:
    """Returns a reviewer: suspicion is one minus the probability of the label.

    Args:
        below: Labels less probable than that are candidates.
    """

    def review(
        probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        own_N = _of_label(probabilities_NK, labels_N)
        candidates_N = (labels_N >= 0) & (own_N < below)
        return np.where(candidates_N, np.maximum(1 - own_N, _LEAST), 0).astype(np.float32)

    return review


def margin(*, above: float) -> Reviewer:
    """Returns a reviewer: suspicion is by how much another class is more probable, 0.5 for equal.

    Args:
        above: Labels behind another class by more than that are candidates, -1..1.
    """

    def review(
        probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if probabilities_NK.shape[1] < 2:
            return np.zeros(len(labels_N), dtype=np.float32)
        others_NK = probabilities_NK.astype(np.float64)
        others_NK[np.arange(len(labels_N)), labels_N] = -1
        ahead_N = others_NK.max(axis=1) - _of_label(probabilities_NK, labels_N)
        candidates_N = (labels_N >= 0) & (ahead_N > above)
        return np.where(candidates_N, np.maximum((1 + ahead_N) / 2, _LEAST), 0).astype(np.float32)

    return review


def _of_label(
    probabilities_NK: NDArray[np.float32], labels_N: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the probability of each image's label; of the last class where there is no label."""
    own_N: NDArray[np.float64] = probabilities_NK[np.arange(len(labels_N)), labels_N].astype(
        np.float64
    )
    return own_N
