"""Each check of schedules catches one that is wrong in just that way."""

from __future__ import annotations

import math

import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject

from zoo.testing.schedulers import CHECKS
from zoo.testing.subject import Example


def cosine(epoch, epochs=12.0):
    done = min(epoch / epochs, 1.0) if epochs else 1.0
    return (1 + math.cos(math.pi * done)) / 2


def function(change=lambda epoch, factor: factor):
    """A cosine, changed."""
    return lambda *, epochs: lambda epoch: change(epoch, cosine(epoch, epochs))


def counting(*, epochs):
    """Counts its calls, as a schedule with step() does."""
    calls = []

    def factor(epoch):
        calls.append(epoch)
        return 0.99 ** len(calls)

    return factor


def table(*, epochs):
    """A factor for each whole epoch."""
    factors = [0.9**epoch for epoch in range(2000)]
    return lambda epoch: factors[epoch] if isinstance(epoch, int) else factors[int(epoch)]


class Halving:
    """Halves the rate after two scores without improvement, or with one fault."""

    def __init__(self, fault=""):
        self.fault, self.factor, self.best, self.bad = fault, 1.0, None, 0

    def __call__(self, epoch):
        if self.fault == "reacts when asked":
            self.factor *= 0.999
        return self.factor

    def observe(self, score):
        if self.fault == "deaf":
            return
        if self.fault == "refuses nan" and math.isnan(score):
            raise ValueError("the score is NaN")
        better = self.best is None or score > self.best
        if self.fault == "relative bound" and self.best is not None:
            better = score > self.best * 1.0001
        if better and (math.isfinite(score) or self.fault == "keeps what is not finite"):
            self.best, self.bad = score, 0
        elif self.fault == "counts on nan" and not math.isfinite(score):
            self.factor = score
        else:
            self.bad += 1
        if self.bad >= 2:
            self.factor, self.bad = self.factor / 2, 0

    def state_dict(self):
        state = {"factor": self.factor, "best": self.best, "bad": self.bad}
        if self.fault == "half a state":
            del state["bad"]
        if self.fault == "state that is no json":
            state["factor"] = torch.tensor(self.factor)
        return state

    def load_state_dict(self, state):
        for name, value in state.items():
            setattr(self, name, value)


class Forgetful:
    """Hears the metric, and has no state to resume from."""

    factor = 1.0

    def __call__(self, epoch):
        return self.factor

    def observe(self, score):
        self.factor /= 2


class Named(Halving):
    def __call__(self, epoch):
        return {"lr": self.factor}


def reactive(fault):
    return lambda: Halving(fault)


WRONG = [
    (function(lambda e, f: f - 0.1),
     {"finite-factors": "not finite and at least 0", "asking-changes-nothing": "",
      "combines-with-warm-up": "", "short-scopes": "",
      "resumed-equals-straight": ""}),
    (function(lambda e, f: torch.tensor(f)),
     {"finite-factors": "no plain number", "asking-changes-nothing": "", "short-scopes": "",
      "combines-with-warm-up": "", "resumed-equals-straight": ""}),
    (function(lambda e, f: f / 0.0 if e > 20 else f), {"finite-factors": "ZeroDivisionError"}),
    (lambda *, epochs: lambda epoch: 1.0 - min(1.0, epoch / epochs),
     {"short-scopes": "ZeroDivisionError"}),
    (lambda *, lr: lambda epoch: 1e-3 / lr, {"short-scopes": "ZeroDivisionError"}),
    (counting, {"asking-changes-nothing": "asked backwards", "resumed-equals-straight": ""}),
    (reactive("reacts when asked"), {"asking-changes-nothing": "again"}),
    (reactive("half a state"), {"resumed-equals-straight": "resumed after 5 epochs"}),
    (reactive("state that is no json"), {"resumed-equals-straight": "its state is no JSON",
                                         "survives-scores-that-are-none": "no JSON"}),
    (function(lambda e, f: 0.0 if e < 3 else f), {"combines-with-warm-up": "is 0 throughout"}),
    (lambda: lambda epoch: [1.0] * 13 + [epoch], {
        "finite-factors": "", "short-scopes": "", "asking-changes-nothing": "",
        "resumed-equals-straight": "", "combines-with-warm-up": ""}),
    (reactive("deaf"), {"reacts-to-the-metric": "with positive scores it does not tell"}),
    (reactive("relative bound"), {"reacts-to-the-metric": "with negative scores it does not"}),
    (reactive("refuses nan"), {"survives-scores-that-are-none": "the score is NaN"}),
    (reactive("keeps what is not finite"), {"survives-scores-that-are-none": "no JSON"}),
    (reactive("counts on nan"), {"survives-scores-that-are-none": "not finite"}),
    (Forgetful, {"reacts-to-the-metric": "has observe and no state",
                 "survives-scores-that-are-none": "has observe and no state"}),
]  # fmt: skip


def test_right_ones_pass_every_check():
    example = Example(reference=cosine)
    pure = subject("scheduler", function(), example=example)
    assert failing(CHECKS, pure) == {}
    assert skipped(CHECKS, pure) == {"reacts-to-the-metric", "survives-scores-that-are-none"}
    reacting = subject("scheduler", reactive(""), example=example)
    assert failing(CHECKS, reacting) == {}
    assert skipped(CHECKS, reacting) == {"closed-form"}
    assert failing(CHECKS, subject("scheduler", table)) == {}


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=map(str, range(len(WRONG))))
def test_one_that_is_wrong_is_caught(target, caught):
    assert_caught(CHECKS, subject("scheduler", target), caught)


@pytest.mark.parametrize("off", [1e-6, -1.0])
def test_a_reference_that_differs_is_told(off):
    wrong = subject(
        "scheduler", function(), example=Example(reference=lambda epoch: cosine(epoch) + off)
    )
    assert_caught(CHECKS, wrong, {"closed-form": "the reference"})
    assert "closed-form" in skipped(CHECKS, subject("scheduler", function()))


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, [*WRONG, (None, {"closed-form": ""})])
