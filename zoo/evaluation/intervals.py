"""How sure a metric is: bootstrap intervals, and of the difference of two classifiers.

The images of a split are one draw of the images there are. Drawing as many of them again, with
replacement, a thousand times shows how much a metric changes with the draw (Efron 1979); the middle
95 % of its values are the interval. It does not show how much another training would change.

A resample is a weight for each image: how often it was drawn. A metric that is a function of these
(``reweighted``) is not computed from the images a thousand times. All metrics see the same draws.

Shapes: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from zoo.engine.features.threads import one_thread
from zoo.errors import PluginError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.engine.scores import Measure
    from zoo.protocols import Metric

__all__ = [
    "Difference",
    "Interval",
    "Reweightable",
    "interval_of",
    "intervals",
    "metrics_of",
    "num_resamples",
    "paired_difference",
    "paired_differences",
    "resampled",
    "weights_of",
]

RESAMPLES = 1000
_CHUNK_BYTES = 16 * 2**20
_COMPARISONS = 2_000_000_000
ONE_BY_ONE = 200

Number: TypeAlias = "Metric | Measure | _Weighted"
"""From probabilities_NK and target to a scalar."""


@runtime_checkable
class Reweightable(Protocol):
    """A metric that can count images several times. Optional for a component, and much faster."""

    def reweighted(self, probabilities_NK: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
        """Returns the function from weights_NR (float32, whole) to values_R."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a metric lies, given the draw of the images.

    Args:
        low: Lower end; NaN where the metric is not defined.
        high: Upper end.
        level: Share of the resamples that lie inside, such as 0.95.
        resamples: How many there were in which the metric was defined.
    """

    low: float
    high: float
    level: float
    resamples: int


class Difference(NamedTuple):
    """How much greater a metric is for the first classifier than for the second.

    Args:
        difference: On the images as they are.
        low: Lower end of its interval.
        high: Upper end. If 0 is outside, the draw of the images does not explain the difference.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Weighted:
    """A measure whose metric takes weights."""

    measure: Measure

    @property
    def biased(self) -> bool:
        return self.measure.biased

    def __call__(self, probabilities_NK: Tensor, target: Tensor) -> Tensor:
        return self.measure(probabilities_NK, target)

    def reweighted(self, probabilities_NK: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
        measure, metric = self.measure, cast("Reweightable", self.measure.metric)
        values_of = measure.said(lambda: metric.reweighted(probabilities_NK, target))

        def values(weights_NR: Tensor) -> Tensor:
            values_R = measure.said(lambda: values_of(weights_NR))
            if not isinstance(values_R, Tensor) or values_R.shape != weights_NR.shape[1:]:
                shown = tuple(getattr(values_R, "shape", ())) or type(values_R).__name__
                raise PluginError(
                    f"the metric {measure.owner} returns {printable(shown)} for weights of "
                    f"{weights_NR.shape[1]} resamples, not one number each"
                )
            return values_R

        return values


def metrics_of(measures: Sequence[Measure]) -> list[Number]:
    """Returns what is computed on resamples, on weights where the metric takes them.

    It names the plugin if that fails, as one may where a resample lacks a class.
    """
    return [_Weighted(m) if isinstance(m.metric, Reweightable) else m for m in measures]


def weights_of(num_images: int, resamples: range, *, seed: int) -> Tensor:
    """Returns weights_NR, float32: how often each image is in each of these resamples.

    Each resample is a function of the seed and its number alone. Its weights are multinomial with
    equal shares. So are then, with their own shares, the cells of a confusion matrix: to draw
    those would be the same.
    """
    drawn = [
        np.bincount(
            np.random.default_rng((seed, number)).integers(0, num_images, num_images),
            minlength=num_images,
        )
        for number in resamples
    ]
    return torch.from_numpy(np.stack(drawn).astype(np.float32)).T.contiguous()


def num_resamples(num_images: int, num_classes: int) -> int:
    """Returns how many resamples are worth their time: 1,000, for much data down to 200.

    Areas under curves take a pass over the images for each class and resample.

    >>> num_resamples(10_000, 10), num_resamples(10_000, 1_000)
    (1000, 200)
    """
    return max(ONE_BY_ONE, min(RESAMPLES, _COMPARISONS // (num_images * num_classes)))


def resampled(
    metrics: Sequence[Number],
    probabilities_NK: Tensor,
    target: Tensor,
    *,
    resamples: int = RESAMPLES,
    one_by_one: int = ONE_BY_ONE,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[NDArray[np.float64]]:
    """Returns, for each metric, its value on each resample.

    One that has an attribute ``biased`` that is true is a distance that noise makes greater: its
    values are moved so that their mean is its value.

    Args:
        metrics: Each gives one number.
        probabilities_NK: What the classifier says.
        target: Indices_N, or targets_NK.
        resamples: How many.
        one_by_one: How many of these, at most, a metric is computed on that takes no weights.
        seed: Of the resamples.
        progress: Told how many are done, of how many.
    """
    # Thousands of short operations wait longer for a second thread than it saves: a report on
    # 10,000 images of 10 classes took 33 s of two threads, and 11 s of one (2 cores).
    with one_thread():
        return _resampled(metrics, probabilities_NK, target, resamples, one_by_one, seed, progress)


def _resampled(
    metrics: Sequence[Number], probabilities_NK: Tensor, target: Tensor, resamples: int,
    one_by_one: int, seed: int, progress: Callable[[int, int], None],
) -> list[NDArray[np.float64]]:  # fmt: skip
    num_images = len(target)
    ready = [
        m.reweighted(probabilities_NK, target) if isinstance(m, Reweightable) else None
        for m in metrics
    ]
    step = max(1, min(250, _CHUNK_BYTES // (4 * num_images)))
    values: list[list[NDArray[np.float64]]] = [[] for _ in metrics]
    for start in range(0, resamples, step):
        numbers = range(start, min(start + step, resamples))
        weights_NR = weights_of(num_images, numbers, seed=seed)
        for metric, weighted, found in zip(metrics, ready, values, strict=True):
            if weighted is not None:
                found.append(weighted(weights_NR).double().numpy())
            elif start < one_by_one:
                few_NR = weights_NR[:, : one_by_one - start]
                found.append(_one_by_one(metric, probabilities_NK, target, few_NR))
        progress(numbers.stop, resamples)
    together = [np.concatenate(found) for found in values]
    return [
        _unbiased(found_R, float(metric(probabilities_NK, target)))
        if getattr(metric, "biased", False)
        else found_R
        for metric, found_R in zip(metrics, together, strict=True)
    ]


def _unbiased(values_R: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Returns a distance's values on resamples without what resampling adds to it (Efron 1979).

    A mean of absolute gaps grows with any noise, and a resample is noisier than the images: without
    this the interval of a calibration error of 4 % on 245 images was 4.4 % to 10.8 %.
    """
    return np.maximum(values_R - (np.nanmean(values_R) - value), 0.0)


def _one_by_one(
    metric: Number, probabilities_NK: Tensor, target: Tensor, weights_NR: Tensor
) -> NDArray[np.float64]:
    """Returns values_R of a metric that takes images, not weights."""
    values = []
    for weights_N in weights_NR.T:
        rows = torch.arange(len(target)).repeat_interleave(weights_N.long())
        values.append(float(metric(probabilities_NK[rows], target[rows])))
    return np.array(values)


def interval_of(values_R: NDArray[np.float64], *, level: float = 0.95) -> Interval:
    """Returns the percentile interval of a metric's values on resamples.

    Resamples in which it is not defined (no image of any class that it needs) are left out.
    """
    defined = values_R[~np.isnan(values_R)]
    low, high = (
        np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else [np.nan] * 2
    )
    return Interval(low=float(low), high=float(high), level=level, resamples=len(defined))


def intervals(
    measures: Sequence[Measure],
    probabilities_NK: Tensor,
    target: Tensor,
    *,
    resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Interval]:
    """Returns the interval of each metric, by label.

    What resampling adds to a calibration error is taken off. A metric that is perfect in the split
    is perfect in every resample: [1, 1].

    Args:
        measures: As :func:`zoo.evaluation.metrics.measures_for` returns them.
        probabilities_NK: What the classifier says.
        target: Indices_N, or targets_NK.
        resamples: How many; by default as many as are worth their time, 1,000 mostly.
        level: Share of the resamples inside.
        seed: Of the resamples.
        progress: Told how many are done, of how many.
    """
    number = num_resamples(*probabilities_NK.shape) if resamples is None else resamples
    values = resampled(
        metrics_of(measures), probabilities_NK, target, resamples=number, seed=seed,
        progress=progress,
    )  # fmt: skip
    return {
        measure.label: interval_of(values_R, level=level)
        for measure, values_R in zip(measures, values, strict=True)
    }


def paired_differences(
    metric: Metric,
    first_NK: Tensor,
    second_NK: Tensor,
    target: Tensor,
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Returns the metric of the first classifier minus the second's, on each resample.

    Both are asked about the same images each time, so that what is hard for both cancels out.
    """
    number = num_resamples(*first_NK.shape) if resamples is None else resamples
    (first_R,), (second_R,) = (
        resampled([metric], said_NK, target, resamples=number, seed=seed)
        for said_NK in (first_NK, second_NK)
    )
    return first_R - second_R


def paired_difference(
    metric: Metric,
    first_NK: Tensor,
    second_NK: Tensor,
    target: Tensor,
    *,
    resamples: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Returns how much greater a metric is for the first of two classifiers, with its interval.

    Args:
        metric: Gives one number.
        first_NK: Probabilities of the first classifier.
        second_NK: Of the second, on the same images in the same order.
        target: Indices_N, or targets_NK.
        resamples: How many; by default as many as are worth their time, 1,000 mostly.
        level: Share of the resamples inside.
        seed: Of the resamples.
    """
    found = interval_of(
        paired_differences(metric, first_NK, second_NK, target, resamples=resamples, seed=seed),
        level=level,
    )
    difference = float(metric(first_NK, target)) - float(metric(second_NK, target))
    return Difference(difference, found.low, found.high)
