"""The kinds of findings, as a table, and the report that a check ends with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Literal

__all__ = [
    "KINDS", "UNREADABLE", "Finding", "Imbalance", "Kind", "Report", "Sizes", "Spread",
    "imbalance_of", "spread_of",
]  # fmt: skip

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of finding.

    Args:
        severity: ``error``: training refuses it, or its figures would be wrong. ``warning``: most
            likely not what was meant. ``note``: good to know, and handled.
        meaning: What it is, in one line.
        advice: What to do, empty for nothing.
    """

    severity: Severity
    meaning: str
    advice: str = ""


_REMOVE = "zoo data check PATH --fix quarantine"

KINDS: Mapping[str, Kind] = {
    "empty-file": Kind(severity="error", meaning="files of 0 bytes", advice=_REMOVE),
    "truncated": Kind(severity="error", meaning="images that end too early", advice=_REMOVE),
    "corrupt": Kind(severity="error", meaning="images that cannot be decoded", advice=_REMOVE),
    "not-an-image": Kind(severity="error", meaning="content that is no image", advice=_REMOVE),
    "too-large": Kind(severity="error", meaning="images over the size limit", advice=_REMOVE),
    "no-access": Kind(severity="error", meaning="files that cannot be opened"),
    "layout": Kind(severity="error", meaning="folders that are no data set"),
    "outside-classes": Kind(severity="error", meaning="images outside any class folder"),
    "empty-class": Kind(severity="error", meaning="classes without training images"),
    "unknown-class": Kind(severity="error", meaning="classes that training does not have"),
    "two-labels": Kind(severity="error", meaning="the same image under several labels"),
    "leak": Kind(severity="error", meaning="the same image in several splits",
                 advice="zoo data check PATH --fix quarantine --fix-leaks"),
    "duplicate": Kind(severity="warning", meaning="the same image again, same label and split",
                      advice=_REMOVE),
    "near-two-labels": Kind(severity="warning", meaning="images that look alike, several labels"),
    "near-leak": Kind(severity="warning", meaning="images that look alike, several splits"),
    "missing-class": Kind(severity="warning", meaning="classes that a split has no image of"),
    "single-image": Kind(severity="warning", meaning="classes with one training image"),
    "alike-names": Kind(severity="warning", meaning="class names that differ in case or accents"),
    "animated": Kind(severity="warning", meaning="several frames or pages, of which one is used"),
    "wrong-suffix": Kind(severity="warning", meaning="file names whose suffix is not the format"),
    "near-duplicate": Kind(severity="note", meaning="images that look alike, same label and split"),
    "imbalance": Kind(severity="note", meaning="classes of unequal size",
                      advice="zoo run --balance sampler"),
    "large": Kind(severity="note", meaning="more than 16 million pixels, slow to decode"),
    "deep": Kind(severity="note", meaning="more than 8 bits a channel, scaled to 8"),
    "cmyk": Kind(severity="note", meaning="CMYK, becomes RGB without its colour profile"),
    "palette": Kind(severity="note", meaning="palette, becomes RGB"),
    "transparent": Kind(severity="note", meaning="with transparency, pasted on white"),
    "rotated": Kind(severity="note", meaning="turned by EXIF orientation, read upright"),
}  # fmt: skip
"""What a check can find, gravest first. Tables are in this order."""

UNREADABLE = ("empty-file", "truncated", "corrupt", "not-an-image", "too-large", "no-access")
"""Kinds of images that cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found.

    Args:
        kind: A key of :data:`KINDS`.
        detail: What exactly, in words.
        files: The images, all of a group.
        splits: The splits they are in.
        classes: The classes they are of.
    """

    kind: str
    detail: str = ""
    files: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return KINDS[self.kind].severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Smallest, middle and largest of some numbers."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the readable images are, upright, in pixels; ``aspect`` is width over height."""

    width: Spread
    height: Spread
    shorter: Spread
    aspect: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """How unequal the classes of the training split are.

    Args:
        ratio: Images of the largest class over those of the smallest that has any.
        effective_classes: The number of equally large classes that would be as uncertain: e to the
            power of the entropy of the class shares (Hill, 1973).
        num_classes: How many classes have images.
    """

    ratio: float
    effective_classes: float
    num_classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a check found.

    Args:
        name: The data set as its user named it.
        num_images: Images that were looked at.
        num_readable: Those that can be read.
        num_bytes: Size of their files.
        splits: Readable and unreadable images by split; the split is empty where nothing is split
            yet.
        counts: Images of each class by split. An image of several labels counts for each.
        multi_label: Whether an image can have several labels.
        sizes: How large they are; None without readable images.
        imbalance: How unequal the classes are; None with fewer than two.
        formats: Images by file format.
        modes: Images by Pillow's mode of their content.
        findings: Everything found, gravest kind first.
        notes: What was left out, a line each.
    """

    name: str
    num_images: int
    num_readable: int
    num_bytes: int
    splits: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    multi_label: bool
    sizes: Sizes | None
    imbalance: Imbalance | None
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def of(self, *kinds: str) -> list[Finding]:
        """Returns the findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]

    def count(self, severity: Severity) -> int:
        """Returns how many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_mapping(self) -> dict[str, object]:
        """Returns everything as plain data, for JSON."""
        table = asdict(self)
        table["findings"] = [
            {"kind": f.kind, "severity": f.severity, "detail": f.detail, "files": list(f.files),
             "splits": list(f.splits), "classes": list(f.classes)}
            for f in self.findings
        ]  # fmt: skip
        return table


def spread_of(values: Sequence[float]) -> Spread:
    """Returns the spread of at least one number."""
    return Spread(smallest=min(values), median=float(median(values)), largest=max(values))


def imbalance_of(counts: Mapping[str, int]) -> Imbalance | None:
    """Returns how unequal the classes are, None where fewer than two have images.

    >>> imbalance_of({"cat": 90, "dog": 10}).ratio
    9.0
    >>> imbalance_of({"cat": 5, "dog": 5, "emu": 0}).effective_classes
    2.0
    """
    present = sorted(Counter(counts).values(), reverse=True)
    present = [count for count in present if count > 0]
    if len(present) < 2:
        return None
    total = sum(present)
    entropy = -sum(count / total * math.log(count / total) for count in present)
    return Imbalance(
        ratio=present[0] / present[-1], effective_classes=round(math.exp(entropy), 6),
        num_classes=len(present),
    )  # fmt: skip
