"""Cross-validation: training and validation images put together and divided again.

Every image of the two is validated in exactly one fold. The test split is left alone, so it stays
what no run has seen.

Suffixes: N images, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.splits import stratified_split
from zoo.data.subset import lost_classes, strata_of, subset
from zoo.errors import DataError, printable
from zoo.protocols import DataSet, Images, PixelImages, SourcedImages, Split

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["joined", "with_fold"]


@dataclass(frozen=True, slots=True, eq=False)
class _JoinedImages:
    """The images of several splits in a row, what their names begin with where two are alike."""

    parts: tuple[Images, ...]
    starts: tuple[int, ...]
    prefixes: tuple[str, ...]

    def __len__(self) -> int:
        return self.starts[-1] + len(self.parts[-1])

    def _number(self, index: int) -> int:
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def _place(self, index: int) -> tuple[Images, int]:
        number = self._number(index)
        return self.parts[number], index - self.starts[number]

    def read(self, index: int) -> Image:
        """Returns the image as RGB, upright."""
        images, row = self._place(index)
        return images.read(row)

    def source(self, index: int) -> Path | bytes | None:
        """Returns where the image's encoded content is, None where the images do not say."""
        images, row = self._place(index)
        return images.source(row) if isinstance(images, SourcedImages) else None

    def name(self, index: int) -> str:
        """Returns what a person calls the image."""
        number = self._number(index)
        return self.prefixes[number] + self.parts[number].name(index - self.starts[number])


@dataclass(frozen=True, slots=True, eq=False)
class _JoinedPixels(_JoinedImages):
    """The images of several splits that are decoded already."""

    pixels: NDArray[np.uint8]


def joined(splits: Sequence[Split], *, called: Sequence[str] = ("train", "val")) -> Split:
    """Returns the splits in a row, as one.

    A name is that of one image within a split. Where another split has it, too, the names of all
    begin with what their split is called: whoever reviews folds knows an image by its name.

    Args:
        splits: As many as are called something.
        called: What each is called.
    """
    parts = tuple(split.images for split in splits)
    names = [part.name(row) for part in parts for row in range(len(part))]
    alike = len(set(names)) < len(names)
    prefixes = tuple(f"{name}/" if alike else "" for name in called)
    starts = tuple(int(n) for n in np.cumsum([0, *(len(part) for part in parts[:-1])]))
    images: Images = _JoinedImages(parts, starts, prefixes)
    stacked = [part.pixels for part in parts if isinstance(part, PixelImages)]
    if len(stacked) == len(parts) and len({pixels.shape[1:] for pixels in stacked}) == 1:
        images = _JoinedPixels(parts, starts, prefixes, np.concatenate(stacked))
    sizes = [len(split.labels_N) for split in splits]
    return Split(
        images=images,
        labels_N=np.concatenate([split.labels_N for split in splits]),
        targets_NK=None
        if any(split.targets_NK is None for split in splits)
        else np.concatenate([s.targets_NK for s in splits if s.targets_NK is not None]),
        weights_N=None
        if all(split.weights_N is None for split in splits)
        else np.concatenate(
            [
                np.ones(size, np.float32) if split.weights_N is None else split.weights_N
                for split, size in zip(splits, sizes, strict=True)
            ]
        ),
        groups_N=None
        if any(split.groups_N is None for split in splits)
        else np.concatenate([s.groups_N for s in splits if s.groups_N is not None]),
    )


def with_fold(data: DataSet, *, number: int, total: int, seed: int) -> DataSet:
    """Returns the data with fold ``number`` of ``total`` as its validation split.

    Folds are stratified by class; images of a group stay in one fold.

    Args:
        data: With ``train`` and ``val``, which are put together.
        number: From 1.
        total: How many folds there are.
        seed: Another seed makes other folds.

    Raises:
        DataError: There are too few images or groups for so many folds.
    """
    whole = joined([data.splits["train"], data.splits["val"]])
    parts = stratified_split(
        strata_of(whole), fractions=[1 / total] * total, seed=seed,
        groups_N=None if whole.groups_N is None else whole.groups_N.tolist(), keep_in_first=False,
    )  # fmt: skip
    if smallest := [part for part in parts if not len(part)]:
        what = "images" if whole.groups_N is None else "groups"
        raise DataError(
            f"{printable(data.name)} has too few {what} for {total} folds",
            found=f"{len(smallest)} folds would be empty", hint="fewer --folds",
        )  # fmt: skip
    val_N = parts[number - 1]
    train_N = np.setdiff1d(np.arange(len(whole.labels_N)), val_N)
    digest = hashlib.sha256(f"{data.fingerprint} fold {number}/{total} {seed}".encode())
    digest.update(val_N.tobytes())  # which follow from the groups, too
    made = {"train": subset(whole, train_N), "val": subset(whole, val_N)}
    return replace(
        data,
        splits={**data.splits, **made},
        fingerprint=digest.hexdigest(),
        notes=(
            *data.notes, f"fold {number} of {total}: train and val were divided again",
            *lost_classes(data, {"train": whole, "val": whole}, made),
        ),
    )  # fmt: skip
