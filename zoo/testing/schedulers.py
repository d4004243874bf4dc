"""What is required of a schedule of learning rates."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from zoo.protocols import ReactiveSchedule
from zoo.testing.requiring import require
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS"]

_EPOCHS, _RATE = 12.0, 0.1
_TIMES = tuple(step / 7 for step in range(int(_EPOCHS) * 7 + 1))
_LATE = (_EPOCHS + 0.5, 2 * _EPOCHS, 1000.0)
"""A run that goes on beyond its plan still asks."""

_SCORES = (0.3, 0.5, 0.5, 0.4, 0.5, 0.5, 0.49, 0.5, 0.7, 0.7, 0.6, 0.7, 0.7, 0.7, 0.1, 0.7)

_Schedule: TypeAlias = Callable[[float], float]


def _build(subject: Subject, *, epochs: float = _EPOCHS, lr: float = _RATE) -> _Schedule:
    schedule = subject.build(epochs=epochs, lr=lr)
    require(callable(schedule), f"it built a {type(schedule).__name__}, which cannot be called")
    found: _Schedule = schedule
    return found


def _reactive(subject: Subject) -> ReactiveSchedule:
    schedule = _build(subject)
    if isinstance(schedule, ReactiveSchedule):
        return schedule
    require(
        not hasattr(schedule, "observe"),
        "it has observe and no state, so a run refuses it: state_dict and load_state_dict keep "
        "what it has observed",
    )
    raise NotApplicable("it has no observe, state_dict and load_state_dict: a function of time")


def _factor(schedule: _Schedule, epoch: float) -> float:
    factor = schedule(epoch)
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    require(number, f"at epoch {epoch:g} it says {factor!r}, which is no plain number")
    good = math.isfinite(factor) and factor >= 0
    require(good, f"at epoch {epoch:g} the factor is {factor}, not finite and at least 0")
    return float(factor)


def finite_factors(subject: Subject) -> None:
    """Every factor, within epochs and after the last, is a finite number of at least 0."""
    schedule = _build(subject)
    factors = [_factor(schedule, epoch) for epoch in (*_TIMES, *_LATE)]
    require(any(factors[: len(_TIMES)]), "all factors are 0: nothing would be trained")


def short_scopes(subject: Subject) -> None:
    """Scopes of 0, 1 and 2.5 epochs and a base rate of 0 are no division by zero."""
    for epochs in (0.0, 1.0, 2.5):
        for rate in (0.0, 1e-8, _RATE):
            schedule = _build(subject, epochs=epochs, lr=rate)
            for epoch in (0.0, epochs / 2, epochs):
                _factor(schedule, epoch)


def asking_changes_nothing(subject: Subject) -> None:
    """What it says about an epoch does not depend on which epochs it was asked about before."""
    forward, backward = _build(subject), _build(subject)
    told = [_factor(forward, epoch) for epoch in _TIMES]
    turned = [_factor(backward, epoch) for epoch in reversed(_TIMES)][::-1]
    again = [_factor(forward, epoch) for epoch in _TIMES]
    for epoch, first, second, third in zip(_TIMES, told, turned, again, strict=True):
        require(
            first == second == third,
            f"at epoch {epoch:.4g} it says {first}, asked backwards {second}, again {third}",
        )


def resumed_equals_straight(subject: Subject) -> None:
    """Built again, with its state through JSON if it has one, it goes on as if never stopped."""
    for stop in (1, 5, 9):
        whole = _build(subject)
        _run(whole, _SCORES[:stop])
        resumed = _build(subject)
        if isinstance(whole, ReactiveSchedule):
            assert isinstance(resumed, ReactiveSchedule)
            try:
                text = json.dumps(whole.state_dict(), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"its state is no JSON: {error}") from error
            resumed.load_state_dict(json.loads(text))
        straight = _run(whole, _SCORES[stop:], first=stop)
        after = _run(resumed, _SCORES[stop:], first=stop)
        for epoch, (expected, found) in enumerate(zip(straight, after, strict=True), start=stop):
            require(
                expected == found,
                f"resumed after {stop} epochs it says {found} for epoch {epoch}, else {expected}",
            )


def _run(schedule: _Schedule, scores: Sequence[float], *, first: int = 0) -> list[float]:
    """Returns the factor of each epoch, each score told after its epoch."""
    factors = []
    for epoch, score in enumerate(scores, start=first):
        factors.append(_factor(schedule, float(epoch)))
        if isinstance(schedule, ReactiveSchedule):
            schedule.observe(score)
    return factors


def closed_form(subject: Subject) -> None:
    """It equals the reference that its author gives, ``Example(reference=...)``, at every time."""
    reference = subject.example.reference
    if reference is None:
        raise NotApplicable("no Example.reference, a function of the epoch for 12 epochs at lr 0.1")
    schedule = _build(subject)
    if isinstance(schedule, ReactiveSchedule):
        raise NotApplicable("it reacts to the metric, and is no function of the epoch alone")
    for epoch in _TIMES:
        expected, found = float(reference(epoch)), _factor(schedule, epoch)
        close = math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
        require(close, f"at epoch {epoch:.4g} it says {found}, the reference {expected}")


def combines_with_warm_up(subject: Subject) -> None:
    """Under zoo's ramp over the first two epochs, asked at every step, it trains, then goes on."""
    steps, warm_up = 5, 2.0
    under, plain = _build(subject), _build(subject)
    rates = []
    for step in range(int(_EPOCHS) * steps):
        epoch = step / steps
        ramp = min(1.0, (epoch + 1 / steps) / warm_up)  # as the engine lays it
        rates.append(_RATE * ramp * _factor(under, epoch))
        limit = _RATE * _factor(plain, epoch)
        require(
            rates[-1] <= limit and (ramp < 1 or rates[-1] == limit),
            f"at epoch {epoch:g} the rate under a ramp of 2 epochs is {rates[-1]}, not {limit}",
        )
        ended = (step + 1) % steps == 0
        for schedule in (under, plain):
            # It takes note of the metric once the ramp has ended.
            if isinstance(schedule, ReactiveSchedule) and ended and (step + 1) / steps > warm_up:
                schedule.observe(0.5)
    require(any(rates[: int(warm_up * steps)]), "the rate is 0 throughout a warm-up of 2 epochs")


def reacts_to_the_metric(subject: Subject) -> None:
    """A score that stops improving leads to other rates than one that improves, below 0 as well."""
    _reactive(subject)
    many = 60
    for sign, what in ((1.0, "positive"), (-1.0, "negative")):
        level = 1.0 if sign > 0 else -10.0
        better = [level + 0.1 * index for index in range(many)]
        stuck = [level] * many
        improving, stagnating = _reactive(subject), _reactive(subject)
        different = _run(improving, better) != _run(stagnating, stuck)
        require(
            different, f"with {what} scores it does not tell {many} equal ones from better ones"
        )


def survives_scores_that_are_none(subject: Subject) -> None:
    """NaN and infinite scores raise nothing and leave the factors finite, its state JSON."""
    schedule = _reactive(subject)
    _run(schedule, (math.nan, -math.inf, 0.5, math.inf, math.nan, 0.6, 0.5))
    _factor(schedule, 7.0)
    try:
        json.dumps(schedule.state_dict(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"after a score that is NaN its state is no JSON: {error}") from error


CHECKS = (
    finite_factors,
    short_scopes,
    asking_changes_nothing,
    resumed_equals_straight,
    closed_form,
    combines_with_warm_up,
    reacts_to_the_metric,
    survives_scores_that_are_none,
)
