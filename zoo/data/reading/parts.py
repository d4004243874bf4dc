"""Labelled images, part by part, into a data set: for sources that hold files or encoded images.

A source says which images a part has, what its labels are indices into, and how to peek at an
image. Here the images are looked at, labels of all parts are brought to the classes of training by
name, and a validation split is taken from training where there is none.

Suffixes: N images, K classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.cores import num_cores
from zoo.data.reading.partition import class_notes, fill_splits
from zoo.data.reading.scan import bullets, listed
from zoo.data.subset import present_classes, strata_of, subset
from zoo.data.threads import in_blocks
from zoo.errors import DataError, count_of, printable
from zoo.protocols import DataSet, Images, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data.reading.peeking import Peek

__all__ = ["Part", "data_set"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The images of one split, with labels in the words of their source.

    Args:
        images: The images, in a fixed order.
        classes: What the labels are indices into.
        labels_N: Index into ``classes`` for each image.
        targets_NK: With several labels an image: 1 for each of them, float32.
        peek: Looks at one image, from any thread; raises DataError when it is none.
        side: Without ``peek``: the shorter side of all images, pixels.
        digest: Without ``peek``: what changes when an image does.
    """

    images: Images
    classes: tuple[str, ...]
    labels_N: NDArray[np.int64]
    targets_NK: NDArray[np.float32] | None = None
    peek: Peek | None = None
    side: int = 0
    digest: bytes = b""

    def split(self) -> Split:
        """Returns the images and labels as they are."""
        return Split(images=self.images, labels_N=self.labels_N, targets_NK=self.targets_NK)


def data_set(
    parts: Mapping[str, Part],
    *,
    name: str,
    seed: int,
    fractions: Sequence[float],
    on_bad: str = "fail",
    notes: Sequence[str] = (),
    bad: Mapping[str, str] | None = None,
    to_train: bool = True,
) -> DataSet:
    """Returns the parts as a data set, every image looked at.

    Class indices are those of the training part, without the classes that it has no images of.
    Other parts are mapped by name.

    Args:
        parts: ``train``, and as far as they are there ``val`` and ``test``. Not to train: any.
        name: As the user named the data.
        seed: Of the split, where there is no ``val``.
        fractions: Training, validation and, if any, test share, for the parts that are not there.
        on_bad: ``fail`` names all unreadable images, ``skip`` leaves them out and lists them.
        notes: What the source noticed.
        bad: What the source itself had to leave out, name to reason. With ``fail`` it is an error.
        to_train: Whether a run is trained on it. Else any parts of any classes will do, and
            nothing is divided.

    Raises:
        DataError: Unreadable images, classes that training lacks, or too little to train on.
    """
    remarks = list(notes)
    left_out = dict(bad or {})
    total = sum(len(part.labels_N) for part in parts.values()) + len(left_out)
    looked: dict[str, Part] = {}
    sides: list[NDArray[np.int64]] = []
    for split, part in parts.items():
        looked[split], sides_N, reasons = _look(part)
        sides.append(sides_N)
        left_out |= reasons
    if left_out and on_bad != "skip":
        lines = [f"{printable(key)}: {printable(reason)}" for key, reason in left_out.items()]
        raise DataError(
            f"{len(left_out)} of {total} images of {printable(name)} cannot be used\n"
            + bullets(lines),
            hint="replace or remove them, or leave them out with --on-bad skip",
        )
    if left_out:
        listed_ones = listed(list(left_out), most=3)
        number = count_of(len(left_out), "image")
        remarks.append(f"left out {number} that cannot be used: {listed_ones}")
    for split in [split for split, part in looked.items() if not len(part.labels_N)]:
        remarks.append(f"{split} has no images, as if it were not there")
        del looked[split]
    if not looked or (to_train and "train" not in looked):
        raise DataError(f"{printable(name)} has no {'training ' if to_train else ''}images")
    classes = _classes(name, looked, remarks) if to_train else _every_class(looked)
    whole = {split: _by_name(part, classes) for split, part in looked.items()}
    splits, positions = whole, dict[str, "NDArray[np.int64]"]()
    if to_train:
        splits, positions = _filled(whole, seed=seed, fractions=fractions, notes=remarks)
    remarks += class_notes(classes, {key: present_classes(split) for key, split in splits.items()})
    return DataSet(
        name=name,
        classes=classes,
        splits=splits,
        fingerprint=_fingerprint(classes, looked, whole, positions),
        typical_side=int(np.median(np.concatenate(sides))) or None,
        multi_label=next(iter(looked.values())).targets_NK is not None,
        bad=left_out,
        notes=tuple(remarks),
    )


def _look(part: Part) -> tuple[Part, NDArray[np.int64], dict[str, str]]:
    """Returns the part without unreadable images, the shorter sides, and reason by name."""
    peek, images = part.peek, part.images
    if peek is None:
        return part, np.full(len(part.labels_N), part.side, dtype=np.int64), {}

    def look(block: range) -> tuple[list[tuple[int, bytes]], dict[int, str]]:
        found, reasons = [], {}
        for index in block:
            try:
                found.append(peek(index))
            except (DataError, OSError) as error:
                found.append((0, b""))
                reasons[index] = getattr(error, "found", "") or str(error)
        return found, reasons

    sides_N = np.zeros(len(images), dtype=np.int64)
    marks = [b""] * len(images)
    reasons: dict[int, str] = {}
    for block, (found, wrong) in in_blocks(look, len(images), num_threads=num_cores(), size=256):
        for index, (side, mark) in zip(block, found, strict=True):
            sides_N[index], marks[index] = side, mark
        reasons |= wrong
    rows = [row for row in range(len(images)) if row not in reasons]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(
            images.name(row).encode("utf-8", "surrogatepass") + b"\0" + marks[row] + b"\n"
        )
    rows_N = np.asarray(rows, dtype=np.int64)
    kept = subset(part.split(), rows_N) if reasons else part.split()
    part = replace(
        part, images=kept.images, labels_N=kept.labels_N, targets_NK=kept.targets_NK,
        digest=digest.digest(),
    )  # fmt: skip
    return part, sides_N[rows_N], {images.name(row): reasons[row] for row in sorted(reasons)}


def _used(part: Part) -> set[str]:
    """Returns the classes that a part has images of; with several labels an image, all."""
    if part.targets_NK is not None:
        return set(part.classes)
    return {part.classes[index] for index in np.unique(part.labels_N)}


def _classes(name: str, parts: Mapping[str, Part], notes: list[str]) -> tuple[str, ...]:
    """Returns the classes that training has images of, in the order of the source."""
    used = {split: _used(part) for split, part in parts.items()}
    problems = [
        f"{split} has images of {listed(sorted(classes - used['train']))}, which train has none of"
        for split, classes in used.items()
        if classes - used["train"]
    ]
    if len(used["train"]) < 2:
        problems.append(f"only one class: {listed(sorted(used['train']))}")
    if problems:
        raise DataError(f"{printable(name)} cannot be trained on\n{bullets(problems)}")
    if without := [label for label in parts["train"].classes if label not in used["train"]]:
        notes.append(f"classes without images were left out: {listed(without)}")
    return tuple(label for label in parts["train"].classes if label in used["train"])


def _every_class(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """Returns the classes that any part has images of."""
    return tuple(dict.fromkeys(label for part in parts.values() for label in sorted(_used(part))))


def _by_name(part: Part, classes: tuple[str, ...]) -> Split:
    """Returns the split with its labels as indices into ``classes``."""
    if part.classes == classes:
        return part.split()
    index_of = {label: index for index, label in enumerate(classes)}
    moved = np.asarray([index_of.get(label, -1) for label in part.classes], dtype=np.int64)
    if part.targets_NK is None:
        return Split(images=part.images, labels_N=moved[part.labels_N])
    targets_NK = np.zeros((len(part.targets_NK), len(classes)), dtype=np.float32)
    targets_NK[:, moved] = part.targets_NK
    labels_N = targets_NK.argmax(axis=1).astype(np.int64)
    return Split(images=part.images, labels_N=labels_N, targets_NK=targets_NK)


def _filled(
    splits: Mapping[str, Split], *, seed: int, fractions: Sequence[float], notes: list[str]
) -> tuple[dict[str, Split], dict[str, NDArray[np.int64]]]:
    """Returns the splits with validation taken from training, and the rows of each."""
    strata_N = np.concatenate([strata_of(split) for split in splits.values()])
    rows: dict[str, NDArray[np.int64]] = {}
    start = 0
    for key, split in splits.items():
        rows[key] = np.arange(start, start := start + len(split.labels_N))
    positions = fill_splits(rows, strata_N, seed=seed, fractions=fractions, notes=notes)
    filled = {}
    for key, positions_N in positions.items():
        origin = key if key in splits else "train"
        whole = len(positions_N) == len(rows[origin])
        inside_N = positions_N - rows[origin][0]
        filled[key] = splits[origin] if whole else subset(splits[origin], inside_N)
    return filled, positions


def _fingerprint(
    classes: Sequence[str],
    parts: Mapping[str, Part],
    splits: Mapping[str, Split],
    positions: Mapping[str, NDArray[np.int64]],
) -> str:
    """Returns SHA-256 over classes, images, labels, and which rows went to which split."""
    digest = hashlib.sha256("\0".join(classes).encode("utf-8", "surrogatepass"))
    for split in sorted(parts):
        digest.update(f"\n{split}\n".encode() + parts[split].digest)
        digest.update(splits[split].labels_N.tobytes())
        if (targets_NK := splits[split].targets_NK) is not None:
            digest.update(np.ascontiguousarray(targets_NK).tobytes())
    for split in sorted(positions):
        digest.update(f"\nrows of {split}\n".encode() + positions[split].tobytes())
    return digest.hexdigest()
