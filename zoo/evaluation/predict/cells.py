r"""Texts from data as cells of a table that people open in a spreadsheet.

A cell that begins with one of ``= + - @``, a tab or a line break is a formula to a spreadsheet, and
a formula can send what is in the sheet to a stranger (CWE-1236). Such a cell gets a ``'`` in front,
which spreadsheets take for "this is text". JSON lines are the form in which nothing is changed.
"""

from __future__ import annotations

import re

__all__ = ["safe_cell", "unicode_text"]

# A cell that begins with ' and such a sign gets one more, so that taking one off is always right.
# The wide forms of the signs are formulas as well where East Asian languages are set.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def unicode_text(text: str) -> str:
    r"""Returns a text that can be written as UTF-8: bytes of a file name that are none as ``\xff``.

    >>> unicode_text("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join(map(_escaped, text))
    return text


def safe_cell(text: str) -> str:
    """Returns a text as a cell that no spreadsheet runs, and that can be written as UTF-8.

    Take one ``'`` off a cell that begins with ``'`` and a sign of a formula to have the text again.

    >>> safe_cell("=cmd|' /C calc'!A0"), safe_cell("'=1"), safe_cell("cat"), safe_cell("'tis")
    ("'=cmd|' /C calc'!A0", "''=1", 'cat', "'tis")
    """
    text = unicode_text(text)
    return f"'{text}" if _FORMULA.match(text) else text


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else char
