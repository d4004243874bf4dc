from __future__ import annotations

import json
import math
from bisect import bisect_right

import pytest
import torch
from building import build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as reference

import zoo_torch.schedules as schedules
from zoo.errors import UsageError
from zoo.protocols import ReactiveSchedule
from zoo_torch._schedules import SCHEDULES

COMPONENTS = {component.name: component for component in SCHEDULES}
FACTS = {"epochs": 12.0, "lr": 0.1}


def drawn(num_examples: int, **strategies):
    """Returns a decorator that runs a test on drawn arguments, however slow the machine is."""
    return lambda test: settings(max_examples=num_examples)(given(**strategies)(test))


epochs_drawn = st.integers(1, 40)
rates = st.floats(1e-5, 10)
gammas = st.floats(0.05, 1)
floors = st.floats(0, 1e-3)


def torchs_rates(factory, lr: float, num_epochs: int) -> list[float]:
    """Returns the rate that torch's class sets for each epoch."""
    optimizer = torch.optim.SGD([torch.zeros(())], lr=lr)
    scheduler = factory(optimizer)
    seen = []
    for _ in range(num_epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def assert_rates(schedule, lr: float, expected: list[float]) -> None:
    for epoch, rate in enumerate(expected):
        assert lr * schedule(epoch) == pytest.approx(rate, rel=1e-12, abs=1e-12 * lr), epoch


# ---- equal to torch's own ---------------------------------------------------------------------


@drawn(50, size=st.integers(1, 15), gamma=gammas, lr=rates, epochs=epochs_drawn)
def test_step(size, gamma, lr, epochs):
    schedule = schedules.step(step_size=size, gamma=gamma, epochs=epochs)
    assert_rates(schedule, lr, torchs_rates(lambda o: reference.StepLR(o, size, gamma), lr, epochs))


@drawn(
    50,
    milestones=st.lists(st.integers(1, 40), max_size=6),
    gamma=gammas,
    lr=rates,
    epochs=epochs_drawn,
)
def test_multistep(milestones, gamma, lr, epochs):
    schedule = schedules.multistep(milestones=tuple(milestones), gamma=gamma, epochs=epochs)
    expected = torchs_rates(lambda o: reference.MultiStepLR(o, milestones, gamma), lr, epochs)
    assert_rates(schedule, lr, expected)


@drawn(50, t_0=st.integers(1, 12), t_mult=st.integers(1, 4), eta_min=floors, lr=rates)
def test_sgdr(t_0, t_mult, eta_min, lr):
    eta_min = min(eta_min, lr)
    schedule = schedules.sgdr(t_0=t_0, t_mult=t_mult, eta_min=eta_min, lr=lr)
    expected = torchs_rates(
        lambda o: reference.CosineAnnealingWarmRestarts(o, t_0, t_mult, eta_min), lr, 60
    )
    assert_rates(schedule, lr, expected)


@drawn(50, epochs=epochs_drawn, eta_min=floors, lr=rates)
def test_cosine(epochs, eta_min, lr):
    eta_min = min(eta_min, lr)
    schedule = schedules.cosine(eta_min=eta_min, epochs=epochs, lr=lr)
    expected = torchs_rates(
        lambda o: reference.CosineAnnealingLR(o, epochs, eta_min), lr, epochs + 1
    )
    assert_rates(schedule, lr, expected)


@drawn(50, epochs=epochs_drawn, end_factor=st.floats(0, 1), lr=rates)
def test_linear(epochs, end_factor, lr):
    schedule = schedules.linear(end_factor=end_factor, epochs=epochs)
    expected = torchs_rates(
        lambda o: reference.LinearLR(o, 1.0, end_factor, total_iters=epochs), lr, epochs + 5
    )
    assert_rates(schedule, lr, expected)


@drawn(50, epochs=epochs_drawn, power=st.floats(0.2, 4), lr=rates)
def test_polynomial(epochs, power, lr):
    schedule = schedules.polynomial(power=power, epochs=epochs)
    expected = torchs_rates(
        lambda o: reference.PolynomialLR(o, total_iters=epochs, power=power), lr, epochs + 5
    )
    assert_rates(schedule, lr, expected)


@drawn(50, gamma=gammas, lr=rates)
def test_exponential(gamma, lr):
    expected = torchs_rates(lambda o: reference.ExponentialLR(o, gamma), lr, 40)
    assert_rates(schedules.exponential(gamma=gamma), lr, expected)


@drawn(50, lr=rates)
def test_constant(lr):
    expected = torchs_rates(lambda o: reference.ConstantLR(o, factor=1.0), lr, 40)
    assert_rates(schedules.constant(), lr, expected)


@drawn(
    50,
    epochs=st.integers(1, 12),
    steps=st.integers(2, 9),
    pct_start=st.floats(0.1, 0.9),
    div_factor=st.floats(1, 100),
    final=st.floats(1, 1e5),
    lr=rates,
)
def test_one_cycle(epochs, steps, pct_start, div_factor, final, lr):
    # torch peaks at step pct N - 1 of steps 0..N-1: with this N and pct its peak and end fall
    # on ours, at pct_start of the epochs and at their end.
    last = epochs * steps
    expected = torchs_rates(
        lambda o: reference.OneCycleLR(
            o,
            max_lr=lr,
            total_steps=last + 1,
            pct_start=(pct_start * last + 1) / (last + 1),
            div_factor=div_factor,
            final_div_factor=final,
            cycle_momentum=False,
        ),
        lr,
        last,
    )
    schedule = schedules.one_cycle(
        pct_start=pct_start, div_factor=div_factor, final_div_factor=final, epochs=epochs
    )
    for step, rate in enumerate(expected):
        assert lr * schedule(step / steps) == pytest.approx(rate, rel=1e-9, abs=1e-12 * lr), step


# ---- between whole epochs and at the edges ----------------------------------------------------

STATELESS = [name for name, component in COMPONENTS.items() if "reactive" not in component.tags]


@pytest.mark.parametrize("name", STATELESS)
def test_factors_are_finite_and_within_the_base_rate(name):
    schedule = build(COMPONENTS[name], FACTS)
    for step in range(12 * 7 + 50):
        factor = schedule(step / 7)
        assert isinstance(factor, float)
        assert 0 <= factor <= 1


@pytest.mark.parametrize("name", ["cosine", "one-cycle", "linear", "polynomial", "exponential"])
def test_smooth_schedules_move_within_an_epoch(name):
    schedule = build(COMPONENTS[name], FACTS)
    assert len({schedule(5 + step / 10) for step in range(10)}) == 10


@pytest.mark.parametrize("name", ["step", "multistep", "constant"])
def test_stepped_schedules_hold_within_an_epoch(name):
    schedule = build(COMPONENTS[name], FACTS)
    for epoch in range(12):
        assert {schedule(epoch + step / 10) for step in range(10)} == {schedule(epoch)}


@pytest.mark.parametrize("name", ["cosine", "one-cycle", "linear", "polynomial"])
def test_past_the_last_epoch_the_end_holds(name):
    schedule = build(COMPONENTS[name], FACTS)
    assert schedule(12.0) == schedule(13.7) == schedule(1e6)


@pytest.mark.parametrize("name", COMPONENTS)
def test_no_epochs_and_no_rate_are_no_division_by_zero(name):
    schedule = build(COMPONENTS[name], {"epochs": 0.0, "lr": 0.0})
    assert 0 <= schedule(0.0) <= 1


@drawn(
    50,
    t_0=st.integers(1, 30),
    t_mult=st.integers(1, 5),
    cycle=st.integers(0, 5),
    part=st.floats(0, 0.999),
)
def test_sgdr_within_a_cycle_is_a_cosine(t_0, t_mult, cycle, part):
    start = sum(t_0 * t_mult**index for index in range(cycle))
    length = t_0 * t_mult**cycle
    factor = schedules.sgdr(t_0=t_0, t_mult=t_mult, lr=0.3)(start + part * length)
    assert factor == pytest.approx((1 + math.cos(math.pi * part)) / 2, abs=1e-9)


def test_defaults_that_depend_on_the_epochs():
    step = build(COMPONENTS["step"], FACTS)
    assert [step(epoch) for epoch in (0, 3.9, 4, 8)] == pytest.approx([1, 1, 0.1, 0.01])
    assert build(COMPONENTS["step"], {"epochs": 1.0})(0.9) == 1
    multistep = build(COMPONENTS["multistep"], FACTS)
    for epoch in range(12):
        assert multistep(epoch) == pytest.approx(0.1 ** bisect_right([6, 9], epoch))


@pytest.mark.parametrize("name", ["cosine", "sgdr"])
def test_a_smallest_rate_above_the_base_rate_is_refused(name):
    facts = {"epochs": 4.0, "lr": 0.002}
    assert build(COMPONENTS[name], facts, eta_min=0.002)(3.0) == 1.0
    with pytest.raises(UsageError, match=r"0\.2 is above the base rate 0\.002") as caught:
        build(COMPONENTS[name], facts, eta_min=0.2)
    assert caught.value.hint.startswith("eta_min=2e-05")


def test_eta_min_is_a_rate_and_not_a_share():
    assert 0.5 * build(COMPONENTS["cosine"], {"epochs": 4.0, "lr": 0.5}, eta_min=0.01)(
        4
    ) == pytest.approx(0.01)


# ---- plateau ----------------------------------------------------------------------------------

PLATEAU = {
    "factor": st.floats(0.05, 0.95),
    "patience": st.integers(0, 4),
    "min_lr": st.floats(0, 0.01),
    "threshold": st.floats(0, 0.1),
    "cooldown": st.integers(0, 3),
}


@drawn(
    200,
    arguments=st.fixed_dictionaries(PLATEAU),
    scores=st.lists(
        st.sampled_from([0.0, 0.2, 0.5, 0.51, 0.9, math.nan]) | st.floats(0, 1), max_size=40
    ),
    stop=st.integers(0, 40),
    lr=st.floats(1e-3, 1),
)
def test_plateau_is_torchs_step_by_step(arguments, scores, stop, lr):
    optimizer = torch.optim.SGD([torch.zeros(())], lr=lr)
    expected = reference.ReduceLROnPlateau(optimizer, mode="max", **arguments)
    schedule = build(COMPONENTS["plateau"], {"lr": lr}, **arguments)
    for epoch, score in enumerate(scores):
        if epoch == stop:  # as if the run were interrupted here
            state = json.loads(json.dumps(schedule.state_dict(), allow_nan=False))
            schedule = build(COMPONENTS["plateau"], {"lr": lr}, **arguments)
            schedule.load_state_dict(state)
        schedule.observe(score)
        expected.step(score)
        rate = optimizer.param_groups[0]["lr"]
        assert lr * schedule(epoch + 1.0) == pytest.approx(rate, rel=1e-12)


@drawn(
    100,
    arguments=st.fixed_dictionaries(PLATEAU),
    losses=st.lists(st.floats(0.01, 5), max_size=40),
    lr=st.floats(1e-3, 1),
)
def test_plateau_on_a_negated_loss_is_torchs_on_the_loss(arguments, losses, lr):
    optimizer = torch.optim.SGD([torch.zeros(())], lr=lr)
    expected = reference.ReduceLROnPlateau(optimizer, mode="min", **arguments)
    schedule = build(COMPONENTS["plateau"], {"lr": lr}, **arguments)
    for loss in losses:
        schedule.observe(-loss)
        expected.step(loss)
    assert lr * schedule(0.0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_plateau_counts_a_constant_negative_score_as_no_improvement():
    # torch's mode max does not: its bound for a best of -1 is -1.0001.
    schedule = build(COMPONENTS["plateau"], {"lr": 0.1}, patience=2)
    for _ in range(4):
        schedule.observe(-1.0)
    assert schedule(4.0) == pytest.approx(0.1)


def test_plateau_does_not_take_infinity_for_a_best_score():
    schedule = build(COMPONENTS["plateau"], {"lr": 0.1}, patience=1)
    for score in (-math.inf, math.inf, -2.0, -1.0, -0.5):
        schedule.observe(score)
    # The first two count as bad, which lowers the rate once; the rest improve.
    assert schedule(5.0) == pytest.approx(0.1)


def test_plateau_documented_string():
    # default-0.1-3: after the first score three more are tolerated, the fourth lowers the rate.
    schedule = build(COMPONENTS["plateau"], {"lr": 1e-3}, factor=0.1, patience=3)
    seen = []
    for _ in range(20):
        schedule.observe(0.5)
        seen.append(schedule(0.0))
    assert seen[:3] == [1.0] * 3
    assert seen[3] == 1.0
    assert seen[4] == pytest.approx(0.1)
    assert seen[-1] == pytest.approx(1e-6 / 1e-3)


def test_only_plateau_reacts():
    for name, component in COMPONENTS.items():
        assert isinstance(build(component, FACTS), ReactiveSchedule) == (name == "plateau")


# ---- what users may type ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "param", "value"),
    [
        ("sgdr", "t_0", 0),
        ("sgdr", "t_mult", 0),
        ("sgdr", "eta_min", -1e-9),
        ("step", "step_size", 0),
        ("step", "gamma", -0.1),
        ("step", "gamma", 0),
        ("multistep", "milestones", 0),
        ("multistep", "gamma", 1.1),
        ("exponential", "gamma", 0),
        ("plateau", "factor", 1),
        ("plateau", "factor", 0),
        ("plateau", "patience", -1),
        ("polynomial", "power", 0),
        ("one-cycle", "pct_start", 0),
        ("one-cycle", "pct_start", 1),
        ("one-cycle", "div_factor", 0.5),
        ("linear", "end_factor", -0.1),
    ],
)
def test_ranges_refuse_what_cannot_work(name, param, value):
    (declared,) = [p for p in COMPONENTS[name].params if p.name == param]
    allowed = (
        (declared.minimum is None or value >= declared.minimum)
        and (declared.maximum is None or value <= declared.maximum)
        and (declared.above is None or value > declared.above)
        and (declared.below is None or value < declared.below)
    )
    assert not allowed


def test_shorthands_that_users_know():
    assert COMPONENTS["plateau"].shorthand == ("factor", "patience")
    assert "default" in COMPONENTS["plateau"].aliases
    assert COMPONENTS["step"].shorthand == ("step_size", "gamma")
    assert COMPONENTS["sgdr"].shorthand == ("t_0", "t_mult")
    assert COMPONENTS["multistep"].shorthand == ("milestones", "gamma")
    assert "multi" in COMPONENTS["multistep"].aliases
