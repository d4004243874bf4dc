"""What a sweep over rising learning rates says: the curve, and three rules that suggest a rate.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3, in the form in
which fastai made it known: smoothed loss, a stop at four times the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zoo.errors import UsageError

__all__ = [
    "RULES",
    "Curve",
    "Trace",
    "minimum",
    "recommended",
    "rising_rates",
    "steep",
    "suggestions",
    "sweep",
    "valley",
]

_MEMORY = 0.98  # share of the old loss in the smoothed one, as fastai has it
_DIVERGED = 4.0  # times the best smoothed loss; Smith stops by eye, fastai here
_FEWEST = 12  # points below which a curve says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a sweep saw, one entry a step.

    Args:
        rates: Learning rates, rising.
        losses: Mean loss of each step's batch.
        smoothed: Exponentially smoothed losses, corrected for their start.
        planned: Steps that were planned; fewer were made if the loss diverged.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    planned: int

    @property
    def diverged(self) -> bool:
        """Whether the sweep stopped early."""
        return len(self.rates) < self.planned


class Trace:
    """Takes the loss of each step of a sweep, and tells when to stop."""

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._losses: list[float] = []
        self._smoothed: list[float] = []
        self._running = 0.0

    def __len__(self) -> int:
        return len(self._rates)

    def add(self, rate: float, loss: float) -> bool:
        """Adds a step and returns whether the loss has diverged.

        A loss that is not finite is left out. The first smoothed loss that is over four times the
        best is kept, so that a drawing shows the wall.
        """
        if not math.isfinite(loss):
            return True
        self._running = _MEMORY * self._running + (1 - _MEMORY) * loss
        self._rates.append(rate)
        self._losses.append(loss)
        self._smoothed.append(self._running / (1 - _MEMORY ** len(self._rates)))
        return self._smoothed[-1] > _DIVERGED * min(self._smoothed)

    def curve(self, planned: int) -> Curve:
        """Returns what was seen."""
        return Curve(
            rates=tuple(self._rates), losses=tuple(self._losses), smoothed=tuple(self._smoothed),
            planned=planned,
        )  # fmt: skip


def rising_rates(
    num_steps: int, *, lowest: float = 1e-7, highest: float = 10.0
) -> tuple[float, ...]:
    """Returns rates from ``lowest`` on, each the same factor above the one before.

    >>> [round(rate, 4) for rate in rising_rates(4, lowest=0.001, highest=1.0)]
    [0.001, 0.01, 0.1, 1.0]
    """
    factor = highest / lowest
    return tuple(lowest * factor ** (step / max(1, num_steps - 1)) for step in range(num_steps))


def sweep(step: Callable[[float], float], *, rates: Sequence[float]) -> Curve:
    """Returns the curve of a sweep.

    Args:
        step: Makes one training step at a rate and returns its loss.
        rates: The rates, rising.
    """
    trace = Trace()
    for rate in rates:
        if trace.add(rate, step(rate)):
            break
    return trace.curve(len(rates))


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns the rate half-way through the longest fall of the loss.

    fastai's default (from ESRI): the longest falling subsequence, of whose length the point at one
    third and a sixth is taken.
    """
    length = [1] * len(losses)
    for i, loss in enumerate(losses):
        shorter = [length[j] for j in range(i) if losses[j] > loss]
        length[i] = max(shorter, default=0) + 1
    longest = max(length)
    end = length.index(longest)
    span = min(longest, end)
    return rates[end - span + int(span / 3) + int(span / 6)]


def steep(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns the rate at which the loss falls fastest per factor of the rate."""
    slopes = [
        (losses[i + 1] - losses[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(len(rates) - 1)
    ]
    return rates[slopes.index(min(slopes))]


def minimum(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns a tenth of the rate at which the loss is lowest: the edge is too far."""
    return rates[losses.index(min(losses))] / 10


RULES: Mapping[str, str] = {
    "valley": "half-way through the longest fall of the loss",
    "steep": "where the loss falls fastest",
    "minimum": "a tenth of the rate with the lowest loss",
}
"""The rules in words."""


def suggestions(curve: Curve) -> dict[str, float]:
    """Returns the learning rate that each rule suggests.

    As in fastai, the first tenth of the planned steps and the last five count for nothing: there
    the smoothed loss is made of few values, or is on its way up the wall.

    Raises:
        UsageError: The curve is too short to say anything.
    """
    kept = slice(curve.planned // 10, -5)
    rates, losses = curve.rates[kept], curve.smoothed[kept]
    if len(rates) < _FEWEST:
        raise UsageError(
            f"the loss diverged after {len(curve.rates)} of {curve.planned} steps, too soon for a "
            "suggestion" if curve.diverged else f"{curve.planned} steps are too few",
            hint="more --steps, a smaller --min-lr, a larger --batch-size, or --clip-norm 1",
        )  # fmt: skip
    return {
        "valley": valley(rates, losses),
        "steep": steep(rates, losses),
        "minimum": minimum(rates, losses),
    }


def recommended(found: Mapping[str, float]) -> float:
    """Returns the middle one of the suggestions: each rule alone can be fooled.

    A new head of zeros falls from the first step on, and the valley then begins too early: with
    EfficientNet-Lite0 on fashion-mini it says 0.00017, and one frozen and one fine-tuned epoch end
    at 0.814 of the validation images; the steepest point says 0.0019 and ends at 0.872, the
    minimum 0.0045 and 0.870 (CPU, one run each).

    >>> recommended({"valley": 0.0002, "steep": 0.002, "minimum": 0.004})
    0.002
    """
    return sorted(found.values())[len(found) // 2]
