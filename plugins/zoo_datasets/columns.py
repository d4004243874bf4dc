"""Which column of a Hugging Face data set is the image and which the label, and its labels.

Suffixes: N rows that have a label, K classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.reading.partition import class_order
from zoo.errors import DataError, UsageError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Labels", "image_column", "label_column", "read_labels"]

IMAGE_NAMES = ("image", "img", "images", "jpg", "png", "photo", "picture")
LABEL_NAMES = (
    *("label", "labels", "fine_label", "class", "classes", "category", "target", "species", "y"),
    *("cls", "label_name", "class_name"),
)
"""Names that decide between several columns of a fitting type, the first that is there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """The labels of one split.

    Args:
        classes: Class names, position is index.
        rows_N: The rows that have a label.
        labels_N: Theirs.
        targets_NK: With several labels an image: 1 for each of them.
        bad: Why the others have none, by what a person calls the row.
    """

    classes: tuple[str, ...]
    rows_N: NDArray[np.int64]
    labels_N: NDArray[np.int64]
    targets_NK: NDArray[np.float32] | None = None
    bad: Mapping[str, str] = field(default_factory=dict)


def image_column(name: str, features: Mapping[str, Any], asked: str | None) -> str:
    """Returns the column of the images.

    Raises:
        UsageError: There is none, several, or none of the name asked for.
    """
    typed = [key for key, feature in features.items() if _is_image(feature)]
    fitting = typed or [key for key, feature in features.items() if _holds_bytes(feature)]
    return _column(name, features, asked, fitting, preferred=IMAGE_NAMES, what="image")


def label_column(name: str, features: Mapping[str, Any], asked: str | None, *, image: str) -> str:
    """Returns the column of the labels.

    Raises:
        UsageError: There is none, several, or none of the name asked for.
    """
    others = {key: feature for key, feature in features.items() if key != image}
    classed = [key for key, feature in others.items() if _class_names(feature) is not None]
    if not classed:
        plain = [key for key, feature in others.items() if _is_plain(feature)]
        classed = [key for key in plain if key.lower() in LABEL_NAMES]
        if asked is not None:
            classed = plain
    elif asked is not None:
        classed += [key for key, feature in others.items() if _is_plain(feature)]
    return _column(name, features, asked, classed, preferred=LABEL_NAMES, what="label")


def _column(
    name: str,
    features: Mapping[str, Any],
    asked: str | None,
    fitting: Sequence[str],
    *,
    preferred: Sequence[str],
    what: str,
) -> str:
    columns = ", ".join(f"{printable(key)} ({_kind(value)})" for key, value in features.items())
    if asked is not None:
        if asked in fitting:
            return asked
        close = difflib.get_close_matches(asked, [*features], n=1, cutoff=0.6)
        wrong = "cannot be it" if asked in features else "is not there"
        raise UsageError(
            f"the {what} column {printable(asked)!r} of {printable(name)} {wrong}",
            found=f"the columns {columns}",
            hint=f"{what}={(close or list(fitting) or ['COLUMN'])[0]}",
        )
    if len(fitting) == 1:
        return fitting[0]
    lower = {key.lower(): key for key in reversed(fitting)}
    for choice in preferred:
        if choice in lower:
            return lower[choice]
    raise UsageError(
        f"{printable(name)} has {'several' if fitting else 'no'} columns that could be the {what}",
        found=f"the columns {columns}",
        hint=f"{what}={printable(fitting[0]) if fitting else 'COLUMN'}",
    )


def read_labels(table: Any, column: str, *, split: str) -> Labels:
    """Returns the labels of a split.

    Args:
        table: A ``datasets.Dataset``.
        column: A column that :func:`label_column` returned.
        split: What the source calls the split.

    Raises:
        DataError: Indices outside the class names.
    """
    feature = table.features[column]
    cells = table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    names = _class_names(feature)
    several = names is not None and not _is_class(feature)
    has_label = [_has_label(cell, several=several, indexed=names is not None) for cell in cells]
    rows_N = np.flatnonzero(np.asarray(has_label, dtype=bool)).astype(np.int64)
    bad = {f"{split}/{row}": "no label" for row, fine in enumerate(has_label) if not fine}
    kept = [cells[row] for row in rows_N]
    if names is None:
        texts = [_text(cell) for cell in kept]
        classes = class_order(texts)
        index_of = {text: index for index, text in enumerate(classes)}
        labels_N = np.asarray([index_of[text] for text in texts], dtype=np.int64)
        return Labels(classes=classes, rows_N=rows_N, labels_N=labels_N, bad=bad)
    flat = np.asarray([item for cell in kept for item in (cell if several else (cell,))], dtype=int)
    if len(flat) and not (flat.min() >= 0 and flat.max() < len(names)):
        raise DataError(
            f"the column {printable(column)} of the split {printable(split)} is damaged",
            found=f"classes {flat.min()} to {flat.max()}, of {len(names)}",
        )
    if not several:
        labels_N = np.asarray(kept, dtype=np.int64)
        return Labels(classes=names, rows_N=rows_N, labels_N=labels_N, bad=bad)
    targets_NK = np.zeros((len(kept), len(names)), dtype=np.float32)
    for row, cell in enumerate(kept):
        targets_NK[row, cell] = 1.0
    labels_N = targets_NK.argmax(axis=1).astype(np.int64)
    return Labels(classes=names, rows_N=rows_N, labels_N=labels_N, targets_NK=targets_NK, bad=bad)


def _has_label(cell: Any, *, several: bool, indexed: bool) -> bool:
    """Whether a cell is a label. The hub writes -1 for a class that is kept secret."""
    if several:
        return cell is not None
    return cell is not None and cell != "" and not (indexed and cell == -1)


def _text(cell: object) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell).strip()


def _kind(feature: Any) -> str:
    """Returns what a column holds, in a word or two."""
    if isinstance(feature, dict):
        return "record"
    dtype = getattr(feature, "dtype", "")
    return type(feature).__name__ + (f" {dtype}" if type(feature).__name__ == "Value" else "")


def _is_image(feature: Any) -> bool:
    from datasets import Image

    return isinstance(feature, Image)


def _holds_bytes(feature: Any) -> bool:
    """Whether a column is an image that lost its type: encoded bytes, alone or with a path."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _is_class(feature: Any) -> bool:
    from datasets import ClassLabel

    return isinstance(feature, ClassLabel)


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Returns the class names of a column of classes or of lists of classes, else None."""
    inner = getattr(feature, "feature", feature)
    return tuple(inner.names) if _is_class(inner) and inner.names else None


def _is_plain(feature: Any) -> bool:
    """Whether a column holds texts or whole numbers."""
    kinds = ("int", "uint", "string", "large_string", "bool")
    return type(feature).__name__ == "Value" and str(feature.dtype).startswith(kinds)
