"""The tests behind `zoo compare` against independent references, and what may be paired."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.evaluation.comparison.comparing import labels_of
from zoo.evaluation.comparison.differences import differences_of
from zoo.evaluation.comparison.judging import enough_resamples, judged
from zoo.evaluation.comparison.paired import (
    EXACT_BELOW,
    bootstrap_p,
    holm,
    mcnemar,
    replicates_of,
    replicates_of_means,
    smallest_p,
)
from zoo.evaluation.comparison.pairing import in_order_of, why_not_paired
from zoo.evaluation.comparison.records import Verdict
from zoo.evaluation.intervals import interval_of, paired_difference
from zoo.evaluation.metrics import measures_for
from zoo.evaluation.predictions import Predictions

scipy_stats = pytest.importorskip("scipy.stats")


@given(*[st.integers(0, 14) | st.integers(0, 200)] * 2)  # the exact one is for few
def test_mcnemar_is_the_binomial_test_and_then_the_chi_square(first, second):
    p_value, method = mcnemar(first, second)
    if first + second == 0:
        assert p_value == 1
    elif first + second < EXACT_BELOW:
        assert method == "exact McNemar"
        expected = scipy_stats.binomtest(first, first + second, 0.5).pvalue
        assert p_value == pytest.approx(expected, rel=1e-9)
    else:
        assert method == "McNemar"
        statistic = max(0, abs(first - second) - 1) ** 2 / (first + second)
        assert p_value == pytest.approx(scipy_stats.chi2.sf(statistic, 1), rel=1e-9, abs=1e-300)
    assert p_value == mcnemar(second, first)[0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """A hypothesis is rejected if every set of hypotheses that holds it is, by Bonferroni."""
    every = range(len(p_values))
    expected = [
        max(
            min(1.0, size * min(p_values[j] for j in chosen))
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(every, size)
            if i in chosen
        )
        for i in every
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_leaves_what_was_not_tested_out():
    first, unknown, second = holm([0.02, math.nan, 0.04])
    assert (first, second) == (0.04, 0.04)
    assert math.isnan(unknown)


def predictions(said_N, labels_N, *, sharpness=2.0, seed=0, num_classes=3):
    generator = torch.Generator().manual_seed(seed)
    logits_NK = torch.randn((len(said_N), num_classes), generator=generator) * 0.1
    logits_NK[torch.arange(len(said_N)), torch.as_tensor(said_N)] += sharpness
    return Predictions(
        names=tuple(f"image-{i}" for i in range(len(said_N))), classes=("a", "b", "c"),
        logits_NK=logits_NK, labels_N=torch.as_tensor(labels_N), facts={"fingerprint": "one"},
    )  # fmt: skip


def two_classifiers(*, num=200, seed=0, first=0.8, second=0.7):
    generator = np.random.default_rng(seed)
    labels_N = generator.integers(0, 3, num)
    said = []
    for accuracy in (first, second):
        wrong_N = (labels_N + generator.integers(1, 3, num)) % 3
        said.append(np.where(generator.random(num) < accuracy, labels_N, wrong_N))
    return [predictions(s, labels_N, seed=i) for i, s in enumerate(said)]


def test_intervals_are_those_of_zoo_evaluate_and_near_scipy(registry):
    one, two = two_classifiers()
    right_MN = np.stack([p.right_N.numpy().astype(float) for p in (one, two)])
    means = replicates_of_means(right_MN, resamples=1000, seed=0)
    measures = measures_for(one, registry, ["accuracy", "f1"])
    probabilities = [one.probabilities_NK, two.probabilities_NK]
    found = replicates_of(measures, probabilities, one.target, resamples=1000, seed=0)
    np.testing.assert_allclose(means.resampled_MR, found["accuracy"].resampled_MR, atol=1e-6)
    np.testing.assert_allclose(means.values_M, right_MN.mean(1))
    for measure in measures:
        expected = paired_difference(measure.metric, *probabilities, one.target, resamples=1000)
        replicates = found[measure.label]
        low_high = interval_of(replicates.resampled_MR[0] - replicates.resampled_MR[1])
        assert low_high.low == pytest.approx(expected.low, abs=1e-6)
        assert low_high.high == pytest.approx(expected.high, abs=1e-6)
        value = replicates.values_M[0] - replicates.values_M[1]
        assert value == pytest.approx(expected.difference)
    reference = scipy_stats.bootstrap(
        (right_MN[0] - right_MN[1],), np.mean, n_resamples=2000, method="percentile", rng=1
    ).confidence_interval
    found_mean = interval_of(means.resampled_MR[0] - means.resampled_MR[1])
    assert found_mean.low == pytest.approx(reference.low, abs=0.012)
    assert found_mean.high == pytest.approx(reference.high, abs=0.012)


def test_the_p_value_of_a_bootstrap_is_below_5_percent_when_the_interval_leaves_zero_out():
    generator = np.random.default_rng(0)
    agreeing = 0
    for shift in np.linspace(-4, 4, 200):
        differences_R = generator.normal(shift, 1, 999)
        found = interval_of(differences_R)
        outside = found.low > 0 or found.high < 0
        agreeing += outside == (bootstrap_p(differences_R) < 0.05)
    assert agreeing >= 196  # they may part at the very edge
    assert bootstrap_p(np.zeros(999)) == 1.0
    assert bootstrap_p(np.full(999, 3.0)) == 2 / 1000
    assert math.isnan(bootstrap_p(np.array([math.nan] * 600 + [1.0] * 399)))
    assert bootstrap_p(np.array([math.nan] * 400 + [1.0] * 599)) == 2 / 600


@given(st.floats(1e-4, 0.5), st.integers(1, 40))
def test_enough_resamples_can_pass_holm_with_some_of_them_beyond_zero(alpha, number):
    resamples = enough_resamples(alpha / number, most=10**9)
    differences_R = np.concatenate([np.ones(resamples - 4), np.full(4, -1.0)])
    assert holm([bootstrap_p(differences_R)] * number)[0] <= alpha
    assert smallest_p(resamples) == bootstrap_p(np.ones(resamples))


def verdict(p_value, *, resamples, number, alpha, difference=0.1, method="paired bootstrap"):
    made = Verdict(
        metric="loss", first="a", other="b", difference=difference, method=method,
        resamples=resamples, p_value=p_value, corrected=min(1, number * p_value),
    )  # fmt: skip
    return judged(made, upwards=True, alpha=alpha, tests=number)


def test_too_few_resamples_leave_open_what_they_cannot_tell():
    least = 2 / 201
    assert verdict(least, resamples=200, number=5, alpha=0.05).outcome == "better"
    few = verdict(least, resamples=200, number=6, alpha=0.05)
    assert (few.outcome, few.why) == (
        "untested", "too few resamples (200) for this alpha and so many runs",
    )  # fmt: skip
    alone = verdict(least, resamples=200, number=1, alpha=0.001)
    assert (alone.outcome, alone.why) == ("untested", "too few resamples (200) for this alpha")
    for p_value in (0.05, 0.4):  # well above the least, and above alpha
        assert verdict(p_value, resamples=200, number=6, alpha=0.05).outcome == "noise"
    exact = verdict(0.5, resamples=200, number=6, alpha=0.001, method="exact McNemar")
    assert exact.outcome == "noise"
    for p_value in (least, 1.0):
        same = verdict(p_value, resamples=200, number=6, alpha=0.001, difference=0.0)
        assert same.outcome == "noise"


def test_equal_classifiers_are_called_different_about_as_rarely_as_promised():
    """500 pairs of equally good classifiers: the share that is called different is near 5 %."""
    mcnemar_wrong = bootstrap_wrong = 0
    generator = np.random.default_rng(5)
    for trial in range(500):
        right_MN = generator.random((2, 150)) < 0.75
        only = right_MN[0] & ~right_MN[1], right_MN[1] & ~right_MN[0]
        mcnemar_wrong += mcnemar(int(only[0].sum()), int(only[1].sum()))[0] < 0.05
        if trial < 60:
            found = replicates_of_means(right_MN.astype(float), resamples=200, seed=trial)
            bootstrap_wrong += bootstrap_p(found.resampled_MR[0] - found.resampled_MR[1]) < 0.05
    assert 5 <= mcnemar_wrong <= 30  # of 500; the correction makes it careful
    assert 1 <= bootstrap_wrong <= 9  # of 60


# ---- which images are the same ------------------------------------------------------------------


class Pixels:
    """Images that are decoded already."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def read(self, index):
        from PIL import Image

        return Image.fromarray(self.pixels[index])

    def name(self, index):
        return f"image-{index}"


class Sourced(Pixels):
    """Images that say where their content is."""

    def __init__(self, pixels, sources):
        super().__init__(pixels)
        del self.pixels
        self.sources, self._decoded = sources, pixels

    def __len__(self):
        return len(self.sources)

    def read(self, index):
        from PIL import Image

        return Image.fromarray(self._decoded[index])

    def source(self, index):
        return self.sources[index]


def examined(said_N, labels_N, *, images=None, fingerprint="one", **changes):
    from dataclasses import replace

    made = replace(predictions(said_N, labels_N), facts={"fingerprint": fingerprint}, **changes)
    pixels = np.zeros((len(said_N), 4, 4, 3), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(said_N))
    part = SimpleNamespace(images=Pixels(pixels) if images is None else images)
    return SimpleNamespace(predictions=made, part=part)


SAID, LABELS = [0, 1, 2, 0], [0, 1, 1, 2]


def test_the_same_images_are_paired_though_other_training_images_change_the_fingerprint():
    first = examined(SAID, LABELS)
    assert why_not_paired(first, examined(LABELS, LABELS)) is None
    assert why_not_paired(first, examined(LABELS, LABELS, fingerprint="two")) is None


def test_files_are_the_same_by_path_or_by_content(tmp_path):
    pixels = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"same" if name != "c" else b"else")
    one = Sourced(pixels, [tmp_path / "a", b"same"])
    first = examined([0, 1], [0, 1], images=one)

    def against(*sources, decoded=pixels):
        other = examined([0, 1], [0, 1], images=Sourced(decoded, list(sources)), fingerprint="two")
        return why_not_paired(first, other)

    assert against(tmp_path / "a", b"same") is None
    assert against(tmp_path / "b", tmp_path / "a") is None
    assert "not the same images" in against(tmp_path / "c", b"same")
    assert "not the same images" in against(tmp_path / "a", b"else")
    assert against(None, b"same") is None  # decoded and compared
    assert "not the same images" in against(None, b"same", decoded=pixels + 1)


OTHER = np.ones((4, 4, 4, 3), dtype=np.uint8)
REASONS = {
    "fewer images": (examined(SAID[:3], LABELS[:3]), "examined on 4 and 3 images"),
    "other names": (
        examined(SAID, LABELS, names=("image-0", "image-1", "x", "y")), "2 of 4 names differ",
    ),
    "other labels": (examined(SAID, [0, 1, 2, 2]), "1 of 4 images have another label"),
    "other classes": (
        examined(SAID, LABELS, classes=("a", "b", "<d>")), "their classes differ: <d>, c",
    ),
    "several labels": (
        examined(SAID, LABELS, targets_NK=torch.ones(4, 3)), "several labels in one run",
    ),
    "other pixels": (
        examined(SAID, LABELS, images=Pixels(OTHER), fingerprint="two"), "not the same images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS)
def test_why_runs_are_not_paired(case):
    other, word = REASONS[case]
    assert word in why_not_paired(examined(SAID, LABELS), other)
    assert why_not_paired(other, examined(SAID, LABELS)) is not None


@settings(max_examples=30)
@given(st.permutations(["a", "b", "c"]))
def test_classes_in_another_order_mean_the_same(order):
    one = predictions(SAID, LABELS)
    turned = in_order_of(one, tuple(order))
    names = [one.classes[i] for i in one.predicted_N]
    assert [turned.classes[i] for i in turned.predicted_N] == names
    assert torch.equal(turned.right_N, one.right_N)
    assert torch.allclose(turned.losses_N, one.losses_N)
    back = in_order_of(turned, one.classes)
    assert torch.equal(back.logits_NK, one.logits_NK)
    assert torch.equal(back.labels_N, one.labels_N)
    first = SimpleNamespace(predictions=one, part=None)
    assert why_not_paired(first, SimpleNamespace(predictions=turned, part=None)) is None


# ---- what differs -------------------------------------------------------------------------------


def run_with(environment, **options):
    from zoo.config import RunConfig

    return SimpleNamespace(config=RunConfig(**options), environment=environment)


def test_only_what_differs_is_listed():
    base = {
        "packages": {"torch": "2.10.0", "timm": "1.0"}, "threads": 2, "python": "3.12",
        "components": {"model": {"spec": "classics/lenet", "package": "classifier-zoo 0.1"}},
        "data": {"fingerprint": "f" * 64, "classes": ["a", "b"]},
    }  # fmt: skip
    other = {**base, "packages": {"torch": "2.11.0", "timm": "1.0"}, "threads": 1}
    found = differences_of([
        run_with(base, lr=0.1, name="one", runs="x", seed=1),
        run_with(other, lr=0.1, name="two", runs="y", seed=2, dropout=0.5),
    ])  # fmt: skip
    assert [(d.group, d.key, d.values) for d in found] == [
        ("option", "seed", ("1", "2")), ("option", "dropout", ("", "0.5")),
        ("package", "torch", ("2.10.0", "2.11.0")), ("machine", "threads", ("2", "1")),
    ]  # fmt: skip
    assert differences_of([run_with(base), run_with(base)]) == []
    assert differences_of([run_with({}), run_with({"packages": [1], "data": "x"})]) == []


@given(st.lists(st.sampled_from(["/x/a", "/y/a", "/x/b", "/z/y/a", "/a"]), min_size=1, max_size=6))
def test_labels_tell_runs_apart(paths):
    from pathlib import Path

    labels = labels_of([Path(path) for path in paths])
    assert len(set(labels)) == len(labels)
    for label, path in zip(labels, paths, strict=True):
        assert path.endswith(label.partition(" (")[0].lstrip("/"))


def test_other_bitmaps_of_the_same_names_and_sizes_are_other_images(zoo_command, tmp_path):
    generator = np.random.default_rng(0)
    for data in ("clean", "noisy"):
        for split in ("train", "val"):
            for label in ("a", "b"):
                (tmp_path / data / split / label).mkdir(parents=True)
                for index in range(8):
                    pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(tmp_path / data / split / label / f"{index}.bmp")
    shutil.copytree(tmp_path / "clean", tmp_path / "copy")
    for data in ("clean", "noisy", "copy"):
        made = zoo_command("run", "--model", "mlp-mnist", "--img-size", 16, "--epochs", 1,
                           "--data", tmp_path / data, "--runs", tmp_path / "runs", "--name", data,
                           "--threads", 1)  # fmt: skip
        assert made.code == 0, made.err
    names = [tmp_path / "runs" / name for name in ("clean", "noisy", "copy")]
    found = json.loads(zoo_command("compare", *names, "--json").out)
    assert [run["not_paired"] for run in found["runs"]] == [
        None, "images of the same name are not the same images", None,
    ]  # fmt: skip
