"""A comparison in words: which run is better, by how much, or that it is noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import printable

if TYPE_CHECKING:
    from zoo.evaluation.comparison.records import Comparison, Value, Verdict

__all__ = ["amount", "change", "headline", "outcome", "p_text", "sentence", "span", "with_interval"]

_SHARES = ("accuracy",)


def amount(metric: str, value: float) -> str:
    """Returns a value of a metric.

    >>> amount("accuracy", 0.7125), amount("loss", 0.85041)
    ('71.2%', '0.8504')
    """
    if value != value:
        return "not defined"
    return f"{value:.1%}" if metric in _SHARES else f"{value:.4f}"


def with_interval(metric: str, value: Value) -> str:
    """Returns a value with its interval: ``71.2% [66.8, 75.5]``."""
    if value.value != value.value or value.low != value.low:
        return amount(metric, value.value)
    if metric in _SHARES:
        return f"{value.value:.1%} [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"


def change(metric: str, difference: float) -> str:
    """Returns a difference with its sign; of shares in percentage points.

    >>> change("accuracy", 0.0312), change("loss", -0.1)
    ('+3.1 points', '-0.1000')
    """
    if metric in _SHARES:
        return f"{100 * difference:+.1f} points"
    return f"{difference:+.4f}"


def span(verdict: Verdict) -> str:
    """Returns the interval of a difference: ``[-3.0, +2.5]``."""
    scale, digits = (100, 1) if verdict.metric in _SHARES else (1, 4)
    return f"[{scale * verdict.low:+.{digits}f}, {scale * verdict.high:+.{digits}f}]"


def p_text(p_value: float) -> str:
    """Returns a p-value.

    >>> p_text(0.04), p_text(0.00002), p_text(0.0314)
    ('p = 0.04', 'p < 0.001', 'p = 0.031')
    """
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.2g}" if p_value < 0.995 else "p = 1"


def headline(verdict: Verdict) -> str:
    """Returns the verdict in one clause: ``a is better than b``."""
    first, other = printable(verdict.first), printable(verdict.other)
    if verdict.outcome == "untested":
        return f"{first} and {other} were not tested"
    if verdict.outcome == "noise":
        return f"no difference between {first} and {other} beyond noise"
    return f"{first} is {verdict.outcome} than {other}"


def outcome(verdict: Verdict) -> str:
    """Returns a verdict beside its metric: who is better, and on which images they differ."""
    first, other = printable(verdict.first), printable(verdict.other)
    if verdict.outcome == "untested":
        return f"not tested: {printable(verdict.why)}"
    word = "noise" if verdict.outcome == "noise" else f"{first} is {verdict.outcome}"
    if verdict.first_only is None:
        return word
    return f"{word}; only {first} is right {verdict.first_only:,} times, only {other} " + (
        f"{verdict.other_only:,}"
    )


def sentence(verdict: Verdict, comparison: Comparison) -> str:
    """Returns all that a verdict says, in one line."""
    runs = {run.label: run.values[verdict.metric] for run in comparison.runs}
    first, other = runs[verdict.first], runs[verdict.other]
    name, against = printable(verdict.first), printable(verdict.other)
    values = (
        f"{verdict.metric} {amount(verdict.metric, first.value)} of {name} against "
        f"{amount(verdict.metric, other.value)} of {against}"
    )
    if verdict.outcome == "untested":
        return f"{headline(verdict)}: {printable(verdict.why)}; {values}"
    tested = f"{verdict.method}, {p_text(verdict.corrected)}"
    several = sum(v.metric == verdict.metric and v.p_value == v.p_value
                  for v in comparison.verdicts)  # fmt: skip
    if several > 1:
        tested += f" corrected for {several} comparisons"
    moved = f"{change(verdict.metric, verdict.difference)} {span(verdict)}"
    return f"{headline(verdict)}: {values}, {moved} ({tested})"
