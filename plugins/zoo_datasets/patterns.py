"""What a user writes for shards: paths and addresses, braces for numbers, ``*`` for any text."""

from __future__ import annotations

import os
import re
from glob import glob
from pathlib import Path

from zoo.data.reading.scan import natural
from zoo.errors import DataError, PluginError, RefusedError, UsageError, printable

__all__ = ["expand", "not_installed", "scheme_of"]

SCHEMES = ("http", "https", "hf", "gs", "sftp", "ftps", "scp")
"""Kinds of addresses that are handed to the webdataset library."""

MOST_SHARDS = 100_000
"""How many shards one pattern may stand for."""

_RANGE = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)")


def expand(pattern: str) -> list[str]:
    """Returns the shards that a pattern stands for: braces first, then ``*`` and ``?`` of paths.

    Raises:
        RefusedError: ``pipe:``, which would run a command.
        UsageError: Braces that do not close, or an address of a kind that is not read.
        DataError: A pattern that no file matches.
    """
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise not_installed(error) from error
    sources: list[str] = []
    too_many = UsageError(f"{printable(pattern)} stands for more than {MOST_SHARDS:,} shards")
    for first, last in _RANGE.findall(pattern):
        # Looked at before: the library makes a list of every range, as long as it may be.
        if max(len(first), len(last)) > 9 or abs(int(last) - int(first)) >= MOST_SHARDS:
            raise too_many
    try:
        # Windows writes paths with the sign that escapes a brace.
        for source in braceexpand(pattern, escape=os.sep != "\\"):
            sources.append(source)
            if len(sources) > MOST_SHARDS:
                raise too_many
    except ValueError as error:
        raise UsageError(
            f"the braces in {printable(pattern)} do not close",
            hint="shards/train-{000..003}.tar, in quotes so that the shell leaves it alone",
        ) from error
    found: list[str] = []
    for source in sources:
        scheme = scheme_of(source)
        if scheme == "pipe":
            raise RefusedError(
                f"{printable(source)} is refused: it would run a command",
                hint="run the command yourself, into a file, and name the file",
            )
        if scheme not in ("", *SCHEMES):
            raise UsageError(
                f"{printable(source)} is an address of a kind that is not read",
                found=printable(scheme), hint=f"a path, or one of {', '.join(SCHEMES)}",
            )  # fmt: skip
        if scheme or not any(sign in source for sign in "*?[") or Path(source).exists():
            found.append(source)
        elif matching := sorted(glob(source), key=natural):
            found += matching
        else:
            raise DataError(f"no shard matches {printable(source)}")
    return found


def scheme_of(source: str) -> str:
    """Returns the kind of an address, "" for a path. One letter is a drive of Windows."""
    head, colon, tail = source.partition(":")
    if not colon or len(head) < 2 or not head.isalnum():
        return ""
    return head.lower() if tail.startswith("//") or head.lower() == "pipe" else ""


def not_installed(error: ImportError) -> PluginError:
    """Returns the error that says how to install the library."""
    return PluginError(
        "the dataset datasets/webdataset needs webdataset, which is not installed",
        found=str(error), hint="pip install 'classifier-zoo[webdataset]'",
    )  # fmt: skip
