"""What functions of the API are given: a configuration with options on top, one or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.registry import Registry

__all__ = ["listed", "settings_of", "several"]

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
    """
    return [given] if isinstance(given, str | PathLike) else list(given)


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
