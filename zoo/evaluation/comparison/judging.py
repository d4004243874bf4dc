"""The first run against each other one by one metric: the test, and what its p-value says.

A bootstrap of R resamples gives no p-value below 2 / (R + 1). Holm compares the smallest of m
p-values with alpha / m, so that many runs or a small alpha need more resamples than an interval.

    replicates of intervals -> more_replicates where they are too few -> verdict_of -> judged

Suffixes: N images, K classes, M runs, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation.comparison.paired import (
    Replicates,
    bootstrap_p,
    mcnemar,
    replicates_of,
    replicates_of_means,
    smallest_p,
)
from zoo.evaluation.comparison.records import Standing, Verdict
from zoo.evaluation.intervals import Reweightable, interval_of

if TYPE_CHECKING:
    from zoo.engine.scores import Measure
    from zoo.evaluation.predictions import Predictions
    from zoo.protocols import Metric

__all__ = ["enough_resamples", "judged", "more_replicates", "most_resamples", "verdict_of"]

_BOOTSTRAP = "paired bootstrap"
_HEADROOM = 5
# On one core of a two-core machine, torch 2.14: to draw 5e8 images takes two minutes for the loss
# of 7 runs, and 50,000 resamples of 10,000 images of 10 classes take f1 15 s and AUROC 39 s a run.
# 2e10 images times classes times resamples take f1 5 s and AUROC 13 minutes where there are 1,000
# classes: twice its interval on ImageNet's validation split. Without weights a metric takes 2 to
# 12 ms each time.
_MOST = 50_000
_MOST_ONE_BY_ONE = 1000
_MOST_DRAWN = 500_000_000
_MOST_COUNTED = 20_000_000_000


def enough_resamples(level: float, *, most: int) -> int:
    """Returns how many resamples can tell a p-value below a level, 0 where that takes too many.

    They are five times as many as make the least p-value equal to the level, so that four of them
    may lie beyond zero; fewer where ``most`` allows no more, as long as the least is below it.

    Args:
        level: What a p-value is compared with: alpha over the number of comparisons.
        most: How many there may be.

    >>> enough_resamples(0.05, most=1000), enough_resamples(0.05 / 6, most=50_000)
    (200, 1200)
    >>> enough_resamples(0.05 / 6, most=300), enough_resamples(0.05 / 6, most=200)
    (300, 0)
    """
    wanted = min(math.ceil(2 * _HEADROOM / level), most)
    return wanted if smallest_p(wanted) < level else 0


def most_resamples(metric: Metric | None, num_images: int, num_classes: int) -> int:
    """Returns how many resamples of a test are worth their time.

    Args:
        metric: None for the loss: a mean over images, whatever the number of classes.
        num_images: In the split.
        num_classes: Of the run.

    >>> most_resamples(None, 10_000, 10), most_resamples(None, 50_000, 1000)
    (50000, 10000)
    """
    most = min(_MOST, _MOST_DRAWN // num_images)
    if metric is None:
        return most
    if not isinstance(metric, Reweightable):
        return min(_MOST_ONE_BY_ONE, most)
    return min(most, _MOST_COUNTED // (num_images * num_classes))


def more_replicates(
    table: Mapping[str, Replicates],
    predictions: Sequence[Predictions],
    measures: Sequence[Measure],
    *,
    alpha: float,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Replicates]:
    """Returns the metrics anew that need more resamples to be tested than to have an interval.

    Args:
        table: What there is for intervals, by label.
        predictions: Of the first run and of those that are tested against it.
        measures: The metrics besides loss and accuracy, which McNemar's test needs none for.
        alpha: The level of all tests by one metric together.
        seed: Of the resamples.
        progress: Told what is being done.
    """
    first, found = predictions[0], dict[str, Replicates]()
    level = alpha / max(1, len(predictions) - 1)

    def wanted(label: str, metric: Metric | None) -> int:
        most = most_resamples(metric, len(first), len(first.classes))
        number = enough_resamples(level, most=most)
        return number if number > table[label].resampled_MR.shape[1] else 0

    if number := wanted("loss", None):
        losses_MN = np.stack([one.losses_N.numpy().astype(np.float64) for one in predictions])
        found["loss"] = replicates_of_means(losses_MN, resamples=number, seed=seed)
    for measure in measures:
        if number := wanted(measure.label, measure.metric):
            found |= replicates_of(
                [measure], [one.probabilities_NK for one in predictions], first.target,
                resamples=number, one_by_one=number, seed=seed,
                progress=lambda done, total: progress("resampling", done, total),
            )  # fmt: skip
    return found


def verdict_of(
    label: str,
    first: Standing,
    other: Standing,
    tables: Mapping[str, Replicates],
    *,
    place: int,
) -> Verdict:
    """Returns the test of the first run against another one, not corrected and not judged."""
    plain = Verdict(metric=label, first=first.label, other=other.label)
    if other.not_paired is not None:
        return replace(plain, why=other.not_paired)
    replicates = tables[label]
    differences_R = replicates.resampled_MR[0] - replicates.resampled_MR[place]
    found = interval_of(differences_R)
    tested = replace(
        plain, difference=float(replicates.values_M[0] - replicates.values_M[place]),
        low=found.low, high=found.high, p_value=bootstrap_p(differences_R),
        method=_BOOTSTRAP, resamples=found.resamples,
    )  # fmt: skip
    if label == "accuracy":
        right_N = first.examined.predictions.right_N
        others_N = other.examined.predictions.right_N
        only = int((right_N & ~others_N).sum()), int((others_N & ~right_N).sum())
        p_value, method = mcnemar(*only)
        return replace(
            tested, p_value=p_value, method=method, first_only=only[0], other_only=only[1]
        )
    if tested.p_value != tested.p_value:
        return replace(tested, method="", why="the metric is not defined on these images")
    return tested


def judged(verdict: Verdict, *, upwards: bool, alpha: float, tests: int) -> Verdict:
    """Returns a verdict with its outcome.

    Args:
        verdict: With its corrected p-value.
        upwards: Whether more is better.
        alpha: Below this it is no noise.
        tests: How many others were tested by this metric.
    """
    if verdict.corrected != verdict.corrected:
        return verdict
    if _too_few(verdict, alpha=alpha, tests=tests):
        runs = " and so many runs" if tests > 1 else ""
        return replace(
            verdict, why=f"too few resamples ({verdict.resamples:,}) for this alpha{runs}"
        )
    if verdict.corrected >= alpha or verdict.difference == 0:
        return replace(verdict, outcome="noise")
    return replace(verdict, outcome="better" if (verdict.difference > 0) == upwards else "worse")


def _too_few(verdict: Verdict, *, alpha: float, tests: int) -> bool:
    """Whether more resamples might have brought a p-value below its level.

    They might if no p-value of so few is below it. One well above the least of them, and above
    alpha itself, is noise all the same.
    """
    least = smallest_p(verdict.resamples)
    return (
        verdict.method == _BOOTSTRAP
        and verdict.difference != 0
        and tests * least >= alpha
        and verdict.p_value < max(alpha, _HEADROOM * least)
    )
