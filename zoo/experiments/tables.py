"""What the trials of an experiment say together.

Shapes: M trials.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zoo.experiments.running import Outcome

__all__ = ["Line", "Spread", "ranked", "spread_of", "summarised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Several values of one number.

    Args:
        mean: Of the values.
        deviation: Sample standard deviation (n - 1); None for a single value.
        low: Smallest.
        high: Largest.
        count: How many.
        undefined: How many more there were that are no finite numbers.
    """

    mean: float
    deviation: float | None
    low: float
    high: float
    count: int
    undefined: int = 0


def spread_of(values: Sequence[float]) -> Spread | None:
    """Returns mean and spread of the finite values; None where there are none.

    >>> spread = spread_of([0.8, 0.9])
    >>> round(spread.mean, 3), round(spread.deviation, 3)
    (0.85, 0.071)
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    return Spread(
        mean=statistics.fmean(finite),
        deviation=statistics.stdev(finite) if len(finite) > 1 else None,
        low=min(finite), high=max(finite), count=len(finite),
        undefined=len(values) - len(finite),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All trials of one setting, over seeds and folds.

    Args:
        setting: What they have in common, without seed and fold.
        runs: How many there are, those that failed among them.
        score: The monitored metric on validation, of those that have one.
        test: Test accuracy; None without a test split.
        seconds: Wall time.
        failures: Why trials failed, each reason once.
    """

    setting: dict[str, object]
    runs: int
    score: Spread | None
    test: Spread | None
    seconds: float
    failures: tuple[str, ...]


def ranked(outcomes: Sequence[Outcome], *, greater_is_better: bool) -> list[Line]:
    """Returns a line for each setting, the best mean score first.

    Those with a trial that failed or whose score is undefined come after them: a mean over the
    others would reward it. Those without any score come last.
    """
    by_setting: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_setting.setdefault(repr(sorted(_setting(outcome).items())), []).append(outcome)
    lines = []
    for group in by_setting.values():
        results = [outcome.result for outcome in group if outcome.result is not None]
        lines.append(
            Line(
                setting=_setting(group[0]),
                runs=len(group),
                score=spread_of([result.best_score for result in results]),
                test=spread_of([r.test_accuracy for r in results if r.test_accuracy is not None]),
                seconds=sum(result.seconds for result in results),
                failures=tuple(dict.fromkeys(o.failure for o in group if o.failure)),
            )
        )
    sign = -1.0 if greater_is_better else 1.0

    def place(line: Line) -> tuple[int, float]:
        if line.score is None:
            return 2, 0.0
        return int(line.score.count < line.runs), sign * line.score.mean

    return sorted(lines, key=place)


def summarised(outcomes: Sequence[Outcome], *, greater_is_better: bool) -> dict[str, Any]:
    """Returns an experiment as plain data: every trial, and every setting over its trials."""
    return {
        "trials": [outcome.as_dict() for outcome in outcomes],
        "settings": [
            asdict(line) for line in ranked(outcomes, greater_is_better=greater_is_better)
        ],
    }


def _setting(outcome: Outcome) -> dict[str, object]:
    return {k: v for k, v in outcome.trial.setting.items() if k not in ("seed", "fold")}
