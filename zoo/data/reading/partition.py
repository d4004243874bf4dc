"""What readers of files and folders share: names of splits, splits that are made, what is odd.

Suffixes: N images.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.scan import listed
from zoo.data.splits import spare_group, stratified_split
from zoo.errors import DataError

__all__ = [
    "DEFAULT_FRACTIONS",
    "SPLIT_NAMES",
    "class_notes",
    "class_order",
    "digest",
    "fill_splits",
    "two_classes",
]

DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)

SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What folders, columns, files and arrays call the splits, in lower case."""


def fill_splits(
    rows: Mapping[str, Sequence[int]] | Mapping[str, NDArray[np.int64]],
    strata_N: Sequence[int] | NDArray[np.int64],
    *,
    seed: int,
    fractions: Sequence[float],
    notes: list[str],
    groups_N: Sequence[Hashable] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Returns the positions of each split, with validation taken from training where there is none.

    Where test is there, training and validation keep their shares to each other. Where neither is
    there, all three are made.

    Args:
        rows: Positions by split, ``train`` among them.
        strata_N: What the splits are stratified by, mostly the class, for every position.
        seed: Another seed gives another split.
        fractions: Training, validation and, if any, test share.
        notes: Takes a line for what was done that is not plain.
        groups_N: What must stay together.

    Raises:
        DataError: The fractions or the images leave no validation split.
    """
    result = {split: np.asarray(positions, dtype=np.int64) for split, positions in rows.items()}
    if "val" not in result:
        shares = dict(zip(("train", "val", "test"), fractions, strict=False))
        if len(fractions) not in (2, 3) or not shares["val"] > 0:
            raise DataError(
                f"the fractions {list(fractions)} leave no validation split",
                hint="training, validation and test shares that sum to 1, as 0.8, 0.1, 0.1",
            )
        if "test" in result:
            shares.pop("test", None)
            notes.append("validation was split from training")
        total, train_N = sum(shares.values()), result["train"]
        made = stratified_split(
            np.asarray(strata_N, dtype=np.int64)[train_N],
            fractions=[share / total for share in shares.values()],
            seed=seed,
            groups_N=None if groups_N is None else [groups_N[row] for row in train_N],
        )
        if groups_N is not None and not len(made[1]):  # each of them is more than its share
            spare_N = spare_group(
                np.asarray(strata_N, dtype=np.int64)[train_N[made[0]]],
                groups_N=[groups_N[row] for row in train_N[made[0]]], seed=seed,
            )  # fmt: skip
            made = (np.delete(made[0], spare_N), made[0][spare_N], *made[2:])
        for split, chosen_N in zip(shares, made, strict=True):
            if len(chosen_N):
                result[split] = train_N[chosen_N]
            elif split == "val":
                what = "images" if groups_N is None else "groups"
                raise DataError(
                    f"too few {what} for a validation split: {len(train_N)}"
                    + ("" if groups_N is None else " images"),
                    hint="add images, or name a validation split yourself",
                )
            elif shares[split] > 0:
                notes.append(f"too few images for a {split} split: it was left out")
    return {split: result[split] for split in ("train", "val", "test") if split in result}


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns class names in the order of their indices.

    Names that are all whole numbers go by value, others by their code points.

    >>> class_order(["10", "9", "2"]), class_order(["dog", "cat"])
    (('2', '9', '10'), ('cat', 'dog'))
    """
    distinct = set(names)
    if all(_is_whole(name) for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def _is_whole(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal() and len(digits) < 20


def two_classes(classes: Sequence[str], where: str) -> None:
    """Raises a DataError where there is nothing to tell apart."""
    if len(classes) < 2:
        found = f"only the class {listed(classes)}" if classes else "no class"
        raise DataError(
            f"{where} cannot be read as a data set",
            found=f"{found} in train",
            hint="images of two classes at least",
        )


def class_notes(
    classes: Sequence[str], labels: Mapping[str, Sequence[int] | NDArray[np.int64]]
) -> list[str]:
    """Returns what is odd about the classes: none in a split, or names that look the same."""
    notes = []
    for split, labels_N in labels.items():
        if missing := sorted(set(range(len(classes))) - {int(label) for label in labels_N}):
            notes.append(
                f"{split} has no images of {listed([classes[index] for index in missing])}"
            )
    looks: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        looks[unicodedata.normalize("NFC", name).casefold()].append(name)
    notes += [f"classes that look alike: {listed(names)}" for names in looks.values() if names[1:]]
    return notes


def digest(lines: Iterable[str]) -> str:
    """Returns SHA-256 over the lines in sorted order. Surrogates of odd file names are taken."""
    made = hashlib.sha256()
    for line in sorted(lines):
        made.update(line.encode("utf-8", "surrogatepass"))
        made.update(b"\n")
    return made.hexdigest()
