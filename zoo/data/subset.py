"""Some images of a split, as a split: for quick tries, learning curves and folds.

Suffixes: N images of the split, M of them kept, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.randomness import Stream, uniform
from zoo.data.reading.scan import listed
from zoo.data.splits import strata
from zoo.protocols import DataSet, Images, PixelImages, SourcedImages, Split

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = [
    "SomeImages", "SomePixels", "lost_classes", "present_classes", "strata_of", "stratified_rows",
    "subset", "with_fewer_images",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class SomeImages:
    """Some of a split's images.

    Args:
        images: All of them.
        rows_M: Which ones.
    """

    images: Images
    rows_M: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows_M)

    def read(self, index: int) -> Image:
        """Returns the image as RGB, upright."""
        return self.images.read(int(self.rows_M[index]))

    def source(self, index: int) -> Path | bytes | None:
        """Returns where the image's encoded content is, None where the images do not say."""
        if not isinstance(self.images, SourcedImages):
            return None
        return self.images.source(int(self.rows_M[index]))

    def name(self, index: int) -> str:
        """Returns what a person calls the image."""
        return self.images.name(int(self.rows_M[index]))


@dataclass(frozen=True, slots=True, eq=False)
class SomePixels(SomeImages):
    """Some of a split's images that are decoded already.

    Args:
        pixels: Theirs, uint8 (M, H, W[, 3]).
    """

    pixels: NDArray[np.uint8]


def subset(split: Split, rows_M: NDArray[np.int64]) -> Split:
    """Returns the split with these rows only, in their order."""
    images: Images = SomeImages(split.images, rows_M)
    if isinstance(split.images, PixelImages):
        images = SomePixels(split.images, rows_M, split.images.pixels[rows_M])

    return Split(
        images=images,
        labels_N=split.labels_N[rows_M],
        targets_NK=None if split.targets_NK is None else split.targets_NK[rows_M],
        weights_N=None if split.weights_N is None else split.weights_N[rows_M],
        groups_N=None if split.groups_N is None else split.groups_N[rows_M],
    )


def strata_of(split: Split) -> NDArray[np.int64]:
    """Returns what the images of a split are stratified by."""
    return split.labels_N if split.targets_NK is None else strata(split.targets_NK)


def lost_classes(
    data: DataSet, before: Mapping[str, Split], after: Mapping[str, Split]
) -> list[str]:
    """Returns a line for each split that has no image of classes any more.

    Args:
        data: The data set, which says what the classes are called.
        before: What each split was taken from.
        after: What was taken.
    """
    notes = []
    for name, split in after.items():
        lost = np.setdiff1d(present_classes(before[name]), present_classes(split))
        if len(lost):
            labels = listed([data.classes[index] for index in lost])
            notes.append(f"{name} is left without images of {labels}")
    return notes


def present_classes(split: Split) -> NDArray[np.int64]:
    """Returns the classes that a split has images of, ascending."""
    if split.targets_NK is None:
        return np.unique(split.labels_N)
    return np.flatnonzero(split.targets_NK.any(axis=0)).astype(np.int64)


def stratified_rows(labels_N: NDArray[np.int64], *, count: int, seed: int) -> NDArray[np.int64]:
    """Returns ``count`` rows, ascending, each class in its proportion and none lost if it fits.

    Rows are ranked within their class by counted numbers, so a larger count keeps the rows of a
    smaller one of the same seed.
    """
    if count >= len(labels_N):
        return np.arange(len(labels_N))
    chance_N = uniform(Stream.SUBSET, seed, 0, np.arange(len(labels_N)), count=1)[:, 0]
    by_class = np.lexsort((chance_N, labels_N))
    _, first, counts = np.unique(labels_N[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(labels_N)) - np.repeat(first, counts)
    # The row of rank r in a class of n is due at (r + 1/2) / n: taking rows in that order keeps
    # proportions at every count. The first of each class comes before all others.
    due = np.where(rank == 0, 0.0, (rank + 0.5) / np.repeat(counts, counts))
    chosen = np.lexsort((chance_N[by_class], due))[:count]
    return np.sort(by_class[chosen]).astype(np.int64)


def with_fewer_images(data: DataSet, *, limit: int | None, fraction: float, seed: int) -> DataSet:
    """Returns the data set with at most ``limit`` images a split, and a share of the training ones.

    Args:
        data: The whole data set.
        limit: Largest number of images in each split; None for all.
        fraction: Share of the training images, in (0, 1]. Other splits stay whole, so accuracies
            at several fractions can be compared.
        seed: Of the choice.
    """
    wanted = {name: len(split.labels_N) for name, split in data.splits.items()}
    wanted["train"] = max(1, round(fraction * wanted["train"]))
    if limit is not None:
        wanted = {name: min(limit, count) for name, count in wanted.items()}
    if all(wanted[name] == len(split.labels_N) for name, split in data.splits.items()):
        return data
    splits: Mapping[str, Split] = {
        name: subset(split, stratified_rows(strata_of(split), count=wanted[name], seed=seed))
        for name, split in data.splits.items()
    }
    digest = hashlib.sha256(data.fingerprint.encode())
    digest.update(f"{sorted(wanted.items())} {seed}".encode())
    counts = ", ".join(
        f"{wanted[name]:,} of {len(split.labels_N):,} {name}"
        for name, split in data.splits.items()
        if wanted[name] < len(split.labels_N)
    )
    return replace(
        data, splits=splits, fingerprint=digest.hexdigest(),
        notes=(
            *data.notes, f"a part of the data: {counts}", *lost_classes(data, data.splits, splits),
        ),
    )  # fmt: skip
