"""All that commands print, in one place. Plain text; colour and progress only on a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout

import click

from zoo.errors import printable

__all__ = [
    "apart",
    "can_show",
    "echo",
    "print_json",
    "print_table",
    "reader_may_leave",
    "rewrap",
    "showable",
    "width",
]


def width() -> int:
    """Returns how many columns a line may have; unlimited where output is not a terminal."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 10_000


def showable(text: str) -> str:
    """Returns a text with what the terminal's encoding does not have replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def echo(text: str = "") -> None:
    """Prints a line; characters that the terminal cannot show are replaced."""
    click.echo(showable(text))


def can_show(text: str) -> bool:
    """Whether the output's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Has work go on unheard when its reader leaves: zoo data check --fix quarantine | head."""
    try:
        yield
    except BrokenPipeError:
        be_unheard()


def be_unheard() -> None:
    """Has all that is printed from here on go nowhere."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # up to the process's end


def apart(as_json: bool) -> AbstractContextManager[object]:
    """Has what plugins print in the block stand beside the JSON of a command, and not in it."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def print_json(value: object) -> None:
    """Prints plain data as JSON; a number that is not defined is null."""
    from zoo.runs.plain_files import without_nan

    click.echo(json.dumps(without_nan(value), indent=2, ensure_ascii=True))


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints aligned columns under a header; the last column is cut at the terminal's width."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(_columns, column)) for column in zip(*cells, strict=True)]
    room = max(10, width() - sum(widths[:-1]) - 2 * (len(widths) - 1))
    for number, row in enumerate(cells):
        *first, last = row
        line = "".join(c + " " * (w - _columns(c) + 2) for c, w in zip(first, widths, strict=False))
        text = line + (last if _columns(last) <= room else last[: room - 1] + "…")
        echo(click.style(text.rstrip(), bold=True) if number == 0 else text.rstrip())


def rewrap(text: str, indent: str = "  ") -> str:
    """Returns a text wrapped to the terminal."""
    import textwrap

    return textwrap.fill(text, min(width(), 100), initial_indent=indent, subsequent_indent=indent)


def _columns(text: str) -> int:
    """Returns how many columns a text takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
