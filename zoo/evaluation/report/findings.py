"""What there is to say about predictions, in numbers: everything that page, plots and card share.

Shapes: N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.errors import ZooError
from zoo.evaluation.calibration import Bin, Calibration, calibrate, reliability
from zoo.evaluation.intervals import intervals
from zoo.evaluation.metrics import ClassRow, confusion, headline, measures_for, per_class
from zoo.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation.examined import Examined
    from zoo.registry import Registry

__all__ = ["Findings", "Score", "commonest", "find"]

_LABELS = {
    "accuracy": "Accuracy", "top5": "Among the first five", "balanced-accuracy":
    "Balanced accuracy", "f1": "F1, mean over classes", "f1-micro": "F1, over all labels",
    "f1-weighted": "F1, weighted by images", "precision": "Precision, mean over classes",
    "recall": "Recall, mean over classes", "auroc": "Area under the ROC curve",
    "average-precision": "Average precision", "kappa": "Cohen's kappa",
    "mcc": "Matthews correlation", "nll": "Cross-entropy", "loss": "Cross-entropy",
    "brier": "Brier score", "ece": "Expected calibration error",
}  # fmt: skip
_SHARES = ("accuracy", "top5", "balanced-accuracy", "f1", "precision", "recall", "ece")
_IN_0_TO_1 = (*_SHARES, "auroc", "average-precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A metric of the split, with where it lies.

    Args:
        name: As ``--metric`` has it.
        label: As a sentence says it.
        value: NaN where it is not defined.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        is_share: Whether it is said in per cent.
        on_scale: Whether it lies between 0 and 1.
        greater_is_better: Its direction.
    """

    name: str
    label: str
    value: float
    low: float | None
    high: float | None
    is_share: bool
    on_scale: bool
    greater_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """How good predictions are.

    Args:
        scores: Headline metrics, accuracy first.
        classes: Class by class.
        counts_KK: Images of each true class (row) by predicted class; None where an image can have
            several labels.
        common: The commonest answer, and the share of the images for which it is right.
        before: Reliability bins that have answers.
        after: The same with the temperature; None without one.
        calibration: What the temperature does; None where there is nothing to fit it on.
    """

    scores: Sequence[Score]
    classes: Sequence[ClassRow]
    counts_KK: NDArray[np.int64] | None
    common: tuple[str, float]
    before: Sequence[Bin]
    after: Sequence[Bin] | None
    calibration: Calibration | None


def find(
    predictions: Predictions,
    *,
    registry: Registry,
    validation: Callable[[], Examined] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Findings:
    """Returns how good predictions are.

    Args:
        predictions: Of a split whose images have labels.
        registry: The metrics to choose from.
        validation: Asks the run about the images that the temperature is fitted on; None fits
            none. Where it fails, for there is no such split any more, there is no temperature.
        progress: Told how many resamples are done, of how many.
    """
    calibration = None if validation is None else _calibrated(predictions, validation)
    after = None
    if calibration is not None:
        after = _bins(replace(predictions, temperature=calibration.temperature))
    return Findings(
        scores=_scores(predictions, registry, progress),
        classes=per_class(predictions, registry),
        counts_KK=None if predictions.multi_label else confusion(predictions).numpy(),
        common=commonest(predictions), before=_bins(predictions), after=after,
        calibration=calibration,
    )  # fmt: skip


def _scores(
    predictions: Predictions, registry: Registry, progress: Callable[[int, int], None]
) -> list[Score]:
    measures = measures_for(predictions, registry)
    between = intervals(
        measures, predictions.probabilities_NK, predictions.target, progress=progress
    )
    scores = []
    for one in headline(predictions, registry):
        low, high = between[one.label].low, between[one.label].high
        known = not math.isnan(low)
        family = one.label if one.label in _SHARES else one.label.partition("-")[0]
        scores.append(
            Score(
                name=one.label, label=_LABELS.get(one.label, one.label), value=one.value,
                low=low if known else None, high=high if known else None,
                is_share=family in _SHARES,
                on_scale=one.label in _IN_0_TO_1 or family in _IN_0_TO_1,
                greater_is_better=one.greater_is_better,
            )
        )  # fmt: skip
    return scores


def _calibrated(predictions: Predictions, validation: Callable[[], Examined]) -> Calibration | None:
    try:
        fitted_on = validation().predictions
    except ZooError:
        return None
    if not fitted_on.labelled or not len(fitted_on):
        return None
    return calibrate(fitted_on, predictions)


def _bins(predictions: Predictions) -> list[Bin]:
    """Returns the reliability bins that have answers."""
    bins = reliability(predictions.probabilities_NK, predictions.target)
    return [one for one in bins if one.count]


def commonest(predictions: Predictions) -> tuple[str, float]:
    """Returns the commonest answer and the share of the images for which it is right.

    Where an image can have several labels, an answer is a set of them.
    """
    num = len(predictions)
    if predictions.targets_NK is None:
        counts_K = torch.bincount(predictions.labels_N, minlength=len(predictions.classes))
        return predictions.classes[int(counts_K.argmax())], float(counts_K.max()) / num
    sets_MK, counts_M = torch.unique(predictions.targets_NK > 0.5, dim=0, return_counts=True)
    labels_K = sets_MK[int(counts_M.argmax())]
    names = [name for name, there in zip(predictions.classes, labels_K, strict=True) if there]
    return ", ".join(names) or "no label", float(counts_M.max()) / num
