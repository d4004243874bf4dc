"""Which runs of a list are meant, and in what order: patterns, conditions, metrics.

zoo runs '*fashion*' --where 'val_accuracy>0.9' --where model=resnet50 --sort val_loss
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from zoo.errors import UsageError, printable
from zoo.plugin import fold
from zoo.runs.listing import RunEntry

__all__ = ["Condition", "chosen", "lowest_is_best", "matching", "parse_condition", "ranked"]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_CONDITION = re.compile(r"\s*([A-Za-z][A-Za-z0-9_@-]*)\s*(!=|>=|<=|==|=|>|<)(.*)", re.DOTALL)
_LOWEST = ("loss", "nll", "brier", "ece", "error", "seconds", "size")
_ALWAYS = ("name", "status", "model", "data", "when", "size", "seconds", "epochs_done",
           "best_score", "best_epoch", "test_accuracy", "test_loss", "val_accuracy", "val_loss",
           "train_accuracy", "train_loss")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One ``--where``.

    Args:
        key: What is looked at, folded.
        comparison: ``=``, ``!=``, ``>``, ``>=``, ``<`` or ``<=``.
        wanted: As it was written; for ``=`` and ``!=`` a glob.
        number: The same as a number, where it is one.
    """

    key: str
    comparison: str
    wanted: str
    number: float | None = None

    def holds(self, entry: RunEntry) -> bool:
        """Whether it holds for a run. A run that has no such value meets ``=none`` and ``!=``."""
        value = entry.values.get(self.key)
        if self.comparison == "=":
            return _is(value, self)
        if self.comparison == "!=":
            return not _is(value, self)
        if not isinstance(value, int | float) or isinstance(value, bool) or self.number is None:
            return False
        return _COMPARISONS[self.comparison](float(value), self.number)


def parse_condition(text: str) -> Condition:
    """Reads ``key=value``, ``key!=value``, ``key>0.9``, ``key<=10%`` or ``when>2026-11-01``.

    >>> parse_condition("val-accuracy>90%").number
    0.9

    Raises:
        UsageError: It is none of these.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not (wanted := match[3].strip()):
        raise UsageError(
            f"--where {printable(text)} is not a condition",
            found="one is key=value, key!=value, key>number, key>=number, key<number, key<=number",
            hint="--where 'val_accuracy>0.9' --where model=lenet",
        )
    key, comparison = match[1].lower().replace("-", "_"), match[2].replace("==", "=")
    number = _as_number(wanted, is_time=key == "when")
    if comparison in _COMPARISONS and number is None:
        what, example = ("date", "2026-11-30") if key == "when" else ("number", "0.5")
        raise UsageError(
            f"--where {printable(text)} compares with {printable(wanted)!r}, which is no {what}",
            hint=f"--where '{printable(key)}{comparison}{example}'",
        )
    return Condition(key=key, comparison=comparison, wanted=wanted, number=number)


def matching(name: str, pattern: str) -> bool:
    """Whether a name is one that a pattern means: a glob, or a part of it.

    >>> matching("lenet-mnist-1", "mnist"), matching("lenet-mnist-1", "mnist*")
    (True, False)
    """
    folded = pattern.lower()
    if not set(folded) & set("*?["):
        return folded in name.lower()
    return name.lower() == folded or fnmatchcase(name.lower(), folded)


def chosen(
    entries: Iterable[RunEntry],
    *,
    pattern: str | None = None,
    where: Sequence[str] = (),
    known: Collection[str] = (),
) -> list[RunEntry]:
    """Returns the runs that match a pattern and meet every condition, in their order.

    Args:
        entries: All runs.
        pattern: Of the name.
        where: Conditions as :func:`parse_condition` reads them.
        known: Keys that exist though no run may have a value for them: options of a run.

    Raises:
        UsageError: A condition cannot be read, or its key is unknown.
    """
    conditions = [parse_condition(text) for text in where]
    listed = list(entries)
    for condition in conditions:
        _check(condition.key, listed, known)
    return [
        entry
        for entry in listed
        if (not pattern or matching(entry.name, pattern))
        and all(c.holds(entry) for c in conditions)
    ]


def ranked(
    entries: Iterable[RunEntry],
    key: str | None,
    *,
    reverse: bool = False,
    known: Collection[str] = (),
) -> list[RunEntry]:
    """Returns the runs sorted: the newest first, or by a metric, best first.

    Losses, errors, times and sizes are best when low, other numbers when high, and a metric that
    decided which epoch of a run is best as it did there; texts go from A to Z. ``reverse`` is the
    other way round. Runs without the value, or with one that is not a number, come last either way.

    Raises:
        UsageError: The key is unknown.
    """
    listed = list(entries)
    name = "when" if key is None else key.lower().replace("-", "_")
    _check(name, listed, known)
    upwards = {one.monitor: one.greater_is_better for one in listed
               if one.greater_is_better is not None}  # fmt: skip

    def place(entry: RunEntry) -> tuple[int, float, str]:
        value = entry.values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
            metric = entry.monitor if name == "best_score" else name
            return 0, -value if upwards.get(metric, not lowest_is_best(metric)) else value, ""
        return (
            (2, 0.0, "")
            if value is None or isinstance(value, float)
            else (1, 0.0, _texts(value)[0])
        )

    ordered = sorted(listed, key=place)
    if not reverse:
        return ordered
    with_value = [entry for entry in ordered if place(entry)[0] < 2]
    return with_value[::-1] + ordered[len(with_value) :]


def lowest_is_best(key: str) -> bool:
    """Whether of two values of a metric the lower one is better, by its name.

    >>> lowest_is_best("val_loss"), lowest_is_best("test_f1")
    (True, False)
    """
    return not set(_LOWEST).isdisjoint(key.split("_"))


def _check(key: str, entries: Sequence[RunEntry], known: Collection[str]) -> None:
    """Refuses a key that no run has and that is no option of a run."""
    names = {*_ALWAYS, *known, *(name for entry in entries for name in entry.values)}
    if key in names:
        return
    import difflib

    close = difflib.get_close_matches(key, sorted(names), n=3, cutoff=0.5)
    raise UsageError(
        f"no run has a value named {printable(key)!r}",
        found=f"close: {', '.join(map(printable, close))}" if close else "",
        hint="options of zoo run, metrics such as val_loss and test_accuracy, name, status, when",
    )


def _is(value: object, condition: Condition) -> bool:
    """Whether a value is the one that was asked for: the same number, or a text that matches."""
    if value is None:
        return fold(condition.wanted) == "none"
    number = condition.number
    if isinstance(value, int | float) and not isinstance(value, bool) and number is not None:
        return math.isclose(value, number, rel_tol=1e-9)
    wanted = fold(condition.wanted)
    names = {form for text in _texts(value) for form in (fold(text), _short(fold(text)))}
    return any(name == wanted or fnmatchcase(name, wanted) for name in names)


def _short(name: str) -> str:
    """Returns a component's name without its namespace and arguments."""
    return name.partition(":")[0].rpartition("/")[2]


def _texts(value: object) -> list[str]:
    """Returns a value as the texts that it can be asked for by."""
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, tuple):
        numbers = [str(item) for item in value]
        return numbers if value and isinstance(value[0], str) else [",".join(numbers)]
    return [str(value)]


def _as_number(text: str, *, is_time: bool) -> float | None:
    try:
        if is_time and "-" in text:
            return datetime.fromisoformat(text).timestamp()
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except (ValueError, OverflowError, OSError):
        return None
