"""Which image is in which split and of which class, and what is wrong with that.

Reading a folder for training refuses what is wrong with it. A check names it and goes on.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from zoo.data.inspection.findings import Finding, imbalance_of
from zoo.data.reading.partition import SPLIT_NAMES
from zoo.data.reading.scan import Scan
from zoo.errors import count_of, printable
from zoo.protocols import DataSet, Split

__all__ = ["Item", "Layout", "class_findings", "layout_of_data", "layout_of_folder"]

_ORDER = ("train", "val", "test", "")
_RATIO = 2.0  # classes that differ by less are called equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image and where it stands.

    Args:
        name: Its path below the data folder, or what the data set calls it.
        split: ``train``, ``val``, ``test``; empty where nothing is split yet.
        labels: Its class; several where it has several, none where it is outside any class.
    """

    name: str
    split: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All images of a data set.

    Args:
        items: The images.
        counts: Images of each class by split, with the classes that have none.
        findings: What is wrong with splits and classes.
        notes: What was left out, a line each.
    """

    items: Sequence[Item]
    counts: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    notes: Sequence[str] = ()


def layout_of_folder(scan: Scan) -> Layout:
    """Returns the layout of an image folder, whatever is wrong with it."""
    tops = [folder for folder in scan.folders if folder and "/" not in folder]
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    findings = [Finding(kind="layout", detail=problem) for problem in scan.problems]
    findings += _split_findings(splits)
    counts: dict[str, dict[str, int]] = {}
    depth = 1 if splits else 0
    for folder in scan.folders:
        parts = PurePosixPath(folder).parts
        if len(parts) == depth + 1 and (not splits or parts[0] in splits):
            counts.setdefault(splits.get(parts[0], ""), {}).setdefault(parts[depth], 0)
    items: list[Item] = []
    outside: list[str] = []
    ignored: Counter[str] = Counter()
    for name in scan.sizes:
        parts = PurePosixPath(name).parts
        if splits and parts[0] not in splits:
            if len(parts) > 1:
                ignored[parts[0]] += 1
                continue
            split = ""
        else:
            split = splits.get(parts[0], "")
        labels = (parts[depth],) if len(parts) > depth + 1 else ()
        items.append(Item(name=name, split=split, labels=labels))
        if labels:
            counts[split][labels[0]] += 1
        else:
            outside.append(name)
    findings += [Finding(kind="outside-classes", files=(name,)) for name in outside]
    notes = [
        f"left out {count_of(count, 'image')} in {printable(top)}/, which is not a split"
        for top, count in ignored.items()
    ]
    ordered = dict(sorted(counts.items(), key=lambda pair: _ORDER.index(pair[0])))
    return Layout(items=items, counts=ordered, findings=findings, notes=(*scan.notes, *notes))


def layout_of_data(data: DataSet) -> Layout:
    """Returns the layout of a data set that was read. Images come split by split, in order."""
    items: list[Item] = []
    counts: dict[str, dict[str, int]] = {}
    for split, part in data.splits.items():
        counts[split] = dict.fromkeys(data.classes, 0)
        for index, labels in enumerate(_labels(part, data)):
            name = getattr(part.images, "name", None)
            shown = name(index) if callable(name) else f"{split}/{index}"
            items.append(Item(name=shown, split=split, labels=labels))
            for label in labels:
                counts[split][label] += 1
    return Layout(items=items, counts=counts, findings=(), notes=tuple(data.notes))


def _labels(part: Split, data: DataSet) -> Iterator[tuple[str, ...]]:
    """Yields the classes of each image: all of several, the greatest of a soft label."""
    if data.multi_label and part.targets_NK is not None:
        for targets_K in part.targets_NK:
            yield tuple(data.classes[int(label)] for label in targets_K.nonzero()[0])
        return
    for label in part.labels_N.tolist():
        yield (data.classes[label],)


def class_findings(counts: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """Returns what is wrong with the classes: empty, unknown, missing, single, alike, unequal."""
    training = counts.get("train") if "train" in counts else counts.get("")
    if training is None:
        return []
    findings = [
        Finding(kind="empty-class", detail="no training images", classes=(label,))
        for label, count in training.items()
        if count == 0
    ]
    findings += [
        Finding(kind="single-image", detail="1 training image", classes=(label,))
        for label, count in training.items()
        if count == 1
    ]
    for split, classes in counts.items():
        if split in ("train", ""):
            continue
        findings += [
            Finding(kind="unknown-class",
                    detail=f"{count_of(count, 'image')} in {split}, not in train",
                    splits=(split,), classes=(label,))
            for label, count in classes.items()
            if count and label not in training
        ]  # fmt: skip
        findings += [
            Finding(kind="missing-class", detail=f"no images in {split}", splits=(split,),
                    classes=(label,))
            for label, count in training.items()
            if count and not classes.get(label)
        ]  # fmt: skip
    findings += _alike_names(label for classes in counts.values() for label in classes)
    if (imbalance := imbalance_of(training)) and imbalance.ratio >= _RATIO:
        largest = max(training, key=lambda label: training[label])
        smallest = min((label for label in training if training[label]), key=training.__getitem__)
        findings.append(Finding(
            kind="imbalance", classes=(largest, smallest),
            detail=f"{training[largest]:,} against {training[smallest]:,} images; "
            f"{imbalance.num_classes} classes, as if {imbalance.effective_classes:.1f}",
        ))  # fmt: skip
    return findings


def _split_findings(splits: Mapping[str, str]) -> list[Finding]:
    """Returns splits without a training split, and folders that mean the same split."""
    findings = []
    if splits and "train" not in splits.values():
        findings.append(Finding(
            kind="layout", splits=tuple(splits.values()),
            detail=f"{', '.join(map(printable, splits))} without train",
        ))  # fmt: skip
    for split, count in Counter(splits.values()).items():
        if count > 1:
            names = [printable(top) for top, meant in splits.items() if meant == split]
            findings.append(Finding(
                kind="layout", splits=(split,), detail=f"{', '.join(names)} all mean {split}"
            ))  # fmt: skip
    return findings


def _alike_names(labels: Iterable[str]) -> list[Finding]:
    """Returns class names that are one without case and way of writing accents."""
    looks: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for label in labels:
        looks[unicodedata.normalize("NFC", label).casefold()][label] = None
    return [
        Finding(kind="alike-names", classes=tuple(names))
        for names in looks.values()
        if len(names) > 1
    ]
