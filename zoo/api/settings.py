"""A configuration with options on top, as every function of the API takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.registry import Registry

__all__ = ["settings_of"]


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
