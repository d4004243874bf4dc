"""Which checks a kind has, and one of them run once."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from zoo.errors import PluginError, ZooError, in_words, printable
from zoo.registry.loading import missing_packages
from zoo.testing.subject import NotApplicable, Subject

__all__ = ["FLOORS", "Attempt", "Check", "Result", "attempt", "checks_of", "identifier", "purpose"]

Check: TypeAlias = Callable[[Subject], None]
"""Raises AssertionError with a whole sentence, or NotApplicable with a reason."""

Status: TypeAlias = Literal[
    "passed", "failed", "not applicable", "expected failure", "unexpected pass"
]

FLOORS = MappingProxyType(
    {
        "model": 23, "head": 18, "loss": 16, "optimizer": 18, "scheduler": 12, "transform": 14,
        "dataset": 14, "metric": 15, "explainer": 13, "projector": 12, "reviewer": 12,
        "callback": 13, "exporter": 12, "recipe": 11, "command": 11,
    }
)  # fmt: skip
"""How many checks of a component must really run, those of its declaration included.

A check may say that it has nothing to say, so a kit could pass by saying nothing at all.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one check of one component ended.

    Args:
        id: ``kind/namespace/name::check``. Stable: it is what expected failures name.
        kind: The component's kind.
        component: Its full id, ``namespace/name``.
        check: The check's id.
        what: What the check requires, in one line.
        status: ``unexpected pass`` is a failure too: the reason why it should fail is out of date.
        message: What is wrong, or the reason of what is not applicable or expected to fail.
        seconds: How long it took.
    """

    id: str
    kind: str
    component: str
    check: str
    what: str
    status: Status
    message: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing has to be done about it."""
        return self.status not in ("failed", "unexpected pass")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A check run once.

    Args:
        status: How it ended.
        message: What is wrong, or why it is not applicable.
        seconds: How long it took.
        error: What it raised.
    """

    status: Literal["passed", "failed", "not applicable"]
    message: str = ""
    seconds: float = 0.0
    error: BaseException | None = None


def checks_of(kind: str) -> tuple[Check, ...]:
    """Returns the checks of a kind in their order, those of the declaration first."""
    from zoo.plugin import plural

    declared: Iterable[Check] = import_module("zoo.testing.declaration").CHECKS
    own: Iterable[Check] = import_module(f"zoo.testing.{plural(kind)}").CHECKS
    return (*declared, *own)


def identifier(check: Check) -> str:
    """Returns the stable id of a check: its function's name with ``-``."""
    return str(getattr(check, "__name__", "")).replace("_", "-")


def purpose(check: Check) -> str:
    """Returns what a check requires: the first line of its docstring."""
    return (check.__doc__ or "").strip().partition("\n")[0]


def attempt(check: Check, subject: Subject) -> Attempt:
    """Runs a check, whatever the component throws at it."""
    start = time.perf_counter()
    status: Literal["passed", "failed", "not applicable"] = "passed"
    raised: BaseException | None = None
    message = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning is no verdict, and libraries have many
            check(subject)
    except NotApplicable as reason:
        status, message, raised = "not applicable", str(reason), reason
    except (Exception, SystemExit) as error:
        status, message, raised = "failed", _told(error), error
        if isinstance(error, PluginError) and (missing := _missing(subject)):
            status, message = "not applicable", f"{missing} is not installed, which it requires"
    return Attempt(status, _safe(message), time.perf_counter() - start, raised)


def _missing(subject: Subject) -> str:
    """Returns which packages of an extra are not there."""
    return ", ".join(missing_packages(subject.component.requires))


def _told(error: BaseException) -> str:
    """Returns what an error says; of one that no check raised on purpose, also what and where."""
    frames = traceback.extract_tb(error.__traceback__)
    here = bool(frames) and Path(frames[-1].filename).parent == Path(__file__).parent
    if isinstance(error, AssertionError) and here and str(error):
        return str(error)
    if isinstance(error, ZooError):
        return f"{type(error).__name__}: {error}"
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{in_words(error)}{where}"


def _safe(message: str) -> str:
    """Returns a message that cannot act on a terminal, its lines kept."""
    return "\n".join(map(printable, message.splitlines()))
