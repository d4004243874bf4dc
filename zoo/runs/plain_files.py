"""The plain files of a run (TOML, JSON, JSON lines) read with care, values out of and into them.

Whoever lists runs reads folders that other people, other versions and full disks have left.
"""

from __future__ import annotations

import json
import math
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Damaged", "number_of", "rows_of", "table_of", "text_of", "whole_of", "without_nan"]

_MOST_BYTES = 64 * 2**20  # of one file; 100,000 epochs are 30 MB of metrics.jsonl


class Damaged(Exception):
    """A file of a run that is there and cannot be read. The text says which and why."""


def table_of(path: Path) -> Mapping[str, object] | Damaged | None:
    """Returns a TOML or JSON file as a table, None if it is not there, else what is wrong."""
    name, kind = path.name, "TOML" if path.suffix == ".toml" else "JSON"
    try:
        text = _read(path)
        if text is None:
            return None
        loaded: object = tomllib.loads(text) if kind == "TOML" else json.loads(text)
    except UnicodeDecodeError:
        return Damaged(f"{name} is not text")
    except OSError as error:
        return Damaged(f"{name} cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError):
        return Damaged(f"{name} is not {kind}")
    return loaded if isinstance(loaded, dict) else Damaged(f"{name} is not a table")


def rows_of(path: Path) -> tuple[list[Mapping[str, object]], list[str]]:
    """Returns the tables of a file of JSON lines, and what is wrong with it.

    A torn last line is dropped: that is what a kill leaves.
    """
    try:
        lines = (_read(path) or "").splitlines()
    except UnicodeDecodeError:
        return [], [f"{path.name} is not text"]
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror or error}"]
    with suppress(ValueError, RecursionError):  # all at once: half the time for 1,000 runs
        whole = json.loads(f"[{','.join(lines)}]")
        if len(whole) == len(lines) and all(isinstance(row, dict) for row in whole):
            return whole, []
    rows: list[Mapping[str, object]] = []
    for number, line in enumerate(lines, start=1):
        row: object = None
        with suppress(ValueError, RecursionError):
            row = json.loads(line)
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines):
            return rows, [f"line {number} of {path.name} is damaged"]
    return rows, []


def text_of(value: object) -> str:
    """Returns a value that is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number_of(value: object) -> float | None:
    """Returns a value that is a number, else None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    return None


def whole_of(value: object) -> int | None:
    """Returns a value that is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def without_nan(value: Any) -> Any:
    """Returns plain data with None for numbers that are NaN or infinite: JSON has none of these.

    >>> without_nan({"auroc": float("nan"), "f1": [0.5, float("inf")]})
    {'auroc': None, 'f1': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> str | None:
    """Returns the text of a plain file of ordinary size; None if there is none.

    Raises:
        OSError: It is something else, or too large.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise OSError("it is not a file")
    if status.st_size > _MOST_BYTES:
        raise OSError(f"it has {status.st_size / 2**20:,.0f} MiB")
    return path.read_text(encoding="utf-8")
