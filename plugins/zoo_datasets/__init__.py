"""Data sets: two that ship with zoo, files and folders, and what hubs and shards hold."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import Component, hookimpl
from zoo_datasets._files import FILES
from zoo_datasets._hubs import HUBS


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the embedded data sets, then the readers of files, then hubs and shards."""
    yield Component(
        kind="dataset",
        name="fashion-mini",
        target="zoo_datasets.embedded:fashion_mini",
        summary="Clothes, 28x28 grey, 8,000 images of Fashion-MNIST (Xiao et al. 2017)",
        tags=("embedded", "grey", "10 classes"),
    )
    yield Component(
        kind="dataset",
        name="clipart10",
        target="zoo_datasets.embedded:clipart10",
        summary="Drawings, 96x96 colour, 1,650 images of the Open Clip Art Library, few per class",
        tags=("embedded", "colour", "10 classes", "imbalanced"),
    )
    yield from FILES
    yield from HUBS
