"""Every metric against scikit-learn: random, skewed, tied and degenerate predictions."""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo_torchmetrics
from zoo.errors import UsageError
from zoo.registry import build, parse_choice

COMPONENTS = list(zoo_torchmetrics.zoo_components())
SEVERAL = [c.name for c in COMPONENTS if "multi-label" in c.tags]


def predictions(seed, num_images, num_classes, style, *, multi_label=False):
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(num_images, num_classes)) * 2
    labels = generator.integers(num_classes, size=num_images)
    targets = (generator.random((num_images, num_classes)) < 0.3).astype(np.float32)
    if style == "skewed":
        labels = np.where(generator.random(num_images) < 0.9, 0, labels)
        targets[:, 0] = 1
        targets[:, -1] = 0
    if style == "one class":
        labels[:] = num_classes - 1
        targets[:] = 0
    if style == "sure":
        scores[np.arange(num_images), labels] += 60
        scores += 60 * (2 * targets - 1) * multi_label
    if style == "absent":  # the first class is neither true nor predicted
        labels = np.maximum(labels, 1)
        scores[:, 0] = -50
        targets[:, 0] = 0
    scores = torch.from_numpy(scores).float()
    given = scores.sigmoid() if multi_label else scores.softmax(1)
    if style == "tied":
        given = (given * 4).round() / 4 if multi_label else torch.full_like(given, 1 / num_classes)
    return given, torch.from_numpy(targets if multi_label else labels)


DATA = st.tuples(
    st.integers(0, 2**31), st.integers(1, 60), st.integers(2, 6),
    st.sampled_from(["random", "skewed", "one class", "sure", "absent", "tied"]),
)  # fmt: skip


def metric(registry, spec, *, num_classes, multi_label=False):
    choice = parse_choice(registry, "metric", spec)
    return build(choice, num_classes=num_classes, multi_label=multi_label)


def quietly(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            return function(*args, **options)


def brier(p, y):
    return float((np.eye(p.shape[1])[y] - p).__pow__(2).sum(1).mean())


def rows_summed_ece(p, y, bins=15):
    """As the paper has it: a loop over bins."""
    confidence, right = p.max(1), p.argmax(1) == y
    total = 0.0
    for number in range(bins):
        low, high = np.float32(number / bins), np.float32((number + 1) / bins)
        inside = (confidence >= low) & ((confidence < high) | (number == bins - 1))
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(y)


def curve_mean(score, p, y, average, *, undefined):
    """The mean over the classes for which a curve is defined."""
    truth = np.eye(p.shape[1])[y] if y.ndim == 1 else y
    if average == "micro":
        truth, p = truth.reshape(-1, 1), p.reshape(-1, 1)
    defined = [not undefined(truth[:, k]) for k in range(truth.shape[1])]
    values = [
        quietly(score, truth[:, k], p[:, k]) if ok else np.nan for k, ok in enumerate(defined)
    ]
    if average is None:
        return np.array(values)
    if not any(defined):
        return np.nan
    weights = truth.sum(0) if average == "weighted" else np.ones(truth.shape[1])
    return float(np.average(np.array(values)[defined], weights=weights[defined]))


roc = partial(curve_mean, reference.roc_auc_score, undefined=lambda t: len(np.unique(t)) < 2)
area = partial(curve_mean, reference.average_precision_score, undefined=lambda t: not t.any())


def shared(function, average):
    return lambda p, y: quietly(
        function, y, p.argmax(1), average=average, zero_division=0,
        **({"labels": range(p.shape[1])} if average is None else {}),
    )  # fmt: skip


def kappa(weights):
    def value(p, y):
        labels = list(range(p.shape[1]))
        return quietly(reference.cohen_kappa_score, y, p.argmax(1), labels=labels, weights=weights)

    return value


ONE_LABEL = {
    "accuracy": lambda p, y: reference.accuracy_score(y, p.argmax(1)),
    "balanced-accuracy": lambda p, y: quietly(reference.balanced_accuracy_score, y, p.argmax(1)),
    "kappa": kappa(None),
    "kappa:weights=linear": kappa("linear"),
    "kappa-quadratic": kappa("quadratic"),
    "mcc": lambda p, y: quietly(reference.matthews_corrcoef, y, p.argmax(1)),
    # float32, so that scikit-learn bounds probabilities where float32 ends
    "nll": lambda p, y: quietly(reference.log_loss, y, p, labels=range(p.shape[1])),
    "brier": brier,
    "ece": rows_summed_ece,
    "ece-4": partial(rows_summed_ece, bins=4),
    **{
        name + end: shared(function, average)
        for name, function in (
            ("precision", reference.precision_score),
            ("recall", reference.recall_score),
            ("f1", reference.f1_score),
        )
        for end, average in (("", "macro"), ("-micro", "micro"), ("-weighted", "weighted"),
                             ("-none", None))
    },
    **{
        name + end: partial(function, average=average)
        for name, function in (("auroc", roc), ("average-precision", area))
        for end, average in (("", "macro"), ("-micro", "micro"), ("-weighted", "weighted"),
                             (":average=none", None))
    },
}  # fmt: skip


@pytest.mark.parametrize("spec", ONE_LABEL)
@settings(max_examples=10)
@given(data=DATA)
def test_one_label_an_image(registry, spec, data):
    probabilities, target = predictions(*data)
    expected = ONE_LABEL[spec](probabilities.numpy(), target.numpy())
    found = metric(registry, spec, num_classes=probabilities.shape[1])(probabilities, target)
    assert found.numpy() == pytest.approx(expected, abs=2e-6, nan_ok=True)


@settings(max_examples=15)
@given(data=DATA, k=st.integers(1, 8))
def test_top_k(registry, data, k):
    probabilities, target = predictions(*data)
    num_classes = probabilities.shape[1]
    found = float(metric(registry, f"top-{k}", num_classes=num_classes)(probabilities, target))
    # Of equal classes scikit-learn takes the last for the more probable one, argmax the first.
    flipped, turned = probabilities.numpy()[:, ::-1], num_classes - 1 - target.numpy()
    if num_classes == 2:
        order = np.argsort(-flipped[:, ::-1], axis=1, kind="stable")
        expected = (order[:, :k] == target.numpy()[:, None]).any(1).mean()
    else:
        expected = quietly(reference.top_k_accuracy_score, turned, flipped, k=k,
                           labels=range(num_classes))  # fmt: skip
    assert found == pytest.approx(expected)
    if k == 1:
        assert found == pytest.approx(float((probabilities.argmax(1) == target).float().mean()))


def columns_mean(function, p, t):
    return float(np.mean([quietly(function, t[:, k], p[:, k] > 0.5) for k in range(t.shape[1])]))


def specificity(p, t):
    tn, fp = ((p <= 0.5) & (t == 0)).sum(0), ((p > 0.5) & (t == 0)).sum(0)
    return float(np.mean(np.where(tn + fp > 0, tn / np.maximum(tn + fp, 1), 0)))


MANY_LABELS = {
    "accuracy": lambda p, t: reference.accuracy_score(t, p > 0.5),
    "balanced-accuracy": partial(columns_mean, reference.balanced_accuracy_score),
    "specificity": specificity,
    "nll": lambda p, t: -np.log(
        np.clip(np.where(t > 0.5, p, 1 - p), torch.finfo(torch.float32).eps, 1).astype(float)
    ).mean(),
    "brier": lambda p, t: ((p.astype(float) - t) ** 2).mean(),
    **{
        name + end: partial(
            lambda p, t, *, function, average: quietly(
                function, t, p > 0.5, average=average, zero_division=0
            ), function=function, average=average,
        )
        for name, function in (
            ("precision", reference.precision_score),
            ("recall", reference.recall_score),
            ("f1", reference.f1_score),
        )
        for end, average in (("", "macro"), ("-micro", "micro"), ("-weighted", "weighted"),
                             ("-none", None))
    },
    **{
        name + end: partial(function, average=average)
        for name, function in (("auroc", roc), ("average-precision", area))
        for end, average in (("", "macro"), ("-micro", "micro"), ("-weighted", "weighted"))
    },
}  # fmt: skip


@pytest.mark.parametrize("spec", MANY_LABELS)
@settings(max_examples=8)
@given(data=DATA)
def test_several_labels_an_image(registry, spec, data):
    probabilities, targets = predictions(*data, multi_label=True)
    score = metric(registry, spec, num_classes=probabilities.shape[1], multi_label=True)
    expected = MANY_LABELS[spec](probabilities.numpy(), targets.numpy())
    assert score(probabilities, targets).numpy() == pytest.approx(expected, abs=2e-6, nan_ok=True)


def test_specificity_counts_what_is_called_nothing(registry):
    target, predicted = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0])
    probabilities = torch.nn.functional.one_hot(predicted, 4).float()
    table = reference.multilabel_confusion_matrix(target, predicted, labels=range(4))
    expected = table[:, 0, 0] / (table[:, 0, 0] + table[:, 0, 1])
    found = metric(registry, "specificity-none", num_classes=4)(probabilities, target)
    assert found.numpy() == pytest.approx(expected)
    mean = metric(registry, "specificity", num_classes=4)(probabilities, target)
    assert float(mean) == pytest.approx(expected[:3].mean())  # the fourth class is nowhere


def test_a_perfect_classifier_has_f1_1_though_a_class_has_no_images(registry):
    target = torch.tensor([0, 0, 2])
    probabilities = torch.nn.functional.one_hot(target, 3).float()
    for spec in ("f1", "precision", "recall", "balanced-accuracy", "auroc", "average-precision"):
        assert float(metric(registry, spec, num_classes=3)(probabilities, target)) == 1


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
@settings(max_examples=5)
@given(data=DATA)
def test_weights_count_images_as_often_as_copies_do(registry, component, multi_label, data):
    if multi_label and component.name not in SEVERAL:
        return
    probabilities, target = predictions(*data, multi_label=multi_label)
    score = metric(
        registry, component.name, num_classes=probabilities.shape[1], multi_label=multi_label
    )
    weights_N3 = torch.from_numpy(np.random.default_rng(data[0]).integers(0, 4, (len(target), 3)))
    weights_N3[0] += 1  # none is empty
    found = score.reweighted(probabilities, target)(weights_N3.float())
    for weights_N, value in zip(weights_N3.T, found.tolist(), strict=True):
        rows = torch.arange(len(target)).repeat_interleave(weights_N)
        copied = float(score(probabilities[rows], target[rows]))
        assert value == pytest.approx(copied, abs=2e-6, nan_ok=True)


@pytest.mark.parametrize("spec", ["precision", "f1", "auroc", "average-precision", "specificity"])
def test_weights_class_by_class(registry, spec):
    probabilities, target = predictions(3, 50, 4, "random")
    score = metric(registry, f"{spec}:average=none", num_classes=4)
    found = score.reweighted(probabilities, target)(torch.ones(50, 2))
    assert found.shape == (4, 2)
    assert found[:, 1].numpy() == pytest.approx(score(probabilities, target).numpy(), abs=1e-6)


@pytest.mark.parametrize("name", [c.name for c in COMPONENTS if c.name not in SEVERAL])
def test_one_label_metrics_refuse_several(registry, name):
    with pytest.raises(UsageError, match="one label an image"):
        metric(registry, name, num_classes=3, multi_label=True)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_declarations_are_what_the_targets_take(registry, component):
    module, _, name = component.target.partition(":")
    accepted = set(inspect.signature(getattr(import_module(module), name)).parameters)
    declared = {p.name for p in component.params} | set(component.preset)
    assert declared <= accepted <= declared | {"num_classes", "multi_label"}
    upwards = metric(registry, component.name, num_classes=3).greater_is_better
    assert upwards == ("lower" not in component.tags)


def test_thousands_of_images_in_double_precision(registry):
    """In float32 the products of MCC lose the small difference that a rare class makes."""
    target = torch.zeros(200_000, dtype=torch.int64)
    target[:30] = 1
    predicted = target.clone()
    predicted[:10] = 0
    predicted[100:105] = 1
    probabilities = torch.nn.functional.one_hot(predicted, 2).float()
    for spec, function in (("mcc", reference.matthews_corrcoef),
                           ("kappa", reference.cohen_kappa_score)):  # fmt: skip
        found = float(metric(registry, spec, num_classes=2)(probabilities, target))
        assert found == pytest.approx(function(target, predicted), abs=1e-6)
