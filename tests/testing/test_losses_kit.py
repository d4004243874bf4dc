"""Each check of a loss catches one that is wrong in just that way, and passes a right one.

B batch, K classes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, skipped, subject
from torch import nn
from torch.nn import functional as F

from zoo.errors import UsageError
from zoo.protocols import SoftmaxCost
from zoo.testing import Example, losses


def shares(logits, target):
    return F.one_hot(target, logits.shape[1]).float() if target.ndim == 1 else target.float()


class Right:
    """Cross-entropy as zoo wants it: class weights, sample weights, soft targets, a mass."""

    def __init__(self, class_weight=None):
        self.class_weight = class_weight

    def per_sample(self, logits, target):
        return -(shares(logits, target) * F.log_softmax(self.widened(logits), 1)).sum(1)

    def widened(self, logits):
        return logits.double() if logits.dtype == torch.float64 else logits.float()

    def counted(self, target):
        if self.class_weight is None:
            return torch.ones(len(target))
        return self.class_weight[target] if target.ndim == 1 else target @ self.class_weight

    def mass(self, target, sample_weight=None):
        counted = self.counted(target)
        return (counted if sample_weight is None else counted * sample_weight).sum()

    def __call__(self, logits, target, sample_weight=None):
        each = self.per_sample(logits, target)
        counted = self.counted(target).to(each)
        if sample_weight is not None:
            counted = counted * sample_weight.to(each)
        return ((each * counted).sum() / counted.sum().clamp_min(1e-30)).float()


def loss(made, **given):
    return subject("loss", lambda *, class_weight_K=None: made(class_weight_K), **given)


# ---- losses that are wrong in one way ---------------------------------------------------------


class Each(Right):
    def __call__(self, logits, target, sample_weight=None):
        return self.per_sample(logits, target)


class Double(Right):
    def __call__(self, *given):
        return super().__call__(*given).double()


class Learned(nn.Module):
    """Has a temperature that nobody trains."""

    def __init__(self, class_weight):
        super().__init__()
        self.right, self.temperature = Right(class_weight), nn.Parameter(torch.ones(()))
        self.mass = self.right.mass

    def forward(self, logits, target, sample_weight=None):
        return self.right(logits, target, sample_weight)


class InItsPrecision(Right):
    """Computed in half precision, and widened too late."""

    def widened(self, logits):
        return logits


class OwnSoftmax(Right):
    """The logarithm of a softmax, which is zero for what is improbable enough."""

    def per_sample(self, logits, target):
        p = self.widened(logits).softmax(1)
        return -(shares(logits, target) * p.log().clamp_min(-1e4)).sum(1)


class Summed(Right):
    def __call__(self, logits, target, sample_weight=None):
        return super().__call__(logits, target, sample_weight) * self.mass(target, sample_weight)


class NoMass(Right):
    """A mean over class weights that does not say so."""

    mass = None


class IgnoresSamples(Right):
    def __call__(self, logits, target, sample_weight=None):
        return super().__call__(logits, target)

    def mass(self, target, sample_weight=None):
        return super().mass(target)


class IgnoresClasses(Right):
    def __init__(self, class_weight=None):
        super().__init__()


class DividesByZero(Right):
    def __call__(self, logits, target, sample_weight=None):
        each, counted = self.per_sample(logits, target), self.counted(target)
        if sample_weight is not None:
            counted = counted * sample_weight
        return ((each * counted).sum() / counted.sum()).float()


class OtherSoft(Right):
    def per_sample(self, logits, target):
        each = super().per_sample(logits, target)
        return each if target.ndim == 1 else 1.01 * each


class SoftNaN(Right):
    """Fine for one-hot targets; an entropy of what is not."""

    def per_sample(self, logits, target):
        each = super().per_sample(logits, target)
        full = target.ndim == 2 and not (target == target.round()).all()
        return each * float("nan") if full else each


class WrongGradient(Right):
    def per_sample(self, logits, target):
        return super().per_sample(logits * 1.1, target).detach() + 0.0 * logits.sum(1) + (
            super().per_sample(logits, target) - super().per_sample(logits, target).detach()
        )  # fmt: skip


class Upwards(Right):
    def per_sample(self, logits, target):
        return super().per_sample(-logits, target)


class Notes(Right):
    """Writes into the weights that it is given."""

    def __call__(self, logits, target, sample_weight=None):
        found = super().__call__(logits, target, sample_weight)
        if sample_weight is not None:
            sample_weight.div_(sample_weight.sum() + 1)
        return found


class Noisy(Right):
    def __call__(self, logits, target, sample_weight=None):
        found = super().__call__(logits, target, sample_weight)
        return found + 1e-7 * torch.rand(()) * found.detach()


class OtherCost(Right):
    """Says that it is a focal loss."""

    cost = SoftmaxCost(gamma=1.0)


class WordsForCost(Right):
    cost = "cross-entropy"


class CostOfWeights(Right):
    """Says the same of itself whatever classes weigh."""

    cost = SoftmaxCost()


class Stated(Right):
    """Says what it is."""

    @property
    def cost(self):
        return SoftmaxCost() if self.class_weight is None else None


class StatedSmooth(Right):
    """Smoothed, and says so."""

    def per_sample(self, logits, target):
        return 0.9 * super().per_sample(logits, target) + 0.1 * super().per_sample(
            logits, torch.full(logits.shape, 1 / logits.shape[1])
        )

    @property
    def cost(self):
        return SoftmaxCost(smoothing=0.1) if self.class_weight is None else None


def reference(logits, target):
    """Cross-entropy in NumPy."""
    x = logits.double().numpy()
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    t = target.numpy() if target.ndim == 2 else np.eye(x.shape[1])[target]
    return -(t * log_p).sum(1).mean()


def wrong_reference(logits, target):
    return 1.01 * reference(logits, target)


WRONG = [
    (loss(lambda _: Each()), dict.fromkeys((
        "scalar-in-float32", "half-precision-logits", "extreme-logits", "mean-of-samples",
        "sample-weights", "class-weights", "nothing-counted-costs-nothing", "soft-targets",
        "gradient-is-the-derivative", "descent-finds-the-class", "inputs-left-alone",
    ), "")),
    (loss(Double), {"scalar-in-float32": "float64", "half-precision-logits": "float64"}),
    (loss(Learned), {"has-no-parameters": "temperature"}),
    (loss(InItsPrecision), {
        "half-precision-logits": "in float32", "extreme-logits": "float16",
    }),
    (loss(OwnSoftmax), {"extreme-logits": "not finite"}),
    (loss(Summed), {"mean-of-samples": "parts of 1, 4 and 7"}),
    (loss(NoMass), {"mean-of-samples": "with class weights"}),
    (loss(IgnoresSamples), {
        "sample-weights": "repeated", "nothing-counted-costs-nothing": "the loss is",
    }),
    (loss(IgnoresClasses), {"class-weights": "repeated"}),
    (loss(DividesByZero), {"nothing-counted-costs-nothing": "nan"}),
    (loss(OtherSoft), {"soft-targets": "one-hot targets and of class indices"}),
    (loss(SoftNaN), {"soft-targets": "not finite", **dict.fromkeys((
        "half-precision-logits", "extreme-logits", "sample-weights",
        "nothing-counted-costs-nothing", "gradient-is-the-derivative",
    ), "nan")}),
    (loss(WrongGradient), {
        "gradient-is-the-derivative": "finite differences", "half-precision-logits": "",
        "extreme-logits": "60000",
    }),
    (loss(OtherCost), {"costs-what-it-says": "the mean of its cost"}),
    (loss(WordsForCost), {"costs-what-it-says": "str, not a zoo.protocols.SoftmaxCost"}),
    (loss(CostOfWeights), {"costs-what-it-says": "it still has a cost"}),
    (loss(Upwards), {"descent-finds-the-class": "the classes"}),
    (loss(Notes), {"inputs-left-alone": "in place"}),
    (loss(Noisy), {"inputs-left-alone": "global generator of torch"}),
    (loss(Right, example=Example(reference=wrong_reference)), {
        "equals-the-reference": "class indices: the loss and its reference",
    }),
    (subject("loss", lambda: None), dict.fromkeys((
        "scalar-in-float32", "has-no-parameters", "half-precision-logits", "extreme-logits",
        "mean-of-samples", "sample-weights", "nothing-counted-costs-nothing", "soft-targets",
        "costs-what-it-says", "gradient-is-the-derivative", "descent-finds-the-class",
        "inputs-left-alone",
    ), "NoneType, which cannot be called")),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "caught"), WRONG)
def test_what_is_wrong_is_caught(wrong, caught):
    assert_caught(losses.CHECKS, wrong, caught)


def test_every_check_catches_something():
    assert_each_can_fail(losses.CHECKS, WRONG)


class RefusesSoft(Right):
    def per_sample(self, logits, target):
        if target.ndim == 2:
            raise UsageError("this loss takes one label for each image")
        return super().per_sample(logits, target)


@pytest.mark.parametrize(
    ("right", "idle"),
    [
        (loss(Stated, example=Example(reference=reference)), set()),
        (loss(StatedSmooth), {"equals-the-reference"}),
        (
            loss(lambda weight: Learned(weight).requires_grad_(False)),
            {"costs-what-it-says", "equals-the-reference"},
        ),
        (
            loss(RefusesSoft, tags=("hard labels",)),
            {"soft-targets", "costs-what-it-says", "equals-the-reference"},
        ),
        (
            subject("loss", lambda: Right()),
            {"class-weights", "costs-what-it-says", "equals-the-reference"},
        ),
    ],
)
def test_what_is_right_passes_and_says_what_does_not_apply(right, idle):
    assert_caught(losses.CHECKS, right, {})
    assert skipped(losses.CHECKS, right) == idle


def test_torchs_own_function_is_no_loss_of_zoo():
    """Its third argument weighs classes, where zoo hands over the weights of samples."""
    caught = dict.fromkeys(
        ("mean-of-samples", "sample-weights", "nothing-counted-costs-nothing", "inputs-left-alone"),
        "RuntimeError: weight tensor should be defined",
    )
    halves = {"half-precision-logits": "torch.float16", "extreme-logits": ""}
    assert_caught(losses.CHECKS, subject("loss", lambda: F.cross_entropy), {**caught, **halves})


def test_one_that_refuses_soft_targets_says_so_before_a_run_begins():
    assert_caught(
        losses.CHECKS, loss(RefusesSoft), {"soft-targets": "does not carry the tag 'hard labels'"}
    )
