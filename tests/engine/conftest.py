"""Tiny jobs that train in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.engine.features import collect
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


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the frozen part was computed for, a number for each pass."""
    found: list[int] = []
    real = collect.computed

    def computed(forward: Any, feed: Any, samples: Any, **rest: Any) -> Any:
        found.append(len(samples))
        return real(forward, feed, samples, **rest)

    monkeypatch.setattr(collect, "computed", computed)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where features are kept."""
    return Path(f"{tmp_path}-cache") / "features"
