"""Messages: several problems together, and names that cannot act on a terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import DataError, UsageError, printable


def test_problems_together_keep_their_exit_code_when_they_share_it():
    data = UsageError.together([DataError("one"), DataError("two", hint="mend it")])
    assert data.exit_code == 3
    assert "2 problems" in str(data)
    assert "two (mend it)" in str(data)
    assert UsageError.together([DataError("one"), UsageError("two")]).exit_code == 2
    assert UsageError.exit_code == 2
    alone = DataError("alone")
    assert UsageError.together([alone]) is alone


@given(st.text())
def test_shown_names_are_printable_and_plain_ones_unchanged(text):
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
