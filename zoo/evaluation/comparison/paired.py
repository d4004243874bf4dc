"""Is one classifier better than another on the same images, or is the difference noise?

Shapes: N images, K classes, R resamples, M classifiers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UsageError
from zoo.evaluation.intervals import ONE_BY_ONE, metrics_of, resampled, weights_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from zoo.engine.scores import Measure

__all__ = [
    "EXACT_BELOW",
    "Replicates",
    "bootstrap_p",
    "holm",
    "mcnemar",
    "replicates_of",
    "replicates_of_means",
    "smallest_p",
]

EXACT_BELOW = 25
"""Below so many discordant pairs McNemar's test is exact; from there on the chi-square is close."""

_CHUNK_BYTES = 16 * 2**20


def mcnemar(first_only: int, second_only: int) -> tuple[float, str]:
    """Returns the two-sided p-value of McNemar's test, and how it was computed.

    Only the discordant images count: those that one classifier has right and the other wrong. If
    both are equally good, each of them is as likely to be one kind as the other. Below 25 of them
    the binomial distribution is summed, above it the chi-square with Edwards's continuity
    correction is taken.

    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); Edwards, Psychometrika 13 (1948).

    Args:
        first_only: Images that only the first one has right.
        second_only: Images that only the second one has right.

    >>> round(mcnemar(10, 2)[0], 4), round(mcnemar(40, 20)[0], 4)
    (0.0386, 0.0142)
    """
    discordant = first_only + second_only
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(first_only, second_only) + 1))
        return min(1.0, 2 * tail / 2**discordant), "exact McNemar"
    statistic = max(0, abs(first_only - second_only) - 1) ** 2 / discordant
    return math.erfc(math.sqrt(statistic / 2)), "McNemar"  # the tail of a chi-square of 1 degree


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number, in their order.

    The chance of even one wrong "better" among all comparisons stays below the level that each
    corrected value is compared with. NaN stays NaN and counts for nothing.

    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [math.nan] * len(p_values)
    known = sorted((p, at) for at, p in enumerate(p_values) if p == p)
    largest = 0.0
    for rank, (p_value, at) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p_value))
        corrected[at] = largest
    return corrected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replicates:
    """A metric of several classifiers on a set of images, and on resamples of it.

    Args:
        values_M: On the images as they are; NaN where it is not defined.
        resampled_MR: On each resample, the same one for all classifiers.
    """

    values_M: NDArray[np.float64]
    resampled_MR: NDArray[np.float64]


def replicates_of_means(
    scores_MN: NDArray[np.float64], *, resamples: int, seed: int = 0
) -> Replicates:
    """Returns the replicates of a metric that is the mean of a number for each image.

    The draws are those of :mod:`zoo.evaluation.intervals`, so the intervals are the same, too.
    """
    num_images = scores_MN.shape[1]
    step = max(1, _CHUNK_BYTES // (4 * num_images))
    means = [
        scores_MN @ weights_of(num_images, range(start, min(start + step, resamples)), seed=seed)
        .double().numpy() / num_images
        for start in range(0, resamples, step)
    ]  # fmt: skip
    return Replicates(values_M=scores_MN.mean(1), resampled_MR=np.concatenate(means, axis=1))


def replicates_of(
    measures: Sequence[Measure],
    probabilities_MNK: Sequence[Tensor],
    target: Tensor,
    *,
    resamples: int,
    one_by_one: int = ONE_BY_ONE,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Replicates]:
    """Returns the replicates of metrics by label.

    Args:
        measures: Each gives one number.
        probabilities_MNK: Of each classifier, for the same images.
        target: Indices_N, or targets_NK.
        resamples: How many.
        one_by_one: How many of these, at most, for a metric that takes no weights.
        seed: Of the draws.
        progress: Told how many classifiers are done, of how many.

    Raises:
        UsageError: A metric gives a number for each class.
    """
    values, again = [], []
    for done, said_NK in enumerate(probabilities_MNK):
        progress(done, len(probabilities_MNK))
        values.append([_number(measure, said_NK, target) for measure in measures])
        again.append(resampled(
            metrics_of(measures), said_NK, target, resamples=resamples,
            one_by_one=one_by_one, seed=seed,
        ))  # fmt: skip
    return {
        measure.label: Replicates(
            values_M=np.array([value[at] for value in values]),
            resampled_MR=np.stack([found[at] for found in again]),
        )
        for at, measure in enumerate(measures)
    }


def _number(measure: Measure, said_NK: Tensor, target: Tensor) -> float:
    value = measure(said_NK, target)
    if value.ndim:
        raise UsageError(
            f"the metric {measure.label} has a number for each class, not one to compare",
            hint="its average over the classes; zoo evaluate has a table of the classes",
        )
    return float(value)


def bootstrap_p(differences_R: NDArray[np.float64]) -> float:
    """Returns the two-sided p-value of resampled differences: twice the smaller share beyond zero.

    It is below 0.05 when the 95 % percentile interval leaves zero out. The observed difference
    counts as one more resample, so it is never zero: see :func:`smallest_p`.

    Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 4.4.
    """
    defined = differences_R[~np.isnan(differences_R)]
    if 2 * len(defined) < len(differences_R) or not len(defined):
        return math.nan
    beyond = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(defined) + 1))


def smallest_p(resamples: int) -> float:
    """Returns the least p-value that so many resamples can give.

    >>> smallest_p(999)
    0.002
    """
    return 2 / (resamples + 1)
