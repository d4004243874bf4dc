"""What the data commands share: a bar on a terminal, pictures as files, words for numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import MachineError, printable

if TYPE_CHECKING:
    from PIL import Image

    from zoo.data.threads import Progress

__all__ = ["bar", "counted", "print_pairs", "save_png"]


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Yields a function that moves a bar on the terminal, and does nothing elsewhere.

    The bar is on stderr, so it is never in what a command prints.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(),
               Remaining(compact=True))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a picture as PNG, whatever the suffix.

    Raises:
        MachineError: It cannot be written.
    """
    try:
        image.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise MachineError(
            f"{printable(path)} cannot be written", found=error.strerror or str(error)
        ) from None


def counted(counts: Mapping[str, int], *, most: int = 8) -> str:
    """Returns names and counts in one line, the first few.

    >>> counted({"PNG": 1200, "JPEG": 3})
    'PNG 1,200, JPEG 3'
    """
    listed = [f"{printable(name)} {count:,}" for name, count in list(counts.items())[:most]]
    more = f" and {len(counts) - most} more" if len(counts) > most else ""
    return ", ".join(listed) + more


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Prints a line for each pair that has a text, in two columns."""
    from zoo.cli.console import echo

    for name, text in pairs.items():
        if text:
            echo(f"{name:<10} {text}")
