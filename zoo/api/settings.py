"""What functions of the API are given: a configuration with options on top, one or several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.registry import Registry

__all__ = ["data_of", "in_range", "listed", "one_of", "settings_of", "several"]

_Path = TypeVar("_Path", bound=str | PathLike[str])


def settings_of(
    config: object,
    options: Mapping[str, Any],
    registry: Registry | None = None,
) -> RunConfig:
    """Returns the configuration with the options on top, and under both the recipe they name.

    Args:
        config: A :class:`zoo.RunConfig`, a mapping of its keys, or None.
        options: Its keys on top.
        registry: Where recipes are.

    Raises:
        UsageError: It is something else, or an option cannot be.
    """
    from zoo.config import RunConfig
    from zoo.config.recipes import with_recipe

    whole = isinstance(config, RunConfig)
    if config is not None and not isinstance(config, RunConfig | Mapping):
        given = printable(str(config)[:80])
        raise UsageError(
            "a configuration comes first: a RunConfig or a mapping of its keys",
            found=f"{type(config).__name__}: {given}",
            hint=f'data="{given}"' if isinstance(config, str | Path) else "options by their names",
        )
    base = config.as_mapping() if isinstance(config, RunConfig) else dict(config or {})
    return RunConfig.from_mapping(with_recipe({**base, **options}, registry, complete=whole))


def several(given: _Path | Iterable[_Path]) -> list[_Path]:
    """Returns what was given in a list: a path or a word, or several.

    >>> several("cat.jpg"), several(("cat.jpg", "dog.jpg"))
    (['cat.jpg'], ['cat.jpg', 'dog.jpg'])

    Raises:
        UsageError: It is something else.
    """
    if isinstance(given, str | PathLike):
        return [given]
    found = list(given) if isinstance(given, Iterable) else [given]
    for one in found:
        if not isinstance(one, str | PathLike):
            raise UsageError(
                f"{printable(repr(one)[:80])} is neither a text nor a path",
                found=type(one).__name__, hint="a text, a path, or a list of them",
            )  # fmt: skip
    return found


def data_of(given: str | PathLike[str] | None) -> str | None:
    """Returns data as ``--data`` names it, which a path does as well.

    Raises:
        UsageError: It is something else.
    """
    return None if given is None else str(several(given)[0])


def in_range(
    name: str, value: object, low: float, high: float = math.inf, *, whole: bool = True
) -> None:
    """Refuses what is no number from ``low`` to ``high``, both among them.

    Raises:
        UsageError: It is something else. The message says what it must be.
    """
    # Numbers of numpy are among them.
    fits = not isinstance(value, bool) and isinstance(value, Integral if whole else Real)
    if fits and low <= float(cast("float", value)) <= high:
        return
    kind = "a whole number" if whole else "a number"
    span = f"of at least {low:,}" if high == math.inf else f"from {low:,} to {high:,}"
    raise UsageError(f"{name} is {printable(repr(value)[:80])}, and must be {kind} {span}")


def one_of(name: str, value: object, words: Sequence[str]) -> None:
    """Refuses what is none of the words.

    Raises:
        UsageError: It is something else.
    """
    if value not in words:
        raise UsageError(
            f"{name} is {printable(repr(value)[:80])}, and must be one of {', '.join(words)}"
        )


def listed(what: str, values: object) -> list[object]:
    """Returns the values of a list, an array or the like as a configuration could say them.

    >>> listed("seeds", range(3))
    [0, 1, 2]

    Raises:
        UsageError: It is one value and no list.
    """
    from zoo.config.rules import plain_value

    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        shown = printable(repr(values)[:80])
        raise UsageError(f"{what} is {shown}, and must be a list", hint=f"[{shown}]")
    return [plain_value(value) for value in values]
