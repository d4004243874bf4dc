"""Which folder is a split and which one a class, by names alone. Every problem is told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.data.reading.partition import SPLIT_NAMES
from zoo.data.reading.scan import Scan, bullets, listed, shown
from zoo.errors import DataError, count_of, printable

__all__ = ["LAYOUT", "by_split_and_class", "inner_folder"]

LAYOUT = "expected CLASS/IMAGE, or train/CLASS/IMAGE with val/ and test/ beside train/"


def by_split_and_class(root: Path, scan: Scan) -> dict[str, dict[str, list[str]]]:
    """Returns split -> class -> images, at least ``train``.

    Takes notes into the scan: what was left out, and a test split without images.

    Raises:
        DataError: The layout cannot be used. Lists all problems together.
    """
    tops = [folder for folder in scan.folders if folder and "/" not in folder]
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    labelled: dict[str, dict[str, list[str]]] = {}
    problems, hint = scan.problems, ""
    if "train" in splits.values():
        for split, count in Counter(splits.values()).items():
            if count > 1:
                names = [top for top, meant in splits.items() if meant == split]
                problems.append(f"{listed(names)} all mean {split}")
        for top in tops:
            if top in splits:
                labelled[splits[top]] = _classes(scan, f"{top}/", training=splits[top] == "train")
            elif count := sum(name.startswith(f"{top}/") for name in scan.sizes):
                number = count_of(count, "image")
                scan.notes.append(f"left out {number} in {shown(top)}, which is not a split")
        _loose(scan, "")
        if unknown := _compare_splits(labelled, scan):
            hint = f"add images of {listed(unknown, most=3)} to train, or remove that folder"
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
            hint=inner_folder(root, scan) or hint or LAYOUT,
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
            f"{count_of(len(loose), 'image')} in {where}, outside any class folder: "
            f"{listed(loose, most=3)}"
        )


def _compare_splits(labelled: dict[str, dict[str, list[str]]], scan: Scan) -> list[str]:
    """Makes a problem of classes that training does not know, and returns them.

    Drops a validation or test split without images.
    """
    unknown: list[str] = []
    for split in ("val", "test"):
        classes = labelled.get(split)
        if classes is None:
            continue
        new = [label for label in classes if classes[label] and label not in labelled["train"]]
        unknown += new
        scan.problems.extend(
            f"class {printable(label)} is in {split} and not in train" for label in new
        )
        if not any(classes.values()):
            # Also where the folder is there: a download that was cut short, or made by hand.
            scan.notes.append(f"{split} is a folder without images, as if it were not there")
            del labelled[split]
    return unknown


def _summary(scan: Scan, tops: Sequence[str]) -> str:
    """Returns what is in the folder in a few words."""
    folders = f"folders {listed(tops, most=6)}" if tops else "no folders"
    notes = "; ".join(scan.notes[:2])
    return f"{count_of(len(scan.sizes), 'image')}, {folders}" + (f"; {notes}" if notes else "")


def inner_folder(root: Path, scan: Scan) -> str:
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
