"""How good a classifier is on a split: headline numbers, class by class, and what it confuses.

    for one in headline(predictions, registry):
        print(one.label, one.value)

Every number is a component of the kind metric; without names a usual set is taken.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.engine.assembly.measures import build_measure, choose_metrics
from zoo.errors import DataError, UsageError, printable
from zoo.evaluation.predictions import Predictions
from zoo.registry import Choice, Registry

if TYPE_CHECKING:
    from zoo.engine.scores import Measure

__all__ = [
    "ClassRow",
    "Confused",
    "Headline",
    "chosen_metrics",
    "confusion",
    "headline",
    "measures_for",
    "most_confused",
    "per_class",
    "require_labels",
]

_SEVERAL_LABELS = (
    "accuracy", "f1", "f1-micro", "f1-weighted", "precision", "recall", "balanced-accuracy",
    "auroc", "average-precision", "nll", "brier", "ece",
)  # fmt: skip
_ONE_LABEL = (
    "accuracy", "top5", "balanced-accuracy", "f1", "f1-weighted", "precision", "recall",
    "auroc", "average-precision", "kappa", "mcc", "nll", "brier", "ece",
)  # fmt: skip
_OWN = {"loss": "nll", "accuracy": "accuracy"}
"""The components for what a run's rows have by themselves."""
_BY_CLASS = ("precision", "recall", "f1", "auroc", "average-precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One number for a classifier on a split.

    Args:
        label: Such as ``f1-micro``.
        value: NaN where it is not defined.
        greater_is_better: Its direction.
    """

    label: str
    value: float
    greater_is_better: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """How good a classifier is at one class.

    Args:
        name: Of the class, as the data has it: not safe to print.
        precision: Share of the images called it that are of it; 0 if none is called it.
        recall: Share of its images that are called it; 0 if it has none.
        f1: Their harmonic mean.
        auroc: Of it against the rest; NaN without images of it, or without others.
        average_precision: Likewise; NaN without images of it.
        support: Its images.
        predicted: Images that are called it.
    """

    name: str
    precision: float
    recall: float
    f1: float
    auroc: float
    average_precision: float
    support: int
    predicted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confused:
    """A class that is taken for another.

    Args:
        true: Its index.
        predicted: Index of the other.
        count: How many images.
        share: Of the images of the class, 0..1.
    """

    true: int
    predicted: int
    count: int
    share: float


def require_labels(predictions: Predictions) -> None:
    """Refuses predictions that there is nothing to compare with.

    Raises:
        DataError: There are no images, or some have no label.
    """
    where = "the images"
    if split := predictions.facts.get("split"):
        where += f" of {printable(predictions.facts.get('data', 'the data'))}, {printable(split)},"
    if not len(predictions):
        raise DataError(f"{where} are none at all", hint="choose another --split")
    if not predictions.labelled:
        missing = int((predictions.labels_N < 0).sum())
        raise DataError(
            f"{where} cannot be evaluated: {missing:,} of {len(predictions):,} have no label",
            hint="zoo predict says what they may be",
        )


def chosen_metrics(names: Sequence[str], registry: Registry) -> dict[str, Choice]:
    """Returns the components of metrics as ``--metric`` has them, by label. ``loss`` is ``nll``.

    Raises:
        UsageError: Names do not resolve, all of them together.
    """
    return choose_metrics("+".join(names), registry, own=_OWN)


def measures_for(
    predictions: Predictions, registry: Registry, names: str | Sequence[str] | None = None
) -> tuple[Measure, ...]:
    """Returns metrics, built for a split's kind of labels.

    Args:
        predictions: Of the split.
        registry: The components to choose from.
        names: As ``--metric`` has them; None takes a usual set. ``loss`` is ``nll``.

    Raises:
        UsageError: A name does not resolve, or is not for such data.
    """
    if names is None:
        usual = _SEVERAL_LABELS if predictions.multi_label else _ONE_LABEL
        few = len(predictions.classes) <= 5  # then all are among the top five
        specs = [name for name in usual if not (few and name == "top5")]
    else:
        specs = [names] if isinstance(names, str) else list(names)
    return tuple(
        build_measure(
            choice, label=label, num_classes=len(predictions.classes),
            multi_label=predictions.multi_label,
        )
        for label, choice in chosen_metrics(specs, registry).items()
    )  # fmt: skip


def headline(
    predictions: Predictions, registry: Registry, names: str | Sequence[str] | None = None
) -> tuple[Headline, ...]:
    """Returns metrics of a split, each in one number.

    Args:
        predictions: Of a split whose images have labels.
        registry: The components to choose from.
        names: As ``--metric`` has them; None takes a usual set.

    Raises:
        DataError: There are no labels to compare with.
        UsageError: A name does not resolve, is not for such data, or has one number a class.
    """
    require_labels(predictions)
    rows = []
    probabilities_NK, target = predictions.probabilities_NK, predictions.target
    for measure in measures_for(predictions, registry, names):
        value = measure(probabilities_NK, target)
        if value.ndim:
            raise UsageError(
                f"the metric {measure.label} has a number for each class, not one",
                hint="the table of the classes has them",
            )
        rows.append(
            Headline(
                label=measure.label, value=float(value),
                greater_is_better=measure.metric.greater_is_better,
            )
        )  # fmt: skip
    return tuple(rows)


def per_class(predictions: Predictions, registry: Registry) -> tuple[ClassRow, ...]:
    """Returns how good a classifier is at each class, in the order of the classes.

    Raises:
        DataError: There are no labels to compare with.
    """
    require_labels(predictions)
    probabilities_NK, target = predictions.probabilities_NK, predictions.target
    measures = measures_for(predictions, registry, [f"{name}:average=none" for name in _BY_CLASS])
    columns = [measure(probabilities_NK, target).tolist() for measure in measures]
    if predictions.multi_label:
        support_K = (target > 0.5).sum(0)
        predicted_K = (probabilities_NK > 0.5).sum(0)
    else:
        num_classes = len(predictions.classes)
        support_K = torch.bincount(target, minlength=num_classes)
        predicted_K = torch.bincount(probabilities_NK.argmax(1), minlength=num_classes)
    return tuple(
        ClassRow(
            name=name, precision=precision, recall=recall, f1=f1, auroc=auroc,
            average_precision=average_precision, support=support, predicted=predicted,
        )
        for name, precision, recall, f1, auroc, average_precision, support, predicted in zip(
            predictions.classes, *columns, support_K.tolist(), predicted_K.tolist(), strict=True
        )
    )  # fmt: skip


def confusion(predictions: Predictions) -> Tensor:
    """Returns counts_KK, int64: images by true class (row) and predicted class (column).

    Raises:
        DataError: There are no labels to compare with.
        UsageError: Images can have several labels, so that none is taken for another.
    """
    require_labels(predictions)
    if predictions.multi_label:
        raise UsageError(
            "images with several labels have no confusion matrix",
            hint="the table of the classes says which labels are missed, and which made up",
        )
    num_classes = len(predictions.classes)
    cells_N = predictions.labels_N * num_classes + predictions.predicted_N
    return torch.bincount(cells_N, minlength=num_classes**2).reshape(num_classes, num_classes)


def most_confused(counts_KK: Tensor, *, count: int = 10) -> tuple[Confused, ...]:
    """Returns the pairs of classes that are confused most often, the most frequent first.

    Pairs of one frequency come in the order of the share of the class, then of the indices.

    Args:
        counts_KK: As :func:`confusion` returns it.
        count: How many pairs at most.
    """
    wrong_KK = counts_KK.clone().fill_diagonal_(0)
    places = wrong_KK.nonzero(as_tuple=True)
    shares = (wrong_KK / counts_KK.sum(1, keepdim=True))[places].tolist()
    pairs = zip(*(one.tolist() for one in (*places, wrong_KK[places])), shares, strict=True)
    most = nsmallest(count, pairs, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))
    return tuple(Confused(true=t, predicted=p, count=n, share=share) for t, p, n, share in most)
