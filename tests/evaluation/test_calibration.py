"""Reliability, calibration error and temperature scaling, against independent references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    calibrate,
    calibration_error,
    fit_temperature,
    reliability,
)
from zoo.evaluation.predictions import Predictions
from zoo.registry import build, parse_choice


def said(num_images=400, num_classes=5, *, seed=0, temperature=1.0, multi_label=False):
    """Logits whose labels are drawn from what they say at this temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(num_images, num_classes)) * 3
    if multi_label:
        chances = scipy.special.expit(logits / temperature)
        target = (generator.random(chances.shape) < chances).astype(np.float32)
    else:
        chances = scipy.special.softmax(logits / temperature, axis=1)
        target = np.array([generator.choice(num_classes, p=row) for row in chances])
    return torch.from_numpy(logits).float(), torch.from_numpy(target)


def test_bins_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [1.0, 0.0], [0.5, 0.5]])
    target = torch.tensor([0, 1, 1, 0, 1])
    bins = reliability(probabilities, target, 5)
    assert [one.count for one in bins] == [0, 0, 2, 0, 3]
    assert (bins[2].low, bins[2].high) == pytest.approx((0.4, 0.6))
    assert bins[2].confidence == pytest.approx((0.55 + 0.5) / 2)
    assert bins[2].accuracy == 0.5  # of two equal classes the first is the answer
    assert bins[4].confidence == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert bins[4].accuracy == pytest.approx(2 / 3)
    assert math.isnan(bins[0].confidence)
    assert math.isnan(bins[0].accuracy)
    by_hand = (2 * abs(0.525 - 0.5) + 3 * abs(0.9 - 2 / 3)) / 5
    assert calibration_error(bins) == pytest.approx(by_hand)
    assert math.isnan(calibration_error(reliability(torch.zeros(0, 2), torch.zeros(0).long())))


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 30), st.booleans(), st.booleans())
def test_the_error_is_the_component_s(registry, seed, bins, multi_label, sure):
    logits, target = said(60, seed=seed, multi_label=multi_label)
    logits = logits * (50 if sure else 1)  # probabilities of exactly 0 and 1
    probabilities = logits.sigmoid() if multi_label else logits.softmax(1)
    ece = build(parse_choice(registry, "metric", f"ece-{bins}"), num_classes=5,
                multi_label=multi_label)  # fmt: skip
    found = calibration_error(reliability(probabilities, target, bins))
    assert found == pytest.approx(float(ece(probabilities, target)), abs=1e-6)
    usual = build(parse_choice(registry, "metric", "ece"), num_classes=5, multi_label=multi_label)
    found = calibration_error(reliability(probabilities, target))
    assert found == pytest.approx(float(usual(probabilities, target)), abs=1e-6)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_is_scipy_s_and_the_true_one(true, multi_label):
    logits, target = said(1500, temperature=true, multi_label=multi_label)
    values, answers = logits.double().numpy(), target.numpy()

    def loss(temperature):
        scaled = values / temperature
        if multi_label:
            return (np.logaddexp(0, scaled) - answers * scaled).mean()
        own = scaled[np.arange(len(answers)), answers]
        return (scipy.special.logsumexp(scaled, axis=1) - own).mean()

    expected = scipy.optimize.minimize_scalar(loss, bounds=(LOWEST, HIGHEST), method="bounded",
                                              options={"xatol": 1e-9}).x  # fmt: skip
    found = fit_temperature(logits, target)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(true, rel=0.1)
    assert found == fit_temperature(logits, target)
    assert fit_temperature(logits * 2, target) == pytest.approx(2 * found, rel=1e-6)


def test_temperatures_that_have_no_end():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == LOWEST
    assert fit_temperature(logits, torch.tensor([1, 0])) == HIGHEST
    assert fit_temperature(torch.full((2, 2), 0.7), torch.tensor([0, 1])) == 1  # all are alike
    assert fit_temperature(torch.zeros(2, 2), torch.eye(2)) == 1
    impossible = torch.tensor([[0.0, -math.inf], [0.0, 1.0], [0.5, 0.0]])
    assert math.isfinite(fit_temperature(impossible, torch.tensor([1, 1, 0])))


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1,
             max_size=8),
    st.integers(0, 2**20),
)  # fmt: skip
def test_any_logits_have_a_temperature(rows, seed):
    logits = torch.tensor(rows)
    target = torch.from_numpy(np.random.default_rng(seed).integers(3, size=len(rows)))
    assert LOWEST <= fit_temperature(logits, target) <= HIGHEST


def test_before_and_after():
    def predictions(seed):
        logits, target = said(2000, seed=seed, temperature=2.5)
        return Predictions(names=("",) * 2000, classes=("a",) * 5, logits_NK=logits,
                           labels_N=target)  # fmt: skip

    validation, test = predictions(1), predictions(2)
    found = calibrate(validation, test)
    assert found.temperature == fit_temperature(validation.logits_NK, validation.labels_N)
    assert not found.at_limit
    assert found.error_after < 0.06 < 0.2 < found.error_before
    assert found.loss_after < found.loss_before
    assert found.loss_before == pytest.approx(float(test.losses_N.mean()), rel=1e-5)
    cold = Predictions(names=("", ""), classes=("a", "b"), labels_N=torch.tensor([0, 1]),
                       logits_NK=torch.tensor([[2.0, 0.0], [0.0, 2.0]]))  # fmt: skip
    assert calibrate(cold, cold).at_limit


def test_logits_without_a_bend_have_the_temperature_of_their_odds():
    # 19 of 20 are right by a margin of 40: softmax(40 / T) = 19 / 20. At T = 1 nothing bends.
    logits = torch.tensor([[40.0, 0.0]]).repeat(20, 1)
    target = torch.tensor([0] * 19 + [1])
    assert fit_temperature(logits, target) == pytest.approx(40 / math.log(19), rel=1e-9)
