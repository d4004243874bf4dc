"""What a run is, as validated data."""

from __future__ import annotations

from zoo.config.files import load_config, parse_setting
from zoo.config.run_config import RunConfig

__all__ = ["RunConfig", "load_config", "parse_setting"]
