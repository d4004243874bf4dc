"""What is required of a metric.

Shapes: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from zoo.errors import UsageError
from zoo.protocols import Metric
from zoo.testing.requiring import equal_bits, require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_CLASSES, _IMAGES = 7, 70
_CLOSE = 2e-5
"""Sums over images in float32 and in another order differ by less."""

_Predictions: TypeAlias = tuple[Tensor, Tensor]
"""(probabilities_NK, target_N): float32 softmax, int64."""


def _build(subject: Subject, *, multi_label: bool = False) -> Metric:
    metric: Metric = subject.build(num_classes=_CLASSES, multi_label=multi_label)
    require(callable(metric), f"it built a {type(metric).__name__}, which cannot be called")
    return metric


def _predictions(seed: int = 0, *, num: int = _IMAGES, sure: float = 1.5) -> _Predictions:
    """Returns predictions that are often right, of images of every class."""
    draw = torch.Generator().manual_seed(seed)
    target_N = torch.arange(num) % _CLASSES
    target_N = target_N[torch.randperm(num, generator=draw)]
    logits_NK = torch.randn(num, _CLASSES, generator=draw)
    logits_NK += sure * torch.nn.functional.one_hot(target_N, _CLASSES)
    return logits_NK.softmax(1), target_N


def _several(seed: int = 0) -> _Predictions:
    """Returns (probabilities_NK, targets_NK) of images that can have several labels."""
    draw = torch.Generator().manual_seed(seed)
    targets_NK = (torch.rand(_IMAGES, _CLASSES, generator=draw) < 0.4).float()
    targets_NK[:2] = torch.tensor([[1.0], [0.0]])  # each class is there and not
    logits_NK = torch.randn(_IMAGES, _CLASSES, generator=draw) + 2 * targets_NK - 1
    return logits_NK.sigmoid(), targets_NK


def _without(absent: int) -> _Predictions:
    """Returns predictions in which a class is neither true nor predicted."""
    probabilities_NK, target_N = _predictions(2)
    probabilities_NK[:, absent] = 0
    probabilities_NK /= probabilities_NK.sum(1, keepdim=True)
    kept_N = target_N != absent
    return probabilities_NK[kept_N], target_N[kept_N]


def _datasets() -> Iterator[tuple[str, _Predictions]]:
    yield "predictions that are often right", _predictions()
    yield "predictions by chance", _predictions(1, sure=0.0)
    yield "a class without images", _without(1)
    probabilities_NK, target_N = _predictions(3)
    yield "ties", ((probabilities_NK * 4).round() / 4, target_N)


def _value(metric: Metric, probabilities_NK: Tensor, target: Tensor) -> Tensor:
    value = metric(probabilities_NK, target)
    require(isinstance(value, Tensor), f"it returned a {type(value).__name__}, no tensor")
    fits = value.shape in ((), (_CLASSES,)) and value.is_floating_point()
    shown = f"{value.dtype} of shape {tuple(value.shape)}"
    require(fits, f"it returned {shown}, and must return a float scalar or one for each class")
    return value.double()


def _equal(one: Tensor, other: Tensor, *, close: float = _CLOSE) -> bool:
    return torch.allclose(one.double(), other.double(), atol=close, rtol=close, equal_nan=True)


def scalar_or_one_a_class(subject: Subject) -> None:
    """It returns a float scalar or one number for each class, and says which way is better."""
    metric = _build(subject)
    for _, predictions in _datasets():
        _value(metric, *predictions)
    direction = getattr(metric, "greater_is_better", None)
    require(isinstance(direction, bool), f"its greater_is_better is {direction!r}, not a bool")


def equals_reference(subject: Subject) -> None:
    """It equals what its author gives, ``Example(reference=...)``, called with the same tensors."""
    reference = subject.example.reference
    if reference is None:
        raise NotApplicable("no Example.reference, a function of (probabilities_NK, target)")
    metric = _build(subject)
    for what, predictions in _datasets():
        found = _value(metric, *predictions)
        expected = torch.as_tensor(reference(*predictions)).double()
        same = found.shape == expected.shape and _equal(found, expected)
        require(same, f"on {what} it is {_shown(found)}, the reference {_shown(expected)}")


def _shown(value: Tensor) -> str:
    return str([round(v, 6) for v in value.tolist()] if value.ndim else round(float(value), 6))


def order_does_not_matter(subject: Subject) -> None:
    """The images in another order have the same value."""
    metric = _build(subject)
    for what, (probabilities_NK, target_N) in _datasets():
        order = torch.randperm(len(target_N), generator=torch.Generator().manual_seed(9))
        found = _value(metric, probabilities_NK, target_N)
        turned = _value(metric, probabilities_NK[order], target_N[order])
        require(
            _equal(found, turned),
            f"on {what} it is {_shown(found)}, in another order {_shown(turned)}",
        )


def perfect_is_best(subject: Subject) -> None:
    """Perfect predictions are at least as good as all others, by greater_is_better."""
    _best(_build(subject), _predictions(), several=False)


def _best(metric: Metric, predictions: _Predictions, *, several: bool) -> None:
    given, target = predictions
    sign = 1.0 if metric.greater_is_better else -1.0
    right = target if several else torch.nn.functional.one_hot(target, _CLASSES).float()
    wrong = 1 - target if several else right.roll(1, 1)
    perfect = _value(metric, right, target)
    require(not bool(perfect.isnan().any()), "of perfect predictions it is NaN")
    strictly = False
    for what, other in (("plausible", given), ("wrong", wrong), ("reversed", given.flip(1))):
        value = _value(metric, other, target)
        worse = ((sign * perfect) >= sign * value - _CLOSE) | value.isnan()
        require(
            bool(worse.all()),
            f"perfect predictions have {_shown(perfect)}, {what} ones {_shown(value)}, "
            f"and greater_is_better is {metric.greater_is_better}",
        )
        strictly |= bool((sign * perfect > sign * value + _CLOSE).any())
    require(strictly, f"it is {_shown(perfect)} for perfect predictions and for all others")


def undefined_only_where_it_must_be(subject: Subject) -> None:
    """With images of every class it is a finite number, for every class of its own."""
    metric = _build(subject)
    for seed in range(3):
        value = _value(metric, *_predictions(seed))
        require(bool(value.isfinite().all()), f"with images of each class it is {_shown(value)}")


def a_class_without_images(subject: Subject) -> None:
    """A class that is neither true nor predicted spoils neither a mean nor the other classes."""
    metric = _build(subject)
    for absent in (0, _CLASSES - 1):
        value = _value(metric, *_without(absent))
        others = value if value.ndim == 0 else value[torch.arange(_CLASSES) != absent]
        require(
            bool(others.isfinite().all()),
            f"without images of class {absent} of {_CLASSES} it is {_shown(value)}",
        )


def few_images(subject: Subject) -> None:
    """One image alone is no error: a number, or NaN where that is not defined."""
    metric = _build(subject)
    probabilities_NK, target_N = _predictions()
    value = _value(metric, probabilities_NK[:1], target_N[:1])
    require(not bool(value.isinf().any()), f"for one image it is {_shown(value)}")


def weights_equal_copies(subject: Subject) -> None:
    """``reweighted``, where it has it, with whole weights equals images that stand so often."""
    metric = _build(subject)
    reweighted = getattr(metric, "reweighted", None)
    if reweighted is None:
        raise NotApplicable("it has no method reweighted; intervals compute it again each time")
    for what, predictions in _datasets():
        _copies(metric, reweighted, predictions, what)


def _copies(
    metric: Metric,
    reweighted: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]],
    predictions: _Predictions,
    what: str,
) -> None:
    probabilities_NK, target = predictions
    draw = torch.Generator().manual_seed(4)
    weights_NR = torch.randint(0, 4, (len(target), 3), generator=draw)
    weights_NR[0] += 1  # none is empty
    found = reweighted(probabilities_NK, target)(weights_NR.float())
    shape = (*_value(metric, probabilities_NK, target).shape, 3)
    require(
        found.shape == shape, f"for 3 columns of weights it has {tuple(found.shape)}, not {shape}"
    )
    for column, weights_N in enumerate(weights_NR.T):
        rows = torch.arange(len(target)).repeat_interleave(weights_N)
        copied = _value(metric, probabilities_NK[rows], target[rows])
        require(
            _equal(found[..., column], copied),
            f"on {what} it is {_shown(found[..., column])} by weights, "
            f"{_shown(copied)} by copies of the images",
        )


def several_labels(subject: Subject) -> None:
    """Of images with several labels it is a number, best for perfect predictions, or it refuses."""
    try:
        metric = _build(subject, multi_label=True)
    except UsageError as error:
        raise NotApplicable(f"it refuses images with several labels: {error.what}") from error
    predictions = _several()
    value = _value(metric, *predictions)
    require(bool(value.isfinite().all()), f"of images with several labels it is {_shown(value)}")
    _best(metric, predictions, several=True)
    if (reweighted := getattr(metric, "reweighted", None)) is not None:
        _copies(metric, reweighted, predictions, "several labels")


def inputs_are_left_alone(subject: Subject) -> None:
    """It writes into neither the probabilities nor the targets."""
    metric = _build(subject)
    given = _predictions()
    before = [tensor.clone() for tensor in given]
    metric(*given)
    if (reweighted := getattr(metric, "reweighted", None)) is not None:
        reweighted(*given)(torch.ones(_IMAGES, 2))
    for name, tensor, kept in zip(("probabilities", "targets"), given, before, strict=True):
        require(equal_bits(tensor, kept), f"it wrote into the {name}")


CHECKS = (
    scalar_or_one_a_class,
    equals_reference,
    order_does_not_matter,
    perfect_is_best,
    undefined_only_where_it_must_be,
    a_class_without_images,
    few_images,
    weights_equal_copies,
    several_labels,
    inputs_are_left_alone,
)
