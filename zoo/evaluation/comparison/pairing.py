"""Whether two runs were examined on the same images, so that they can be compared image by image.

Suffixes: N images, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.errors import printable
from zoo.protocols import Images, PixelImages, SourcedImages
from zoo.runs.checkpoint import file_digest

if TYPE_CHECKING:
    from zoo.evaluation.examined import Examined
    from zoo.evaluation.predictions import Predictions

__all__ = ["in_order_of", "why_not_paired"]


def in_order_of(predictions: Predictions, classes: tuple[str, ...]) -> Predictions:
    """Returns predictions with their classes in another order; the classes must be the same ones.

    >>> from zoo.evaluation.predictions import Predictions
    >>> one = Predictions(names=("x",), classes=("b", "a"), logits_NK=torch.tensor([[1.0, 2.0]]),
    ...                   labels_N=torch.tensor([0]))
    >>> other = in_order_of(one, ("a", "b"))
    >>> other.logits_NK.tolist(), other.labels_N.tolist()
    ([[2.0, 1.0]], [1])
    """
    if predictions.classes == classes:
        return predictions
    place = {name: index for index, name in enumerate(predictions.classes)}
    from_K = torch.tensor([place[name] for name in classes])
    to_K = torch.argsort(from_K)
    targets_NK = predictions.targets_NK
    known_N = predictions.labels_N >= 0
    labels_N = torch.where(known_N, to_K[predictions.labels_N.clamp(min=0)], predictions.labels_N)
    return replace(
        predictions, classes=classes, logits_NK=predictions.logits_NK[:, from_K], labels_N=labels_N,
        targets_NK=None if targets_NK is None else targets_NK[:, from_K],
    )  # fmt: skip


def why_not_paired(first: Examined, second: Examined) -> str | None:
    """Returns why two runs cannot be compared image by image, None if they can.

    They can when they know the same classes and were examined on the same images with the same
    labels in the same order. Where the fingerprint of the data is another (other training images
    change it too), or that of its files on this machine (a fingerprint knows names and sizes, and
    all bitmaps of one size have as many bytes), the images themselves are compared.
    """
    one, other = first.predictions, second.predictions
    if one.multi_label != other.multi_label:
        return "images have several labels in one run and one label in the other"
    if set(one.classes) != set(other.classes):
        gone = sorted(set(one.classes) ^ set(other.classes))
        return f"their classes differ: {_listed(gone)}"
    if len(one) != len(other):
        return f"they were examined on {len(one):,} and {len(other):,} images"
    if one.names != other.names:
        number = sum(a != b for a, b in zip(one.names, other.names, strict=True))
        return f"they were examined on other images: {number:,} of {len(one):,} names differ"
    same_order = in_order_of(other, one.classes)
    if not torch.equal(one.target, same_order.target):
        different = (one.target != same_order.target).reshape(len(one), -1).any(1)
        return f"{int(different.sum()):,} of {len(one):,} images have another label"
    known = [(p.facts.get("fingerprint"), p.facts.get("stamp")) for p in (one, other)]
    if known[0] == known[1] and known[0][0] is not None:
        return None
    if not _same_content(first.part.images, second.part.images):
        return "images of the same name are not the same images"
    return None


def _same_content(first: Images, second: Images) -> bool:
    """Whether all images are the same, compared as cheaply as they allow."""
    if isinstance(first, PixelImages) and isinstance(second, PixelImages):
        return np.array_equal(first.pixels, second.pixels)
    return all(_same_image(first, second, index) for index in range(len(first)))


def _same_image(first: Images, second: Images, index: int) -> bool:
    if isinstance(first, SourcedImages) and isinstance(second, SourcedImages):
        one, other = first.source(index), second.source(index)
        if one is not None and other is not None:
            return one == other or _digest(one) == _digest(other)
    return first.read(index).tobytes() == second.read(index).tobytes()


def _digest(source: Path | bytes) -> str:
    if isinstance(source, Path):
        return file_digest(source)
    import hashlib

    return hashlib.sha256(source).hexdigest()


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name)[:60] for name in names[:most]) + more
