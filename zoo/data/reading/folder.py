"""A folder of images as a data set.

    DATA/train/cat/1.jpg  DATA/val/cat/7.jpg  DATA/test/cat/9.jpg      split already
    DATA/cat/1.jpg        DATA/dog/1.jpg                               a seeded stratified split

Everything below a class folder is of that class. A class is called as its folder, unless a
``classes.json`` that ``zoo data import`` wrote gives the name that could not be a folder's.

Suffixes: N images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from zoo.data.pixels.decode import open_image
from zoo.data.reading.headers import Headers, read_headers, refuse_or_skip
from zoo.data.reading.layout import LAYOUT, by_split_and_class
from zoo.data.reading.partition import (
    DEFAULT_FRACTIONS,
    SPLIT_NAMES,
    class_notes,
    digest,
    fill_splits,
)
from zoo.data.reading.scan import CLASS_NAMES_FILE, Scan, listed, scan_folder
from zoo.errors import DataError, count_of, printable
from zoo.protocols import DataSet, OnBad, Split

__all__ = ["CLASS_NAMES_FORMAT", "FileImages", "folder_as_it_is", "read_folder", "real_names"]

CLASS_NAMES_FORMAT = "zoo class names 1"
"""What a ``classes.json`` must say of itself to be believed."""

MAX_CLASS_NAMES_BYTES = 16_000_000

Labelled: TypeAlias = dict[str, dict[str, list[str]]]
"""Names of images by split and class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImages:
    """Images in files, decoded when they are read.

    Args:
        root: The folder that the names are below.
        names: Path of each image below ``root``, with forward slashes, or an absolute path.
    """

    root: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Image.Image:
        """Returns the image as RGB, upright.

        Raises:
            DataError: The file is gone, or is not a readable image.
        """
        return open_image(self.root / self.names[index], name=self.names[index])

    def source(self, index: int) -> Path:
        """Returns the file of the image."""
        return self.root / self.names[index]

    def name(self, index: int) -> str:
        """Returns the path of the image below the data folder."""
        return self.names[index]


def read_folder(
    path: str | Path,
    *,
    seed: int,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    on_bad: OnBad = "fail",
) -> DataSet:
    """Returns the images below a folder, with the header of each one checked.

    Class indices come from the training class names in order of their code points; other splits
    are mapped by name. The order of images is that of a file manager: ``2.png`` before ``10.png``.

    Args:
        path: The folder.
        seed: Of the split, where the folder is not split already.
        fractions: Training, validation and, if any, test share, for the parts that are not there.
        on_bad: ``fail``: images that cannot be read are an error that names them all. ``skip``:
            they are left out and listed in :attr:`~zoo.protocols.DataSet.bad`.

    Raises:
        DataError: The folder, its layout or its images cannot be used. All problems of the layout
            are listed together, and all unreadable images.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(
            f"{printable(path)} is not a folder",
            found="a file" if root.exists() else "nothing of that name",
            hint=LAYOUT,
        )
    scan = scan_folder(root)
    labelled = _with_real_names(root, by_split_and_class(root, scan))
    every = [name for group in labelled.values() for images in group.values() for name in images]
    headers = read_headers(root, every)
    where = printable(root)
    notes = [
        *scan.notes,
        *refuse_or_skip(headers.bad, on_bad=on_bad, total=len(every), where=where),
    ]
    if headers.bad:
        labelled = _without(labelled, headers.bad, where)
    classes = tuple(sorted(labelled["train"]))
    names, labels, rows = _flat(labelled, classes)
    rows_N = fill_splits(rows, labels, seed=seed, fractions=fractions, notes=notes)
    return DataSet(
        name=root.resolve().name or str(path),
        classes=classes,
        splits={
            split: Split(
                images=FileImages(root=root, names=tuple(names[row] for row in rows_N[split])),
                labels_N=np.asarray(labels, dtype=np.int64)[rows_N[split]],
            )
            for split in ("train", "val", "test")
            if split in rows_N
        },
        fingerprint=digest(
            f"{split}\0{classes[labels[row]]}\0{names[row]}\0{scan.sizes[names[row]]}"
            for split, positions_N in rows_N.items()
            for row in positions_N
        ),
        typical_side=int(np.median(list(headers.sides.values()))),
        bad=headers.bad,
        notes=(
            *notes,
            *class_notes(
                classes,
                {split: [labels[row] for row in rows] for split, rows in rows_N.items()},
            ),
        ),
    )


def folder_as_it_is(
    root: Path,
    scan: Scan,
    *,
    unsplit: str,
    on_bad: OnBad = "fail",
    known: Sequence[str] = (),
    keep_bad: bool = False,
) -> DataSet:
    """Returns the images below a folder to be looked at: nothing is divided, one class is enough.

    Images outside any class folder have no label.

    Args:
        root: The folder.
        scan: What is in it: images.
        unsplit: What the split of all images is called where no folder is called as a split.
        on_bad: As for :func:`read_folder`.
        known: Classes: folders that are all called so are no splits, as ``train`` of photos of
            trains.
        keep_bad: Have images that cannot be read among the others, for whoever reads on past them.

    Raises:
        DataError: Images cannot be read.
    """
    headers = Headers(sides={}, bad={}) if keep_bad else read_headers(root, list(scan.sizes))
    tops = {name.partition("/")[0] for name in scan.sizes if "/" in name}
    named = {} if tops <= set(known) else SPLIT_NAMES
    splits = {top: named[top.lower()] for top in tops if top.lower() in named}
    real = real_names(root)
    notes = [*scan.notes, *refuse_or_skip(headers.bad, on_bad=on_bad, total=len(scan.sizes),
                                          where=printable(root))]  # fmt: skip
    rows: dict[str, list[tuple[str, str | None]]] = {}
    for name in scan.sizes:
        if name in headers.bad:
            continue
        top, _, inner = name.partition("/")
        split = splits.get(top)
        folder, slash, _ = (inner if split else name).partition("/")
        label = real.get(folder, folder) if slash else None
        rows.setdefault(split or unsplit, []).append((name, label))
    if splits and (loose := rows.pop(unsplit, None)):
        notes.append(
            f"left out {count_of(len(loose), 'image')} in no split: "
            f"{listed([n for n, _ in loose], most=3)}"
        )
    found = tuple(
        sorted({label for part in rows.values() for _, label in part if label is not None})
    )
    place: Mapping[str | None, int] = {name: i for i, name in enumerate(found)}
    return DataSet(
        name=root.resolve().name or str(root), classes=found, bad=headers.bad, notes=notes,
        splits={
            split: Split(
                images=FileImages(root=root, names=tuple(name for name, _ in part)),
                labels_N=np.asarray([place.get(label, -1) for _, label in part], np.int64),
            )
            for split, part in sorted(rows.items())
        },
        fingerprint=digest(
            f"{split}\0{label}\0{name}\0{scan.sizes[name]}"
            for split, part in rows.items() for name, label in part
        ),
    )  # fmt: skip


def _flat(
    labelled: Labelled, classes: Sequence[str]
) -> tuple[list[str], list[int], dict[str, range]]:
    """Returns all names, their labels, and which positions are of which split."""
    index = {label: position for position, label in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    rows: dict[str, range] = {}
    for split, images in labelled.items():
        start = len(names)
        for label in sorted(images):
            names += images[label]
            labels += [index[label]] * len(images[label])
        rows[split] = range(start, len(names))
    return names, labels, rows


def _without(labelled: Labelled, bad: Mapping[str, str], where: str) -> Labelled:
    """Returns what is left when unreadable images are left out.

    Raises:
        DataError: A training class has no readable image: its index would change without a word.
    """
    left = {
        split: {label: [n for n in images if n not in bad] for label, images in group.items()}
        for split, group in labelled.items()
    }
    if empty := [label for label, images in left["train"].items() if not images]:
        raise DataError(
            f"no image of {listed(empty)} in {where} can be read",
            hint="replace them, or remove the class",
        )
    return {s: group for s, group in left.items() if any(group.values())}


def real_names(root: Path) -> Mapping[str, str]:
    """Returns the class names that ``classes.json`` gives folders, by folder.

    A file of that name that is not zoo's says nothing.
    """
    file = root / CLASS_NAMES_FILE
    try:
        if not file.is_file() or file.stat().st_size > MAX_CLASS_NAMES_BYTES:
            return {}
        table = json.loads(file.read_bytes())
        if table["format"] != CLASS_NAMES_FORMAT:
            return {}
        return {str(folder): str(name) for folder, name in table["folders"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _with_real_names(root: Path, labelled: Labelled) -> Labelled:
    """Returns the classes under the names that ``classes.json`` gives their folders.

    Raises:
        DataError: Two folders of a split would be one class.
    """
    real = real_names(root)
    result: Labelled = {}
    for split, images in labelled.items():
        renamed = {real.get(label, label): names for label, names in images.items()}
        if len(renamed) < len(images):
            raise DataError(
                f"{printable(root / CLASS_NAMES_FILE)} gives two folders the same class name",
                hint=f"remove {printable(root / CLASS_NAMES_FILE)}",
            )
        result[split] = renamed
    return result
