"""A folder of images as a data set.

    DATA/train/cat/1.jpg  DATA/val/cat/7.jpg  DATA/test/cat/9.jpg      split already
    DATA/cat/1.jpg        DATA/dog/1.jpg                               a seeded stratified split

Everything below a class folder is of that class. Suffixes: N images.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from zoo.data.decode import image_size, open_image
from zoo.data.scan import Scan, bullets, listed, scan_folder, shown
from zoo.data.splits import stratified_split
from zoo.errors import DataError, printable
from zoo.protocols import DataSet, Split

__all__ = ["FileImages", "read_folder"]

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
LAYOUT = "expected CLASS/IMAGE, or train/CLASS/IMAGE with val/ and test/ beside train/"

Part: TypeAlias = tuple[list[str], list[int]]
"""Names and labels of one split."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImages:
    """Images in files, decoded when they are read.

    Args:
        root: The folder that the names are below.
        names: Path of each image below ``root``, with forward slashes.
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

    def name(self, index: int) -> str:
        """Returns the path of the image below the data folder."""
        return self.names[index]


def read_folder(
    path: str | Path, *, seed: int, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> DataSet:
    """Returns the images below a folder, with the header of each one checked.

    Class indices come from the training class names in order of their code points; other splits
    are mapped by name. The order of images is that of a file manager: ``2.png`` before ``10.png``.

    Args:
        path: The folder.
        seed: Of the split, where the folder is not split already.
        fractions: Training, validation and, if any, test share, for the parts that are not there.

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
    labelled = _by_split_and_class(root, scan)
    classes = tuple(sorted(labelled["train"]))
    parts: dict[str, Part] = {}
    for split, images in labelled.items():
        pairs = [(name, label) for label in sorted(images) for name in images[label]]
        parts[split] = [name for name, _ in pairs], [classes.index(label) for _, label in pairs]
    sides = _shorter_sides(root, [name for names, _ in parts.values() for name in names])
    if "val" not in parts:
        parts = _split_training(parts, seed=seed, fractions=fractions, notes=scan.notes)
    return DataSet(
        name=root.resolve().name or str(path),
        classes=classes,
        splits={
            split: Split(
                images=FileImages(root=root, names=tuple(parts[split][0])),
                labels_N=np.asarray(parts[split][1], dtype=np.int64),
            )
            for split in ("train", "val", "test")
            if split in parts
        },
        fingerprint=_fingerprint(classes, parts, scan.sizes),
        typical_side=int(np.median(sides)),
        notes=(*scan.notes, *_class_notes(classes, parts)),
    )


def _by_split_and_class(root: Path, scan: Scan) -> dict[str, dict[str, list[str]]]:
    """Returns split -> class -> images, at least ``train``. Lists all problems together."""
    tops = [folder for folder in scan.folders if folder and "/" not in folder]
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    labelled: dict[str, dict[str, list[str]]] = {}
    problems = scan.problems
    if "train" in splits.values():
        for split, count in Counter(splits.values()).items():
            if count > 1:
                names = [top for top, meant in splits.items() if meant == split]
                problems.append(f"{listed(names)} all mean {split}")
        for top in tops:
            if top in splits:
                labelled[splits[top]] = _classes(scan, f"{top}/", training=splits[top] == "train")
            elif count := sum(name.startswith(f"{top}/") for name in scan.sizes):
                scan.notes.append(f"left out {count} images in {shown(top)}, which is not a split")
        _loose(scan, "")
        _compare_splits(labelled, scan)
    else:
        if splits:
            problems.append(f"{listed(list(splits))} without train")
        labelled["train"] = _classes(scan, "", training=True)
    if not scan.sizes:
        problems[:] = ["no images", *(line for line in problems if "cannot be read" in line)]
    elif len(labelled["train"]) < 2:
        problems.append("only one class" if labelled["train"] else "no class folders")
    if problems:
        raise DataError(
            f"{printable(root)} cannot be read as a data set\n{bullets(problems)}",
            found=_summary(scan, tops),
            hint=_better_folder(root, scan) or LAYOUT,
        )
    return labelled


def _classes(scan: Scan, prefix: str, *, training: bool) -> dict[str, list[str]]:
    """Returns class -> images below ``prefix``. A training class without images is a problem."""
    found: dict[str, list[str]] = {
        folder.removeprefix(prefix): []
        for folder in scan.folders
        if folder.startswith(prefix) and folder and "/" not in folder.removeprefix(prefix)
    }
    for name in scan.sizes:
        if name.startswith(prefix):
            label, slash, _ = name.removeprefix(prefix).partition("/")
            if slash:
                found[label].append(name)
    _loose(scan, prefix)
    if training:
        scan.problems.extend(
            f"class folder without images: {printable(prefix + label)}"
            for label, images in found.items()
            if not images
        )
    return found


def _loose(scan: Scan, prefix: str) -> None:
    """Makes a problem of images that are outside any class folder."""
    inside = [name for name in scan.sizes if name.startswith(prefix)]
    if loose := [name for name in inside if "/" not in name.removeprefix(prefix)]:
        where = shown(prefix.removesuffix("/"))
        scan.problems.append(
            f"{len(loose)} images in {where}, outside any class folder: {listed(loose, most=3)}"
        )


def _compare_splits(labelled: dict[str, dict[str, list[str]]], scan: Scan) -> None:
    """Makes a problem of classes that training does not know. Drops a test split without images."""
    for split in ("val", "test"):
        classes = labelled.get(split)
        if classes is None:
            continue
        scan.problems.extend(
            f"class {printable(label)} is in {split} and not in train"
            for label, images in classes.items()
            if images and label not in labelled["train"]
        )
        if not any(classes.values()):
            # Also where the folder is there: a download that was cut short, or made by hand.
            scan.notes.append(f"{split} is a folder without images, as if it were not there")
            del labelled[split]


def _class_notes(classes: Sequence[str], parts: Mapping[str, Part]) -> list[str]:
    """Returns what is odd about the classes: none in a split, or names that look the same."""
    notes = []
    for split, (_, labels) in parts.items():
        if missing := sorted(set(range(len(classes))) - set(labels)):
            notes.append(
                f"{split} has no images of {listed([classes[index] for index in missing])}"
            )
    looks: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        looks[unicodedata.normalize("NFC", name).casefold()].append(name)
    notes += [f"classes that look alike: {listed(names)}" for names in looks.values() if names[1:]]
    return notes


def _shorter_sides(root: Path, names: Sequence[str]) -> list[int]:
    """Opens every image as far as its header and returns the shorter sides, pixels.

    Raises:
        DataError: Images that are unreadable, all of them at once.
    """

    def look(block: Sequence[str]) -> tuple[list[int], list[str]]:
        sides, problems = [], []
        for name in block:
            try:
                sides.append(min(image_size(root / name, name=name)))
            except DataError as error:
                problems.append(f"{printable(name)}: {error.found}")
        return sides, problems

    # In blocks, since a future for each of a million files costs more than the opening.
    blocks = [names[start : start + 256] for start in range(0, len(names), 256)]
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 2)) as pool:
        found = list(pool.map(look, blocks))
    problems = [problem for _, listed_ones in found for problem in listed_ones]
    if problems:
        raise DataError(
            f"{len(problems)} of {len(names)} images below {printable(root)} cannot be read\n"
            + bullets(problems),
            hint="replace or remove them",
        )
    return [side for sides, _ in found for side in sides]


def _split_training(
    parts: dict[str, Part],
    *,
    seed: int,
    fractions: Sequence[float],
    notes: list[str],
) -> dict[str, Part]:
    """Returns the parts with validation, and test if there was none, taken from training."""
    names, labels = parts["train"]
    shares = dict(zip(("train", "val", "test"), fractions, strict=False))
    if len(fractions) not in (2, 3) or not shares["val"] > 0:
        raise DataError(
            f"the fractions {list(fractions)} leave no validation split",
            hint="training, validation and test shares that sum to 1, as 0.8, 0.1, 0.1",
        )
    if "test" in parts:
        shares.pop("test", None)
        notes.append("validation was split from training")
    total = sum(shares.values())
    rows = stratified_split(
        labels, fractions=[share / total for share in shares.values()], seed=seed
    )
    result = dict(parts)
    for split, rows_N in zip(shares, rows, strict=True):
        if len(rows_N):
            result[split] = [names[row] for row in rows_N], [labels[row] for row in rows_N]
        elif split == "val":
            raise DataError(
                f"too few images for a validation split: {len(names)}",
                hint="add images, or make a val folder beside train",
            )
        elif shares[split] > 0:
            notes.append(f"too few images for a {split} split: it was left out")
    return result


def _fingerprint(
    classes: Sequence[str],
    parts: Mapping[str, Part],
    sizes: Mapping[str, int],
) -> str:
    """Returns SHA-256 over names, sizes, labels and split. Neither place nor time of the files."""
    digest = hashlib.sha256()
    lines = sorted(
        f"{split}\0{classes[label]}\0{name}\0{sizes[name]}\n"
        for split, (names, labels) in parts.items()
        for name, label in zip(names, labels, strict=True)
    )
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _summary(scan: Scan, tops: Sequence[str]) -> str:
    """Returns what is in the folder in a few words."""
    folders = f"folders {listed(tops, most=6)}" if tops else "no folders"
    notes = "; ".join(scan.notes[:2])
    return f"{len(scan.sizes)} images, {folders}" + (f"; {notes}" if notes else "")


def _better_folder(root: Path, scan: Scan) -> str:
    """Returns a hint at a folder inside that has the layout, as unpacked archives often have."""
    for folder in _only_children(scan.folders):
        prefix = f"{folder}/"
        inner = [name.removeprefix(prefix) for name in scan.folders if name.startswith(prefix)]
        if any(SPLIT_NAMES.get(name.lower()) == "train" for name in inner):
            return f"the folder inside, {printable(root / folder)}"
    return ""


def _only_children(folders: Sequence[str]) -> Iterator[str]:
    """Yields the folders that one meets going down for as long as there is only one."""
    place = ""
    while True:
        prefix = f"{place}/" if place else ""
        inner = [
            f for f in folders if f.startswith(prefix) and f and "/" not in f.removeprefix(prefix)
        ]
        if len(inner) != 1:
            return
        place = inner[0]
        yield place
