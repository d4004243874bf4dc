"""Bootstrap intervals: against SciPy's, and by how often they cover what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as reference
import torch

from zoo.engine.scores import Measure
from zoo.errors import PluginError
from zoo.evaluation.intervals import (
    Difference,
    interval_of,
    intervals,
    metrics_of,
    num_resamples,
    paired_difference,
    paired_differences,
    resampled,
    weights_of,
)
from zoo.registry import build, parse_choice


def said(num_images, num_classes=3, *, seed=0, skill=1.0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(num_classes, (num_images,), generator=generator)
    logits = torch.randn((num_images, num_classes), generator=generator)
    logits += skill * torch.nn.functional.one_hot(target, num_classes)
    return logits.softmax(1), target


def measure(registry, spec, *, num_classes=3, multi_label=False):
    choice = parse_choice(registry, "metric", spec)
    metric = build(choice, num_classes=num_classes, multi_label=multi_label)
    return Measure(label=spec, owner=choice.entry.id, metric=metric)


def test_a_resample_draws_as_many_images_and_depends_on_its_number_alone():
    weights_NR = weights_of(50, range(8), seed=3)
    assert weights_NR.shape == (50, 8)
    assert (weights_NR.sum(0) == 50).all()
    assert torch.equal(weights_NR[:, 5:7], weights_of(50, range(5, 7), seed=3))
    assert not torch.equal(weights_NR, weights_of(50, range(8), seed=4))
    many_NR = weights_of(10, range(4000), seed=0).double()
    assert many_NR.mean(1).tolist() == pytest.approx([1.0] * 10, abs=0.08)
    assert many_NR.var(1).tolist() == pytest.approx([0.9] * 10, abs=0.12)  # n p (1 - p)


REFERENCES = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.argmax(1)),
    "f1": lambda y, p: reference.f1_score(y, p.argmax(1), average="macro"),
    "auroc": lambda y, p: reference.roc_auc_score(y, p, multi_class="ovr"),
    "nll": lambda y, p: reference.log_loss(y, p),
}


def test_against_scipy(registry):
    probabilities, target = said(120)
    rows = (target.numpy(), probabilities.double().numpy())
    measures = [measure(registry, name) for name in REFERENCES]
    found = intervals(measures, probabilities, target)
    for name, function in REFERENCES.items():
        statistic = lambda index, function=function: function(  # noqa: E731  # one a metric
            rows[0][index], rows[1][index] / rows[1][index].sum(1, keepdims=True)
        )
        expected = scipy.stats.bootstrap(
            (np.arange(120),), statistic, vectorized=False, method="percentile", n_resamples=400,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        interval = expected.confidence_interval
        width = interval.high - interval.low
        assert found[name].low == pytest.approx(interval.low, abs=0.15 * width), name
        assert found[name].high == pytest.approx(interval.high, abs=0.15 * width), name
        assert (found[name].level, found[name].resamples) == (0.95, 1000)


def test_nineteen_of_twenty_cover_the_truth(registry):
    """The accuracy of a classifier that is right in 80 % of all images there are."""
    accuracy = measure(registry, "accuracy", num_classes=2)
    generator = np.random.default_rng(1)
    covered = 0
    for number in range(300):
        right = torch.from_numpy(generator.random(200) < 0.8).float()
        probabilities = torch.stack((1 - right, right), dim=1)
        found = intervals([accuracy], probabilities, torch.ones(200, dtype=torch.int64),
                          resamples=200, seed=number)["accuracy"]  # fmt: skip
        covered += found.low <= 0.8 <= found.high
    assert 0.90 <= covered / 300 <= 0.985  # three standard deviations around 0.945


def test_the_same_seed_is_the_same_interval(registry):
    probabilities, target = said(80)
    ones = [measure(registry, "f1"), measure(registry, "ece")]
    first = intervals(ones, probabilities, target, resamples=300)
    assert first == intervals(ones, probabilities, target, resamples=300)
    assert first != intervals(ones, probabilities, target, resamples=300, seed=1)
    alone = intervals(ones[1:], probabilities, target, resamples=300)
    assert alone["ece"] == first["ece"]


class Median:
    """A metric of somebody else's, which takes no weights."""

    greater_is_better = True

    def __call__(self, probabilities_NK, target):
        return probabilities_NK.gather(1, target[:, None]).median()


def test_a_metric_that_takes_no_weights_is_computed_on_the_images():
    probabilities, target = said(60)
    (values,) = resampled([Median()], probabilities, target, resamples=400)
    assert len(values) == 200
    weights = weights_of(60, range(200), seed=0)
    for number in (0, 199):
        rows = np.repeat(np.arange(60), weights[:, number].long())
        assert values[number] == pytest.approx(float(Median()(probabilities[rows], target[rows])))


class NeedsAll(Median):
    """A metric that raises where a class has no image, as many of scikit-learn do."""

    def __call__(self, probabilities_NK, target):
        if len(target.unique()) < probabilities_NK.shape[1]:
            raise ValueError("only one class present")
        return super().__call__(probabilities_NK, target)


def test_a_metric_that_fails_on_a_resample_is_named():
    probabilities, target = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])
    needs_all = Measure(label="all", owner="acme/all (zoo-acme 1.0)", metric=NeedsAll())
    assert float(needs_all(probabilities, target)) > 0.5
    with pytest.raises(PluginError, match=r"the metric acme/all \(zoo-acme 1\.0\) failed"):
        intervals([needs_all], probabilities, target)


class Weighs(Median):
    """A metric whose way of taking weights is given."""

    def __init__(self, values_of):
        self._values_of = values_of

    def reweighted(self, probabilities_NK, target):
        return self._values_of


@pytest.mark.parametrize(
    ("values_of", "says"),
    [
        (lambda weights_NR: 1 / 0, "failed"),
        (None, "failed"),  # cannot be called
        (lambda weights_NR: weights_NR, r"returns \(60, 250\) for weights of 250 resamples"),
        (lambda weights_NR: 0.5, "returns float for"),
        (lambda weights_NR: weights_NR.sum(0).numpy(), r"returns \(250,\)"),
    ],
)
def test_a_metric_that_fails_on_weights_is_named(values_of, says):
    one = Measure(label="m", owner="acme/m (zoo-acme 1.0)", metric=Weighs(values_of))
    with pytest.raises(PluginError, match=r"the metric acme/m \(zoo-acme 1\.0\) " + says):
        intervals([one], *said(60))


def test_a_biased_metric_that_takes_no_weights_is_moved_to_its_value():
    class Biased(Median):
        biased = True

    probabilities, target = said(60)
    one = Measure(label="m", owner="", metric=Biased())
    (values,) = resampled(metrics_of([one]), probabilities, target)
    assert values.mean() == pytest.approx(float(one(probabilities, target)))


def test_progress_is_told_and_chunks_change_nothing(registry, monkeypatch):
    import zoo.evaluation.intervals as module

    probabilities, target = said(40)
    one = [measure(registry, "kappa").metric, Median()]
    told = []
    whole = resampled(one, probabilities, target, resamples=300)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 40 * 4 * 7)
    pieces = resampled(one, probabilities, target, resamples=300,
                       progress=lambda done, total: told.append((done, total)))  # fmt: skip
    for first, second in zip(whole, pieces, strict=True):
        assert np.array_equal(first, second)
    assert told[0] == (7, 300)
    assert told[-1] == (300, 300)


def test_where_a_metric_is_not_defined(registry):
    target = torch.zeros(30, dtype=torch.int64)
    probabilities, _ = said(30)
    found = intervals([measure(registry, "auroc")], probabilities, target, resamples=50)["auroc"]
    assert math.isnan(found.low)
    assert found.resamples == 0
    target[0] = 1  # some resamples lack it
    found = intervals([measure(registry, "auroc")], probabilities, target, resamples=200)["auroc"]
    assert 100 < found.resamples < 160  # 1 - 1/e of 200, about
    assert 0 <= found.low <= found.high <= 1


def test_several_labels(registry):
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand((90, 4), generator=generator) < 0.4).float()
    probabilities = (torch.randn((90, 4), generator=generator) + 2 * target - 1).sigmoid()
    measures = [measure(registry, name, num_classes=4, multi_label=True)
                for name in ("f1", "auroc-micro")]  # fmt: skip
    found = intervals(measures, probabilities, target, resamples=400)
    for one in measures:
        interval = found[one.label]
        assert interval.low < float(one(probabilities, target)) < interval.high


def test_pairs_of_classifiers_see_the_same_images(registry):
    first, target = said(300, skill=2.0)
    second = (first + 0.3 * said(300, seed=5)[0]) / 1.3
    f1 = measure(registry, "f1").metric
    values = paired_differences(f1, first, second, target, resamples=300)
    alone = [resampled([f1], p, target, resamples=300)[0] for p in (first, second)]
    assert np.array_equal(values, alone[0] - alone[1])
    assert values.std() < 0.7 * np.hypot(alone[0].std(), alone[1].std())
    found = paired_difference(f1, first, second, target, resamples=300)
    assert isinstance(found, Difference)
    assert found.difference == pytest.approx(float(f1(first, target) - f1(second, target)))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    swapped = paired_difference(f1, second, first, target, resamples=300)
    assert swapped == pytest.approx((-found.difference, -found.high, -found.low))
    assert paired_difference(f1, first, first, target, resamples=20) == (0, 0, 0)


def test_the_difference_covers_zero_as_often_as_it_should(registry):
    """Two classifiers that are equally good, and mostly wrong on the same images."""
    accuracy = measure(registry, "accuracy", num_classes=2).metric
    generator = np.random.default_rng(2)
    target = torch.ones(150, dtype=torch.int64)
    outside = 0
    for number in range(150):
        hard = generator.random(150) < 0.3
        both = [
            torch.from_numpy(np.where(hard, generator.random(150) < 0.4, True)).float()
            for _ in range(2)
        ]
        said_by = [torch.stack((1 - right, right), dim=1) for right in both]
        found = paired_difference(accuracy, *said_by, target, resamples=200, seed=number)
        outside += not found.low <= 0 <= found.high
    assert 0.005 < outside / 150 < 0.12


def test_how_many_resamples():
    assert num_resamples(100, 2) == 1000
    assert num_resamples(10_000, 100) == 1000
    assert num_resamples(50_000, 1_000) == 200
    assert interval_of(np.arange(101.0), level=0.9).low == pytest.approx(5)


def test_what_resampling_adds_to_a_calibration_error_is_taken_off(registry):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(250, 4, generator=generator).mul(2).softmax(1)
    target = torch.multinomial(probabilities, 1, generator=generator)[:, 0]  # well calibrated
    one = measure(registry, "ece")
    value = float(one.metric(probabilities, target))
    found = intervals([one], probabilities, target, seed=1)["ece"]
    assert found.low < value < found.high
    weights = weights_of(250, range(400), seed=3)
    raw = one.metric.reweighted(probabilities, target)(weights).numpy()
    assert np.quantile(raw, 0.025) > value * 0.95  # as it was: next to nothing below the value
    assert abs(resampled([one.metric], probabilities, target, resamples=400, seed=3)[0].mean()
               - value) < 1e-3  # fmt: skip


def test_level_and_progress_are_passed_on(registry):
    probabilities, target = said(80)
    f1, told = measure(registry, "f1"), []
    found = intervals([f1], probabilities, target, resamples=300, level=0.5,
                      progress=lambda done, total: told.append((done, total)))["f1"]  # fmt: skip
    (values,) = resampled([f1.metric], probabilities, target, resamples=300)
    assert (found.low, found.high) == tuple(np.quantile(values, [0.25, 0.75]))
    assert (found.level, found.resamples) == (0.5, 300)
    assert told[-1] == (300, 300)
