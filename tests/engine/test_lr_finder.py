"""The learning-rate finder: fastai's rules and smoothing, a sweep that leaves nothing behind."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.cli.lr_find import curve_lines
from zoo.engine.device import Device
from zoo.engine.lr_finder import find_rates, phase_named
from zoo.engine.lr_rules import (
    Curve,
    Trace,
    minimum,
    recommended,
    rising_rates,
    steep,
    suggestions,
    sweep,
    valley,
)
from zoo.errors import UsageError
from zoo.network.freeze import digest

# What fastai 2.8.12 says to bathtub(seed) for seeds 0 to 5: valley, steep, minimum.
# fastai.callback.schedule.valley(tensor(rates), tensor(losses), 90)[0], likewise the others.
FASTAI = [
    (0.0034487230276417655, 0.0008619929418612033, 0.015616492124221708),
    (0.002438482623134665, 0.0058005115322685395, 0.026265850268083053),
    (0.0034487230276417655, 0.0034487230276417655, 0.026265850268083053),
    (0.0034487230276417655, 0.004877496525317569, 0.031236386657381588),
    (0.004877496525317569, 0.004101357651327838, 0.026265850268083053),
    (0.002438482623134665, 0.0028999398571192513, 0.031236386657381588),
]


def bathtub(seed):
    """A flat start, a fall, a wall, and noise."""
    rates = np.geomspace(1e-6, 5, 90)
    x = np.log10(rates)
    wall = np.exp(np.clip((x - 0.1) * 5, -50, 4)) * 0.2
    losses = 2.3 - 1.4 / (1 + np.exp(-2.2 * (x + 2.5))) + wall
    losses += np.random.default_rng(seed).normal(0, 0.01, 90)
    return rates.tolist(), losses.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_rules_say_what_fastai_says(seed):
    rates, losses = bathtub(seed)
    found = [rule(rates, losses) for rule in (valley, steep, minimum)]
    assert found == pytest.approx(FASTAI[seed], rel=1e-9)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=40))
def test_every_rule_has_an_answer_within_the_sweep(losses):
    rates = rising_rates(len(losses))
    assert valley(rates, losses) in rates
    assert steep(rates, losses) in rates
    assert minimum(rates, losses) * 10 == pytest.approx(rates[losses.index(min(losses))])


def test_a_loss_that_always_falls_has_its_valley_in_the_middle():
    rates = rising_rates(61, lowest=1e-6, highest=1.0)
    assert valley(rates, [100.0 - i for i in range(61)]) == rates[30]
    assert valley(rates, [float(i) for i in range(61)]) == rates[0]


def test_rates_rise_by_one_factor():
    np.testing.assert_allclose(rising_rates(100), np.geomspace(1e-7, 10, 100), rtol=1e-12)
    assert rising_rates(1, lowest=0.1) == (0.1,)


def test_the_loss_is_smoothed_as_fastai_has_it():
    losses = [1.0, 3.0, 2.0, 0.5]
    curve = sweep(lambda rate: losses[int(rate)], rates=range(4))
    weights = [[0.98 ** (n - i) for i in range(n + 1)] for n in range(4)]
    expected = [np.average(losses[: n + 1], weights=w) for n, w in enumerate(weights)]
    assert curve.smoothed == pytest.approx(expected)
    assert curve.losses == tuple(losses)
    assert not curve.diverged


def test_a_sweep_stops_at_four_times_the_best_and_at_what_is_not_finite():
    tried = []

    def step(rate):
        tried.append(rate)
        return 1.0 if rate < 5 else 300.0

    curve = sweep(step, rates=range(100))
    assert tried == list(range(6))
    assert curve.smoothed[-1] > 4
    assert curve.diverged
    for bad in (math.nan, math.inf):
        curve = sweep(lambda rate, bad=bad: bad if rate == 3 else 1.0, rates=range(100))
        assert curve.rates == (0, 1, 2)
        assert curve.diverged


def test_too_few_steps_are_no_suggestion():
    short = Curve(rates=(1.0,) * 20, losses=(1.0,) * 20, smoothed=(1.0,) * 20, planned=100)
    with pytest.raises(UsageError, match="diverged after 20 of 100 steps"):
        suggestions(short)
    with pytest.raises(UsageError, match="10 steps are too few"):
        suggestions(Curve(rates=(1.0,) * 10, losses=(), smoothed=(1.0,) * 10, planned=10))


def test_the_first_tenth_and_the_last_five_do_not_count():
    rates, losses = bathtub(0)
    trace = Trace()
    for rate, loss in zip(rates, losses, strict=True):
        assert not trace.add(rate, loss)
    curve = trace.curve(planned=90)
    found = suggestions(curve)
    kept = curve.rates[9:-5], curve.smoothed[9:-5]
    assert found == {"valley": valley(*kept), "steep": steep(*kept), "minimum": minimum(*kept)}
    assert recommended(found) == sorted(found.values())[1]


# ---- on a job -----------------------------------------------------------------------------------


@pytest.fixture
def options(shapes_folder, tmp_path):
    return {
        "data": str(shapes_folder), "model": "mlp-cifar", "weights": "none", "img_size": 16,
        "batch_size": 8, "epochs": 1, "threads": 1, "runs": str(tmp_path / "runs"), "aug": "none",
    }  # fmt: skip


def test_the_network_is_left_to_the_bit(options, registry):
    job = zoo.prepare({**options, "freeze_epochs": 1, "norm": "train"}, registry=registry)
    job.model.requires_grad_(True).eval()
    before = digest(job.model.state_dict())
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    phases = []
    for name in (None, "finetune"):
        phase = phase_named(job, name)
        phases.append(phase.name)
        curve = find_rates(job, phase, rates=rising_rates(30), device=Device.open(job.config))
        assert len(curve.rates) > 15
        assert digest(job.model.state_dict()) == before
        assert all(p.requires_grad and p.grad is None for p in job.model.parameters())
        assert not any(module.training for module in job.model.modules())
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.get_num_threads() == threads
    assert phases == ["freeze", "finetune"]
    with pytest.raises(UsageError, match="no phase last"):
        phase_named(job, "last")


def test_a_sweep_repeats_and_starts_where_the_run_would(options, registry):
    losses = []
    for _ in range(2):
        job = zoo.prepare(options, registry=registry)
        curve = find_rates(
            job, job.phases[0], rates=rising_rates(20), device=Device.open(job.config)
        )
        losses.append(curve.losses)
    assert losses[0] == losses[1]
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-6)  # a zero head prefers no class


def test_the_rates_of_the_sweep_are_those_of_lr(options, registry, monkeypatch):
    rates = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        rates.append((self.param_groups[0]["lr"], self.param_groups[-1]["lr"]))
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    job = zoo.prepare(
        {**options, "optim": "sgd", "lr": 0.3, "backbone_lr": 0.5, "sched": "step-1-0.1"},
        registry=registry,
    )
    wanted = rising_rates(20, lowest=1e-5, highest=1e-2)
    find_rates(job, job.phases[0], rates=wanted, device=Device.open(job.config))
    assert [head for head, _ in rates] == pytest.approx(wanted)
    assert [rest for _, rest in rates] == pytest.approx([rate / 2 for rate in wanted])


def flags(options):
    return [
        part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)
    ]


def test_the_command_draws_and_suggests(options, zoo_command):
    outcome = zoo_command("lr-find", *flags(options), "--steps", 60)
    assert outcome.code == 0, outcome.err
    assert "mlp-cifar on" in outcome.out
    assert "<- " in outcome.out
    assert all(rule in outcome.out for rule in ("valley", "steep", "minimum"))
    assert "zoo run --lr " in outcome.out


def test_json_has_the_curve_and_what_it_suggests(options, zoo_command):
    outcome = zoo_command("lr-find", *flags(options), "--steps", 60, "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert len(said["lr"]) == len(said["loss"]) == len(said["smoothed_loss"]) > 20
    assert said["recommended"] == sorted(said["suggestions"].values())[1]
    assert said["phase"] == "train"


def test_what_cannot_work_is_said_before_any_step(options, zoo_command):
    outcome = zoo_command("lr-find", *flags(options), "--min-lr", "1", "--max-lr", "0.1")
    assert (outcome.code, "not below" in outcome.err) == (2, True)
    outcome = zoo_command("lr-find", *flags(options), "--plot", ".")
    assert (outcome.code, ". is a folder" in outcome.err) == (2, True)
    outcome = zoo_command("lr-find", *flags(options), "--phase", "warm\x1b")
    assert outcome.code == 2
    assert "warm\\x1b" in outcome.err


def test_a_plot_is_a_png(options, zoo_command, tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    target = tmp_path / "curve.png"
    outcome = zoo_command("lr-find", *flags(options), "--steps", 40, "--plot", target)
    assert outcome.code == 0, outcome.err
    with Image.open(target) as image:
        assert image.size == (1050, 600)
    short = tmp_path / "missing" / "short.png"
    outcome = zoo_command(
        "lr-find", *flags(options), "--optim", "sgd", "--min-lr", "1", "--max-lr", "1e30",
        "--plot", short,
    )  # fmt: skip
    assert (outcome.code, "too soon for a suggestion" in outcome.err) == (2, True)
    with Image.open(short) as image:
        assert image.size == (1050, 600)
    outcome = zoo_command("lr-find", *flags(options), "--steps", 40, "--plot", target / "x.png")
    assert outcome.code == 6
    assert "zoo run --lr " in outcome.out  # what was found is said all the same


def test_a_drawing_fits_and_marks_every_suggestion():
    rates, losses = bathtub(1)
    curve = Curve(rates=tuple(rates), losses=tuple(losses), smoothed=tuple(losses), planned=90)
    lines = curve_lines(curve, {"valley": rates[30], "steep": rates[30], "minimum": rates[77]})
    assert len(lines) <= 1 + 40 + 2
    assert all(len(line) <= 100 for line in lines)
    marked = [line for line in lines if "<-" in line]
    assert [line.partition("<- ")[2] for line in marked] == ["valley, steep", "minimum"]
    assert curve_lines(Curve(rates=(), losses=(), smoothed=(), planned=9), {}) == []


@pytest.mark.parametrize(("factor", "stops"), [(0.99, False), (1.01, True)])
def test_a_smoothed_loss_diverges_at_four_times_the_best(factor, stops):
    trace = Trace()
    for _ in range(100):
        assert not trace.add(1e-3, 1.0)
    share = 0.02 / (1 - 0.98**101)  # of the newest loss in the smoothed one
    assert trace.add(1e-3, (1 + 3 / share) * factor) is stops
