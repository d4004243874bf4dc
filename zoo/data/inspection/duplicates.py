"""Groups of images that are the same or look alike, and what each group means.

N images. A group is what pairs join, directly or through others (union-find).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from zoo.data.inspection.facts import Facts
from zoo.data.inspection.findings import Finding
from zoo.data.inspection.layout import Item
from zoo.data.inspection.likeness import alike_pairs, unpacked

__all__ = ["duplicate_findings", "equal_groups", "joined", "near_findings"]


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Returns the groups of two or more among ``count`` things that the pairs join, in order.

    >>> joined(6, [(4, 1), (0, 5), (1, 3)])
    [[0, 5], [1, 3, 4]]
    """
    parent = list(range(count))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]  # halves the path for the next who asks
            one = parent[one]
        return one

    for first, second in pairs:
        a, b = sorted((root(first), root(second)))
        parent[b] = a
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for one in range(count):
        groups[root(one)].append(one)
    return [group for group in groups.values() if len(group) > 1]


def equal_groups(facts: Sequence[Facts]) -> list[list[int]]:
    """Returns groups of images whose pixels are equal; a group of one for an image without twin."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, one in enumerate(facts):
        if one.pixel_digest:
            groups[one.pixel_digest].append(index)
    return list(groups.values())


def duplicate_findings(
    items: Sequence[Item], facts: Sequence[Facts], groups: Iterable[Sequence[int]]
) -> list[Finding]:
    """Returns leaks, double labels and duplicates among groups of equal pixels."""
    findings = []
    for group in groups:
        if len(group) == 1:
            continue
        same = len({facts[index].file_digest for index in group}) == 1
        detail = "the same file" if same and facts[group[0]].file_digest else "the same pixels"
        findings += _labels_and_splits(items, group, detail, ("two-labels", "leak"))
        parts: defaultdict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
        for index in group:
            parts[items[index].split, items[index].labels].append(index)
        findings += [
            _finding("duplicate", items, part, detail) for part in parts.values() if len(part) > 1
        ]
    return findings


def near_findings(
    items: Sequence[Item],
    facts: Sequence[Facts],
    groups: Sequence[Sequence[int]],
    *,
    bits: int,
) -> list[Finding]:
    """Returns groups of images that look alike and are not equal.

    Args:
        items: All images.
        facts: What is known about each.
        groups: Groups of equal pixels, with those of one.
        bits: In how many bits perceptual hashes may differ.
    """
    thumbs_NHWC = unpacked([facts[group[0]].thumbnail for group in groups])
    pairs = (
        pair
        for first, second in alike_pairs(thumbs_NHWC, bits=bits)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    )
    findings = []
    for near in joined(len(groups), pairs):
        members = [index for number in near for index in groups[number]]
        detail = f"{len(near)} images that look alike"
        found = _labels_and_splits(items, members, detail, ("near-two-labels", "near-leak"))
        # A group of either kind is not told a second time for what it holds besides.
        findings += found or [_finding("near-duplicate", items, members, detail)]
    return findings


def _labels_and_splits(
    items: Sequence[Item], group: Sequence[int], detail: str, kinds: tuple[str, str]
) -> list[Finding]:
    """Returns a finding of the first kind for several labels, of the second for several splits."""
    findings = []
    labels = {tuple(sorted(items[index].labels)) for index in group if items[index].labels}
    if len(labels) > 1:
        findings.append(_finding(kinds[0], items, group, detail))
    if len({items[index].split for index in group}) > 1:
        findings.append(_finding(kinds[1], items, group, detail))
    return findings


def _finding(kind: str, items: Sequence[Item], group: Sequence[int], detail: str) -> Finding:
    """Returns a finding about a group. Splits and classes are in order of first appearance."""
    ordered = [items[index] for index in np.sort(np.asarray(group)).tolist()]
    return Finding(
        kind=kind, detail=detail,
        files=tuple(item.name for item in ordered),
        splits=tuple(dict.fromkeys(item.split for item in ordered if item.split)),
        classes=tuple(dict.fromkeys(label for item in ordered for label in item.labels)),
    )  # fmt: skip
