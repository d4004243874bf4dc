"""The cases of a plugin: one for each component and check, expected failures, and the floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from zoo.errors import UsageError, ZooError, printable
from zoo.plugin import fold
from zoo.registry import Entry, PluginRecord
from zoo.testing.checking import (
    FLOORS,
    Attempt,
    Check,
    Result,
    attempt,
    checks_of,
    identifier,
    purpose,
)
from zoo.testing.finding import components_of
from zoo.testing.subject import Example, Subject

__all__ = ["Case", "cases", "run_checks"]

_LAST = "enough-checks-ran"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One check of one component.

    Args:
        subject: The component.
        check: What is run.
        reason: Why it is expected to fail; empty where it is not.
        statuses: How the checks of this component ended so far, in this process, by their ids.
    """

    subject: Subject
    check: Check
    reason: str = ""
    statuses: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def id(self) -> str:
        """``kind/namespace/name::check``, stable from one version of zoo to the next."""
        return f"{self.subject.id}::{identifier(self.check)}"

    def result(self) -> Result:
        """Runs the check and says how it ended; needs no pytest."""
        return self._judged(self._attempted())

    def run(self) -> None:
        """Runs the check as a test of pytest: it passes, is skipped, fails as expected or fails.

        Raises:
            AssertionError: It failed; or it was expected to and did not.
        """
        attempted = self._attempted()
        result = self._judged(attempted)
        if result.status == "not applicable":
            import pytest

            pytest.skip(result.message)
        if result.status == "expected failure":
            import pytest

            pytest.xfail(result.message)
        if not result.ok:
            raise AssertionError(f"{self.id}: {result.message}") from attempted.error

    def _attempted(self) -> Attempt:
        attempted = attempt(self.check, self.subject)
        self.statuses[identifier(self.check)] = attempted.status
        return attempted

    def _judged(self, attempted: Attempt) -> Result:
        """Returns the result, with what was expected of it taken into account."""
        result = Result(
            id=self.id, kind=self.subject.component.kind, component=self.subject.entry.id,
            check=identifier(self.check), what=purpose(self.check), status=attempted.status,
            message=attempted.message, seconds=attempted.seconds,
        )  # fmt: skip
        if not self.reason or result.status == "not applicable":
            return result
        if result.status == "failed":
            told = f"{self.reason} ({result.message})"
            return replace(result, status="expected failure", message=told)
        told = f"is expected to fail ({self.reason}) and passes: expect it no more"
        return replace(result, status="unexpected pass", message=told)


def cases(
    plugin: str | PluginRecord,
    *,
    examples: Mapping[str, Example] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> list[Any]:
    """Returns the cases of a plugin, for ``pytest.mark.parametrize("case", ...)``.

    Args:
        plugin: Its namespace, or the name of its distribution.
        examples: What no check can find out by itself, by ``kind/name``.
        expected_failures: Reasons, by globs over the ids of cases. A case that fails for a reason
            counts as an expected failure; one that passes in spite of it is an error.
        only: Globs over ``kind/name``: these components alone. None given: all of them.

    Raises:
        UnknownName, PluginError: There is nothing to check; the message has the cause.
        UsageError: A glob or an example names nothing, or a failure is expected for no reason.
    """
    import pytest

    made = _made(plugin, examples or {}, expected_failures or {}, only)
    return [pytest.param(case, id=case.id) for case in made]


def run_checks(
    plugin: str | PluginRecord,
    *,
    examples: Mapping[str, Example] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> Iterator[Result]:
    """Yields how each case of a plugin ended, as it ends. Arguments and errors as :func:`cases`."""
    made = _made(plugin, examples or {}, expected_failures or {}, only)
    return (case.result() for case in made)


def _made(
    plugin: str | PluginRecord,
    examples: Mapping[str, Example],
    expected_failures: Mapping[str, str],
    only: Sequence[str],
) -> list[Case]:
    entries = components_of(plugin)
    keys = {_key(entry) for entry in entries}
    given = {fold(key): example for key, example in examples.items()}
    problems: list[ZooError] = [
        UsageError(f"the example of {printable(key)!r} is of no component that is checked")
        for key in given
        if key not in keys
    ]
    problems += [
        UsageError(f"no component fits the glob {printable(glob)!r}")
        for glob in only
        if not any(fnmatchcase(key, fold(glob)) for key in keys)
    ]
    problems += list(_unfounded(entries, expected_failures))
    if problems:
        raise UsageError.together(problems)
    return [
        case
        for entry in entries
        if not only or any(fnmatchcase(_key(entry), fold(glob)) for glob in only)
        for case in _of_component(
            Subject(entry=entry, example=given.get(_key(entry), Example())), expected_failures
        )
    ]


def _unfounded(
    entries: Sequence[Entry], expected_failures: Mapping[str, str]
) -> Iterator[UsageError]:
    """Yields what is wrong with the expected failures: no reason, or no case at all."""
    if not expected_failures:
        return
    ids = [
        f"{Subject(entry=entry).id}::{name}"
        for entry in entries
        for name in (*map(identifier, checks_of(entry.component.kind)), _LAST)
    ]
    for glob, reason in expected_failures.items():
        if not reason.strip():
            yield UsageError(f"the expected failure {printable(glob)!r} has no reason")
        if not any(fnmatchcase(name, glob) for name in ids):
            yield UsageError(
                f"the expected failure {printable(glob)!r} names no case",
                found=f"{len(ids):,} cases, for example {ids[0]}",
            )


def _key(entry: Entry) -> str:
    return fold(f"{entry.component.kind}/{entry.component.name}")


def _of_component(subject: Subject, expected_failures: Mapping[str, str]) -> list[Case]:
    """Returns the cases of one component, the floor last."""
    kind = subject.component.kind
    checks = checks_of(kind)
    statuses: dict[str, str] = {}
    made = []
    for check in (*checks, _floor(checks, FLOORS[kind], statuses)):
        name = f"{subject.id}::{identifier(check)}"
        reasons = (text for glob, text in expected_failures.items() if fnmatchcase(name, glob))
        made.append(Case(subject=subject, check=check, reason=next(reasons, ""), statuses=statuses))
    return made


def _floor(checks: Sequence[Check], least: int, statuses: Mapping[str, str]) -> Check:
    """Returns the check that enough other checks ran.

    Its case may be the only one that a process runs (``-k``, xdist). So it runs by itself what it
    has not seen run, until it has seen enough.
    """

    def enough_checks_ran(subject: Subject) -> None:
        """Enough checks of the component really ran, and did not just say that they do not apply.

        How many that is for a kind stands in ``zoo.testing.checking.FLOORS``.
        """
        idle: dict[str, list[str]] = {}
        num_ran = sum(statuses.get(identifier(check)) in ("passed", "failed") for check in checks)
        for check in checks:
            if num_ran >= least:
                return
            if statuses.get(identifier(check)) in ("passed", "failed"):
                continue
            attempted = attempt(check, subject)
            if attempted.status == "not applicable":
                idle.setdefault(attempted.message, []).append(identifier(check))
            else:
                num_ran += 1
        if num_ran < least:
            reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in idle.items())
            raise AssertionError(
                f"{num_ran} of {len(checks)} checks ran, and {least} must. The others: {reasons}"
            )

    return enough_checks_ran
