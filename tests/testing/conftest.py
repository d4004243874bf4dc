"""The fixtures that plugin authors use, as they get them."""

from __future__ import annotations

from zoo.testing import isolated_registry, tiny_data

__all__ = ["isolated_registry", "tiny_data"]
