"""Each check of metrics catches one that is wrong in just that way."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject

from zoo.errors import UsageError
from zoo.testing.metrics import CHECKS
from zoo.testing.subject import Example


class Accuracy:
    """The share that is right, or with one fault."""

    greater_is_better = True

    def __init__(self, change=lambda value, p, t: value):
        self.change = change

    def __call__(self, probabilities_NK, target):
        return self.change(self.right(probabilities_NK, target).mean(), probabilities_NK, target)

    def right(self, probabilities_NK, target):
        if target.ndim == 2:
            return ((probabilities_NK > 0.5) == (target > 0.5)).all(1).float()
        return (probabilities_NK.argmax(1) == target).float()


class Weighed(Accuracy):
    """With weights, or with weights that are wrong."""

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault

    def reweighted(self, probabilities_NK, target):
        right_N = self.right(probabilities_NK, target)
        if self.fault == "writes":
            probabilities_NK.zero_()
        if self.fault == "column":
            return lambda weights_NR: right_N @ weights_NR[:, :1] / weights_NR[:, :1].sum(0)
        if self.fault == "unweighted":
            return lambda weights_NR: right_N.mean().expand(weights_NR.shape[1])
        return lambda weights_NR: right_N @ weights_NR / weights_NR.sum(0)


class Recall(Accuracy):
    """One number a class; NaN where it has no images."""

    empty = float("nan")

    def __call__(self, probabilities_NK, target):
        if target.ndim == 2:
            raise UsageError("one label an image")
        hit = (probabilities_NK.argmax(1) == target).float()
        classes = torch.arange(probabilities_NK.shape[1])
        member_NK = (target[:, None] == classes).float()
        return (hit @ member_NK) / member_NK.sum(0)


class MeanRecall(Recall):
    def __call__(self, probabilities_NK, target):
        return super().__call__(probabilities_NK, target).mean()


def one_label(kind):
    def build(*, multi_label):
        if multi_label:
            raise UsageError("the metric needs one label an image", hint="another")
        return kind()

    return build


def changed(change):
    return lambda: Accuracy(change)


def last_counts_more(value, p, t):
    weights = torch.linspace(0, 1, len(t)) + 0.01
    return ((p.argmax(1) == t.reshape(len(t), -1)[:, 0]).float() * weights).sum() / weights.sum()


def spoiling(value, p, t):
    p.clamp_(0.1, 0.9)
    return value


class Lower(Accuracy):
    greater_is_better = False


class Undirected(Accuracy):
    greater_is_better = "yes"


def reference(probabilities_NK, target):
    return sklearn.metrics.accuracy_score(target.numpy(), probabilities_NK.numpy().argmax(1))


WRONG = [
    (changed(lambda value, p, t: float(value)),
     dict.fromkeys(["scalar-or-one-a-class", "order-does-not-matter", "perfect-is-best",
                    "undefined-only-where-it-must-be", "a-class-without-images", "few-images",
                    "several-labels"], "returned a float, no tensor")),
    (changed(lambda value, p, t: p.mean(1)),
     dict.fromkeys(["scalar-or-one-a-class", "order-does-not-matter", "perfect-is-best",
                    "undefined-only-where-it-must-be", "a-class-without-images", "few-images",
                    "several-labels"], "must return a float scalar or one for each class")),
    (Undirected, {"scalar-or-one-a-class": "greater_is_better is 'yes'"}),
    (changed(last_counts_more), {"order-does-not-matter": "in another order",
                                 "several-labels": ""}),
    (Lower, {"perfect-is-best": "greater_is_better is False", "several-labels": ""}),
    (changed(lambda value, p, t: value * 0 + 0.5),
     {"perfect-is-best": "for perfect predictions and for all", "several-labels": ""}),
    (changed(lambda value, p, t: value / (value < 1) * (value < 1)),
     {"perfect-is-best": "of perfect predictions it is NaN", "several-labels": ""}),
    (changed(lambda value, p, t: value + (float("nan") if 0.3 < value < 1 and len(p) > 66 else 0)),
     {"undefined-only-where-it-must-be": "with images of each class it is nan"}),
    (one_label(MeanRecall), {"a-class-without-images": "without images of class 0 of 7 it is nan"}),
    (changed(lambda value, p, t: value * (1 + 0 / (len(p) - 1))),
     {"few-images": "ZeroDivisionError"}),
    (changed(lambda value, p, t: value + torch.tensor(1.0 * (len(p) == 1)).log1p() / (len(p) > 1)),
     {"few-images": "for one image it is inf"}),
    (lambda: Weighed("unweighted"), {"weights-equal-copies": "by weights", "several-labels": ""}),
    (lambda: Weighed("column"), {"weights-equal-copies": "it has (1,), not (3,)",
                                 "several-labels": ""}),
    (lambda: Weighed("writes"), {"inputs-are-left-alone": "wrote into the probabilities",
                                 "weights-equal-copies": "", "several-labels": ""}),
    (changed(spoiling), {"inputs-are-left-alone": "wrote into the probabilities"}),
    (lambda *, multi_label: Lower() if multi_label else Accuracy(),
     {"several-labels": "greater_is_better is False"}),
    (lambda: Recall(), {"several-labels": "one label an image"}),
]  # fmt: skip


def test_right_ones_pass_every_check():
    plain = subject("metric", Accuracy, example=Example(reference=reference))
    assert failing(CHECKS, plain) == {}
    assert skipped(CHECKS, plain) == {"weights-equal-copies"}
    assert failing(CHECKS, subject("metric", Weighed)) == {}
    each = subject("metric", one_label(Recall))
    assert failing(CHECKS, each) == {}
    assert skipped(CHECKS, each) == {"weights-equal-copies", "several-labels", "equals-reference"}


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=map(str, range(len(WRONG))))
def test_one_that_is_wrong_is_caught(target, caught):
    assert_caught(CHECKS, subject("metric", target), caught)


@pytest.mark.parametrize(
    "other", [lambda p, t: reference(p, t) + 1e-3, lambda p, t: np.full(7, reference(p, t))]
)
def test_a_reference_that_differs_is_told(other):
    wrong = subject("metric", Accuracy, example=Example(reference=other))
    assert_caught(CHECKS, wrong, {"equals-reference": "the reference"})


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, [*WRONG, (None, {"equals-reference": ""})])
