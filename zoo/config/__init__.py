"""What a run is, as validated data."""

from __future__ import annotations

from zoo.config.run_config import RunConfig, load_config, parse_setting

__all__ = ["RunConfig", "load_config", "parse_setting"]
