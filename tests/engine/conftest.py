"""Tiny jobs that train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.registry import Registry


@pytest.fixture
def train(tmp_path: Path, shapes_folder: Path, registry: Registry) -> Callable[..., Any]:
    """Runs a tiny configuration: options override it."""

    def call(**options: Any) -> Any:
        base = {
            "data": str(shapes_folder),
            "model": "lenet",
            "weights": "none",
            "img_size": 16,
            "batch_size": 8,
            "epochs": 1,
            "threads": 1,
            "runs": str(tmp_path / "runs"),
        }
        observer = options.pop("observer", None)
        return zoo.run({**base, **options}, registry=registry, observer=observer)

    return call
