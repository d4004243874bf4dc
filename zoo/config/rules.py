"""What must hold for the values of options and is more than a type and a range."""

from __future__ import annotations

import os
from collections.abc import Mapping

from zoo.errors import UsageError, ZooError, printable
from zoo.plugin import Value

__all__ = ["MOST_EPOCHS", "broken_rules", "parse_fold", "plain_value"]

MOST_EPOCHS = 10**9
"""Of a run or a phase, which its patience or ``--max-minutes`` may end."""

_LONGEST_NAME = 200
"""Bytes of a run's name: file systems take 255, and temporary names are longer."""


def broken_rules(values: Mapping[str, Value]) -> list[ZooError]:
    """Returns what is wrong with values that are of the right type and range."""
    problems: list[ZooError] = []
    split = values.get("split")
    if isinstance(split, tuple):
        shares = [float(share) for share in split]  # type: ignore[arg-type]  # coerce made floats
        whole = len(shares) in (2, 3) and abs(sum(shares) - 1) < 1e-6
    if isinstance(split, tuple) and not (whole and shares[0] and shares[1]):
        problems.append(UsageError(
            f"split is {list(split)}, and must be shares of train, val and test that sum to 1",
            hint="--split 0.8,0.1,0.1",
        ))  # fmt: skip
    for key in ("mean", "std"):
        numbers = values.get(key)
        if isinstance(numbers, tuple) and len(numbers) not in (1, 3):
            problems.append(UsageError(
                f"{key} has {len(numbers)} numbers, and must have one, or one a channel (3)",
                hint=f"--{key} 0.5,0.5,0.5",
            ))  # fmt: skip
    problems += [
        UsageError(f"{key} is empty", hint=f"leave --{key.replace('_', '-')} out for its default")
        for key, value in values.items()
        if isinstance(value, str) and not value.strip() and key != "name"
    ]
    name = values.get("name")
    if isinstance(name, str) and not _is_folder_name(name):
        problems.append(UsageError(
            f"name is {printable(name)[:80]!r}, and must be one plain folder name, not too long",
            hint="--name trial-1 --runs FOLDER",
        ))  # fmt: skip
    mode = values.get("compile_mode", "default")
    # A table that says nothing of compile is a part: what it is laid over or under may ask for it.
    if mode != "default" and values.get("compile") is False:
        problems.append(UsageError(
            f"--compile-mode {mode} has no effect without --compile",
            hint=f"--compile --compile-mode {mode}, or --compile-mode default",
        ))  # fmt: skip
    fold = values.get("fold")
    if isinstance(fold, str):
        try:
            parse_fold(fold)
        except UsageError as error:
            problems.append(error)
    return problems


def _is_folder_name(name: str) -> bool:
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|')
    return plain and name not in ("", ".", "..") and len(name.encode()) <= _LONGEST_NAME


def parse_fold(text: str) -> tuple[int, int]:
    """Returns (number, total) of a fold written ``2/5``: the second of five.

    >>> parse_fold("2/5")
    (2, 5)

    Raises:
        UsageError: It is not that, or there is no such fold.
    """
    number, _, total = text.partition("/")
    if all(part.isascii() and part.isdecimal() and len(part) < 5 for part in (number, total)):
        fold, of = int(number), int(total)
        if of >= 2 and 1 <= fold <= of:
            return fold, of
    raise UsageError(
        f"{printable(text)!r} is not a fold", found="folds count from 1, and there are at least 2",
        hint="--fold 2/5 validates on the second of five parts",
    )  # fmt: skip


def plain_value(value: object) -> object:
    """Returns a value as a configuration file could say it.

    A number or an array of NumPy's or torch's becomes Python's, a list a tuple, a path its text.

    >>> from pathlib import Path
    >>> plain_value(["a", 1]), plain_value(Path("images"))
    (('a', 1), 'images')
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(as_python := getattr(value, "tolist", None)):
        value = as_python()
    return tuple(map(plain_value, value)) if isinstance(value, list | tuple) else value
