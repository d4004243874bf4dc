"""A trained run, used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.evaluation.trained import Trained

__all__ = ["load"]


def load(path: str | Path, *, registry: Registry | None = None) -> Trained:
    """Returns the best weights of a run as a classifier.

    Args:
        path: The run folder.
        registry: The components to choose from; by default all that are installed.

    Raises:
        CheckpointError: There are no usable weights, or the plugin of the model is missing.
    """
    from zoo.evaluation.trained import load_trained

    return load_trained(Path(path), registry=registry or Registry.installed())
