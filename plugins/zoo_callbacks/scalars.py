"""The numbers of an epoch under the names that every tracker is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zoo_callbacks.told import Result

__all__ = ["final_scalars", "scalars"]

_SPLITS = ("train_", "val_")
_OTHERS = ("lr", "images_per_second")


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of an epoch, those of a split named ``split/metric``.

    >>> scalars({"phase": "freeze", "epoch": 1, "train_loss": 0.5, "val_accuracy": 1, "lr": 0.1})
    {'train/loss': 0.5, 'val/accuracy': 1.0, 'lr': 0.1}
    """
    found = {}
    for name, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if name.startswith(_SPLITS):
            found[name.replace("_", "/", 1)] = float(value)
        elif name in _OTHERS:
            found[name] = float(value)
    return found


def final_scalars(result: Result) -> dict[str, float]:
    """Returns test/loss, test/accuracy and the other metrics, as far as there was a test split."""
    found: dict[str, float | None] = {
        "test/loss": result.test_loss, "test/accuracy": result.test_accuracy,
        **{f"test/{name}": value for name, value in result.test_metrics.items()},
    }  # fmt: skip
    return {name: v for name, v in found.items() if v is not None and not math.isnan(v)}
