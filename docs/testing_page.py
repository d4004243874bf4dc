"""Renews the table of checks in docs/testing-plugins.md from the docstrings of the checks.

python -m docs.testing_page
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from zoo.plugin import KINDS
from zoo.testing import declaration
from zoo.testing.checking import FLOORS, Check, checks_of, identifier, purpose

__all__ = ["COMMAND", "PAGE", "renewed"]

COMMAND = "python -m docs.testing_page"
PAGE = Path(__file__).with_name("testing-plugins.md")

_SECTION = re.compile(r"(<!-- checks -->\n).*?(<!-- end -->)", re.DOTALL)


def renewed(text: str) -> str:
    """Returns the page with the checks that there are."""
    parts = [_part("Every declaration", declaration.CHECKS)]
    for kind in KINDS:
        own = [check for check in checks_of(kind) if check not in declaration.CHECKS]
        parts.append(_part(f"{kind.capitalize()}: {FLOORS[kind]}", own))
    table = "\n".join(parts)
    return _SECTION.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def _part(title: str, checks: Iterable[Check]) -> str:
    rows = [f"| `{identifier(check)}` | {_line(check)} |" for check in checks]
    return "\n".join([f"### {title}", "", "| check | requires |", "| --- | --- |", *rows, ""])


def _line(check: Check) -> str:
    return purpose(check).replace("``", "`").replace("|", r"\|")


def main() -> None:
    """Writes the page."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
