"""Which column of a manifest holds what: by names that people give them, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.data.reading.scan import SUFFIXES, bullets, listed
from zoo.errors import DataError, printable

__all__ = ["SOFT_PREFIX", "Columns", "Wanted", "find_columns"]

SOFT_PREFIX = "label:"
"""``label:cat`` holds how much of each image is a cat."""

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("path", "image", "file", "filename", "file_name", "filepath", "file_path"),
        *("image_path", "image_file", "image_name", "img", "img_path", "img_name", "image_id"),
    ),
    "label": (
        *("label", "class", "target", "category", "class_name", "label_name", "category_name"),
        *("labels", "classes", "tags", "y"),
    ),
    "split_column": ("split", "subset", "partition", "set"),
    "weight": ("weight", "sample_weight", "weights"),
    "group": ("group", "group_id", "groups", "patient_id", "subject_id"),
}
"""Names by what they mean, the first that is there wins. Case does not count, - and space are _."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The columns that a user named. None: found by its usual names.

    Args:
        image: Path of the image.
        label: Class of the image.
        split_column: train, val or test.
        weight: How much an image counts in the training loss.
        group: What must stay in one split.
    """

    image: str | None = None
    label: str | None = None
    split_column: str | None = None
    weight: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Positions of the columns that are used.

    Args:
        image: Of the path.
        label: Of the label. None with ``soft``.
        soft: Position by class of the columns ``label:CLASS``, in their order.
        split: Of the split, if any.
        weight: Of the weight, if any.
        group: Of the group, if any.
        notes: What was chosen where there was a choice, a line each.
    """

    image: int
    label: int | None
    soft: Mapping[str, int]
    split: int | None
    weight: int | None
    group: int | None
    notes: Sequence[str]


def find_columns(names: Sequence[str], wanted: Wanted, *, where: str) -> Columns:
    """Returns where things are in the columns of these names.

    Raises:
        DataError: A column that the user named is not there, or none for the images or labels.
            All problems together.
    """
    notes: list[str] = []
    problems: list[str] = []
    folded = [_fold(name) for name in names]
    soft = {
        name[len(SOFT_PREFIX) :].strip(): position
        for position, name in enumerate(names)
        if name.lower().startswith(SOFT_PREFIX) and name[len(SOFT_PREFIX) :].strip()
    }

    def find(what: str, asked: str | None) -> int | None:
        if asked is not None:
            if asked in names:
                return names.index(asked)
            if _fold(asked) in folded:
                return folded.index(_fold(asked))
            problems.append(f"no column {printable(asked)}, named as {what}")
            return None
        there = [name for name in _SYNONYMS[what] if name in folded]
        if len(there) > 1:
            others = listed([names[folded.index(name)] for name in there[1:]])
            chosen = printable(names[folded.index(there[0])])
            notes.append(f"column {chosen} is the {what.removesuffix('_column')}, not {others}")
        return folded.index(there[0]) if there else None

    image = find("image", wanted.image)
    label = None if soft and wanted.label is None else find("label", wanted.label)
    if label is not None:
        soft = {}
    elif soft and (other := [name for name in _SYNONYMS["label"] if name in folded]):
        told = printable(names[folded.index(other[0])])
        notes.append(f"labels are the columns {SOFT_PREFIX}..., not {told}")
    if image is None and wanted.image is None:
        problems.append(f"no column for the images: {', '.join(_SYNONYMS['image'][:6])} or another")
    if label is None and not soft and wanted.label is None:
        problems.append(f"no column for the labels: {', '.join(_SYNONYMS['label'][:4])} or another")
    split = find("split_column", wanted.split_column)
    weight, group = find("weight", wanted.weight), find("group", wanted.group)
    if problems or image is None:
        no_header = any(name.lower().endswith(tuple(SUFFIXES)) for name in names)
        raise DataError(
            f"{where} cannot be read as a manifest\n{bullets(problems)}",
            found=f"the columns {listed(names)}" if any(names) else "no columns",
            hint="the first line must name the columns: path,label" if no_header
            else "name them: --data manifest:path=FILE,image=COLUMN,label=COLUMN",
        )  # fmt: skip
    return Columns(
        image=image, label=label, soft=soft, split=split, weight=weight, group=group, notes=notes
    )


def _fold(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
