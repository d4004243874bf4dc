"""NumPy ``.npz`` files as data sets. Nothing in them is unpickled.

Members go by the names that people give them, in any case and order, with or without a split:

    x_train, y_train, x_test, y_test            train_images, train_labels, val_images, ...
    X, y                                        images, labels

``classes`` (or ``class_names``) may hold a name for each number. A file in zoo's own packed format
(:mod:`zoo.data.reading.packed`) is read as well.

Shapes: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.members import array_names, read_members
from zoo.data.reading.packed import read_packed
from zoo.data.reading.partition import DEFAULT_FRACTIONS, SPLIT_NAMES
from zoo.data.reading.scan import listed
from zoo.data.reading.stacked import Stack, stacked_data
from zoo.errors import DataError, printable
from zoo.protocols import DataSet

__all__ = ["read_arrays", "to_pixels"]

_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("x", "image", "images", "data", "pixels", "imgs"), "images"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets"), "labels"),
}
_CLASS_NAMES = ("classes", "class_names", "label_names")
_EXPECTED = "x_train and y_train (with x_test, y_test), train_images and train_labels, or X and y"


def read_arrays(
    path: str | Path, *, seed: int, fractions: Sequence[float] = DEFAULT_FRACTIONS
) -> DataSet:
    """Returns the data set in a ``.npz`` file.

    Images are uint8 or whole numbers of 0..255, booleans, or floats of 0..1, which become
    ``round(255 * x)``. Shapes: (N, H, W), (N, H, W, 1 or 3), (N, 1 or 3, H, W). Labels are whole
    numbers or texts, (N,) or (N, 1), or 0 and 1 for each class, (N, K): one label an image where
    every row sums to 1, else several.

    Args:
        path: The file.
        seed: Of the split.
        fractions: Training, validation and, if any, test share.

    Raises:
        DataError: It is no such file, or its members are not images and labels.
    """
    place, where = Path(path), printable(path)
    names = _names(place)
    if "about" in names:
        return read_packed(place)
    keys = {key: name for name in names if (key := _meaning(name)) is not None}
    if problem := _incomplete(keys):
        raise DataError(
            f"{where} cannot be read as images and labels",
            found=f"{problem}; members {listed(names, most=8)}" if names else "no members",
            hint=_EXPECTED,
        )
    wanted = [*keys.values(), *(name for name in names if name.lower() in _CLASS_NAMES)]
    arrays = _load(place, wanted)
    called = next((_texts(arrays[n], n, where) for n in names if n.lower() in _CLASS_NAMES), None)
    splits = [split for split in ("train", "val", "test") if (split, "images") in keys]
    images = {s: to_pixels(arrays[keys[s, "images"]], name=keys[s, "images"]) for s in splits}
    labels = {s: _labels(arrays[keys[s, "labels"]], keys[s, "labels"], called) for s in splits}
    classes = called
    if any(isinstance(held, np.ndarray) for held in labels.values()):
        classes, labels = _columns(labels, called, where)
    return stacked_data(
        {s: Stack(pixels=images[s], labels=labels[s]) for s in splits},
        name=place.stem, where=where, seed=seed, fractions=fractions, classes=classes,
    )  # fmt: skip


def _names(path: Path) -> list[str]:
    """Returns the names of the arrays.

    Raises:
        DataError: It is no zip file of arrays, or they claim more than is there or allowed.
    """
    try:
        return array_names(path)
    except DataError:
        raise
    except Exception as error:
        # A damaged archive makes zipfile, zlib, numpy and ast raise nearly anything.
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    raise DataError(
        f"{printable(path)} is not a readable .npz file", found=printable(reason)[:200],
        hint="numpy.savez writes one",
    )  # fmt: skip


def _load(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    try:
        return read_members(path, names)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # as above
        reason = f"{type(error).__name__}: {error}"
    raise DataError(f"{printable(path)} is damaged", found=printable(reason)[:200])


def _meaning(name: str) -> tuple[str, str] | None:
    """Returns (split, ``images`` or ``labels``) that a member's name means. No split is train.

    >>> _meaning("X_test"), _meaning("val_labels"), _meaning("images"), _meaning("weights")
    (('test', 'images'), ('val', 'labels'), ('train', 'images'), None)
    """
    split, what = "train", ""
    parts = [part for part in re.split(r"[-_. ]+", name.lower()) if part]
    for part in parts:
        if part in SPLIT_NAMES:
            split = SPLIT_NAMES[part]
        elif part in _WORDS and not what:
            what = _WORDS[part]
        else:
            return None
    return (split, what) if what and len(parts) <= 2 else None


def _incomplete(keys: Mapping[tuple[str, str], str]) -> str:
    """Returns what is missing."""
    splits = {split for split, _ in keys} | {"train"}
    missing = [
        f"{what} of {split}"
        for split in ("train", "val", "test")
        for what in ("images", "labels")
        if split in splits and (split, what) not in keys
    ]
    return f"no {listed(missing)}" if missing else ""


def to_pixels(values: NDArray[np.generic], *, name: str) -> NDArray[np.uint8]:
    """Returns images as uint8 of shape (N, H, W) or (N, H, W, 3).

    Raises:
        DataError: A shape or range that is not that of images. The message says which.
    """
    shape = values.shape
    if values.ndim == 4 and shape[3] == 1:
        values = values[..., 0]
    elif values.ndim == 4 and shape[3] != 3 and shape[1] in (1, 3):
        values = values[:, 0] if shape[1] == 1 else values.transpose(0, 2, 3, 1)
    if not (values.ndim == 3 or (values.ndim == 4 and values.shape[3] == 3)) or 0 in shape:
        raise DataError(
            f"{printable(name)} cannot be read as images",
            found=f"the shape {shape}",
            hint="(N, H, W), (N, H, W, 3) or (N, 3, H, W)",
        )
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values, dtype=np.uint8)
    kind = values.dtype.kind
    if kind == "b":
        return np.ascontiguousarray(values).astype(np.uint8) * np.uint8(255)
    if kind not in "iuf":
        raise DataError(f"{printable(name)} cannot be read as images", found=f"{values.dtype}")
    numbers = cast("NDArray[np.float64]", values)
    low, high, full = float(numbers.min()), float(numbers.max()), 1.0 if kind == "f" else 255.0
    if not (low >= 0.0 and high <= full):  # written so that a NaN fails it
        raise DataError(
            f"{printable(name)} holds {values.dtype} values from {low:g} to {high:g}",
            hint="floats of 0 to 1, or whole numbers of 0 to 255 saved as uint8",
        )
    pixels = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(pixels), 1024):  # in blocks: a float64 copy of all could be 8 times
        block = np.asarray(numbers[start : start + 1024], dtype=np.float64)
        pixels[start : start + 1024] = np.rint(block * 255.0) if kind == "f" else block
    return pixels


def _texts(values: NDArray[np.generic], name: str, where: str) -> list[str]:
    """Returns an array of texts or numbers as texts."""
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise DataError(
            f"{printable(name)} in {where} is no list of names", found=f"{values.dtype}"
        )
    if values.dtype.kind == "S":
        return [bytes(value).decode("utf-8", "replace") for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def _labels(
    values: NDArray[np.generic], name: str, called: Sequence[str] | None
) -> list[str] | NDArray[np.uint8]:
    """Returns class names (N), or 0 and 1 for each class (N, K)."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    kind = values.dtype.kind
    if values.ndim == 2 and kind in "biuf" and np.isin(values, (0, 1)).all():
        return values.astype(np.uint8)
    whole = kind in "biu" or (kind == "f" and bool(np.equal(np.mod(values, 1), 0).all()))
    if values.ndim != 1 or not (whole or kind in "US"):
        raise DataError(
            f"{printable(name)} cannot be read as labels",
            found=f"{values.dtype} of shape {values.shape}",
            hint="whole numbers or texts (N), or 0 and 1 for each class (N, K)",
        )
    if not whole:
        return _texts(values, name, "the file")
    numbers = values.astype(np.int64).tolist()
    if called is None:
        return [str(number) for number in numbers]
    if outside := sorted({number for number in numbers if not 0 <= number < len(called)}):
        raise DataError(
            f"{printable(name)} holds labels without a name",
            found=f"{listed([str(n) for n in outside], most=5)}, and {len(called)} names",
        )
    return [called[number] for number in numbers]


def _columns(
    labels: Mapping[str, list[str] | NDArray[np.uint8]], called: Sequence[str] | None, where: str
) -> tuple[list[str] | None, dict[str, list[str] | NDArray[np.uint8]]]:
    """Returns classes and labels where a column is a class: single labels if all rows sum to 1."""
    tables = {split: held for split, held in labels.items() if isinstance(held, np.ndarray)}
    widths = {table.shape[1] for table in tables.values()}
    if len(tables) < len(labels) or len(widths) > 1:
        raise DataError(f"the labels of the splits in {where} are of different kinds")
    classes = list(called) if called else [str(column) for column in range(widths.pop())]
    several = any((table.sum(axis=1) != 1).any() for table in tables.values())
    if several or any(table.shape[1] != len(classes) for table in tables.values()):
        return classes, dict(tables)
    return classes, {s: [classes[k] for k in table.argmax(axis=1)] for s, table in tables.items()}
