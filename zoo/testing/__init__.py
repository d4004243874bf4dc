"""The conformance kit: what a component must do, checked as the core would use it.

    from zoo.testing import cases

    @pytest.mark.parametrize("case", cases("acme"))
    def test_conformance(case):
        case.run()

There is one case for each component and check. ``zoo plugins check acme`` runs the same.

    subject.py      one component under test: what a check is given
    finding.py      the components of a plugin, or why there are none
    checking.py     kind -> checks; one check run once
    cases.py        the cases of a plugin: expected failures, the floor
    fixtures.py     for pytest: isolated_registry, tiny_data
    declaration.py  the checks of every declaration; models.py, losses.py, ... those of each kind

Importing it imports neither torch nor pytest: the checks of a kind come with the first component
of that kind, and pytest with the fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.testing.cases import Case, cases, run_checks
from zoo.testing.checking import Result
from zoo.testing.subject import Example, NotApplicable, Subject

if TYPE_CHECKING:
    from zoo.testing.fixtures import IsolatedRegistry, isolated_registry, tiny_data

__all__ = [
    "Case",
    "Example",
    "IsolatedRegistry",
    "NotApplicable",
    "Result",
    "Subject",
    "cases",
    "isolated_registry",
    "run_checks",
    "tiny_data",
]

_FIXTURES = ("IsolatedRegistry", "isolated_registry", "tiny_data")


def __getattr__(name: str) -> Any:
    if name not in _FIXTURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zoo.testing import fixtures

    return getattr(fixtures, name)
