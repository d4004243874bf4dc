"""A configuration with options on top, as every function of the API takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.registry import Registry

__all__ = ["settings_of"]


def settings_of(
    config: RunConfig | Mapping[str, object] | None,
    options: Mapping[str, Any],
    registry: Registry | None = None,
) -> RunConfig:
    """Returns the configuration with the options on top, and under both the recipe they name."""
    from zoo.config import RunConfig
    from zoo.config.recipes import with_recipe

    whole = isinstance(config, RunConfig)
    base = config.as_mapping() if isinstance(config, RunConfig) else dict(config or {})
    return RunConfig.from_mapping(with_recipe({**base, **options}, registry, complete=whole))
