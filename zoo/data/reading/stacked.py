"""From arrays of decoded images to a data set. Shared by the readers of IDX, CIFAR and NumPy files.

Shapes: N images, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.packed import StackedImages, content_digest
from zoo.data.reading.partition import class_notes, class_order, digest, fill_splits, two_classes
from zoo.data.reading.scan import listed
from zoo.data.splits import strata
from zoo.data.subset import present_classes
from zoo.errors import DataError
from zoo.protocols import DataSet, Split

__all__ = ["Stack", "stacked_data"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """The images of one split as they are in a file.

    Args:
        pixels: uint8, (N, H, W) grey or (N, H, W, 3) RGB.
        labels: Class name of each image, or for several labels each an array (N, K) of 0 and 1.
    """

    pixels: NDArray[np.uint8]
    labels: Sequence[str] | NDArray[np.uint8]


def stacked_data(
    stacks: Mapping[str, Stack],
    *,
    name: str,
    where: str,
    seed: int,
    fractions: Sequence[float],
    classes: Sequence[str] | None = None,
) -> DataSet:
    """Returns the data set, with validation taken from training where there is none.

    Args:
        stacks: By split.
        name: As the user named it.
        where: The file, as messages show it.
        seed: Of the split.
        fractions: Training, validation and, if any, test share.
        classes: All class names in order, where the file tells them. Else those of training.

    Raises:
        DataError: There is no training split, fewer than two classes, a class that training does
            not know, or splits of different sizes or colours.
    """
    if "train" not in stacks:
        raise DataError(
            f"{where} cannot be read as a data set",
            found=f"{listed(list(stacks)) or 'nothing'} without train",
            hint="training images and labels beside it",
        )
    multi_label = not all(isinstance(stack.labels, list | tuple) for stack in stacks.values())
    if classes is None:
        classes = class_order(stacks["train"].labels) if not multi_label else ()
    classes = tuple(classes)
    two_classes(classes, where)
    if len({stack.pixels.shape[1:] for stack in stacks.values()}) > 1:
        shapes = [f"{split} {stack.pixels.shape}" for split, stack in stacks.items()]
        raise DataError(
            f"the splits in {where} have different shapes",
            found=", ".join(shapes),
            hint="images of one size and either grey or colour",
        )
    shares_NK = [_shares(stack, split, classes, where) for split, stack in stacks.items()]
    targets_NK = np.concatenate(shares_NK)
    labels_N = targets_NK.argmax(axis=1).astype(np.int64)
    starts = np.cumsum([0, *(len(shares) for shares in shares_NK)])
    rows = {s: np.arange(starts[i], starts[i + 1]) for i, s in enumerate(stacks)}
    notes: list[str] = []
    strata_N = strata(targets_NK) if multi_label else labels_N
    rows_N = fill_splits(rows, strata_N, seed=seed, fractions=fractions, notes=notes)
    origin = {"val": "train", "test": "train"} | {split: split for split in stacks}
    splits: dict[str, Split] = {}
    for split, positions_N in rows_N.items():
        source = origin[split]
        inside_N = positions_N - rows[source][0]
        pixels = stacks[source].pixels
        if len(inside_N) < len(pixels):
            pixels = pixels[inside_N]
        pixels.flags.writeable = False
        splits[split] = Split(
            images=StackedImages(pixels=pixels, names=[f"{source}-{i:05}" for i in inside_N]),
            labels_N=labels_N[positions_N],
            targets_NK=targets_NK[positions_N].astype(np.float32) if multi_label else None,
        )
    return DataSet(
        name=name,
        classes=classes,
        splits=splits,
        fingerprint=_fingerprint(classes, splits),
        typical_side=min(stacks["train"].pixels.shape[1:3]),
        multi_label=multi_label,
        notes=(
            *notes,
            *class_notes(classes, {key: present_classes(part) for key, part in splits.items()}),
        ),
    )


def _shares(stack: Stack, split: str, classes: Sequence[str], where: str) -> NDArray[np.uint8]:
    """Returns (N, K): 1 for each label of an image."""
    if isinstance(stack.labels, np.ndarray):
        shares_NK = stack.labels
        if shares_NK.shape[1] != len(classes):
            raise DataError(
                f"the labels of {split} in {where} do not fit the classes",
                found=f"{shares_NK.shape[1]} columns for {len(classes)} classes",
            )
    else:
        index = {label: position for position, label in enumerate(classes)}
        if unknown := sorted({label for label in stack.labels if label not in index}):
            raise DataError(
                f"{split} in {where} has classes that train has not",
                found=listed(unknown),
                hint="take them out, or add images of them to train",
            )
        shares_NK = np.zeros((len(stack.labels), len(classes)), dtype=np.uint8)
        columns = [index[label] for label in stack.labels]
        shares_NK[np.arange(len(columns)), columns] = 1
    if len(shares_NK) != len(stack.pixels):
        raise DataError(
            f"{split} in {where} has {len(stack.pixels)} images and {len(shares_NK)} labels"
        )
    if not len(shares_NK):
        raise DataError(f"{split} in {where} has no images")
    return shares_NK


def _fingerprint(classes: Sequence[str], splits: Mapping[str, Split]) -> str:
    """Returns SHA-256 over class names, splits, labels and pixels."""
    members: dict[str, NDArray[np.generic]] = {}
    for split, part in splits.items():
        assert isinstance(part.images, StackedImages)
        members[f"{split}.pixels"] = part.images.pixels
        members[f"{split}.labels"] = part.labels_N
        if part.targets_NK is not None:
            members[f"{split}.targets"] = part.targets_NK
    numbered = [f"{index} {label}" for index, label in enumerate(classes)]
    return digest([content_digest(members), *numbered])
