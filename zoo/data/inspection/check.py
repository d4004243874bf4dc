"""Checks a data set: every image is decoded, every finding is named, nothing is changed.

Looking at 10,000 photographs of 500 x 375 pixels is measured by ``benchmarks/data_check.py``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from zoo.cores import num_cores
from zoo.data.inspection.duplicates import duplicate_findings, equal_groups, near_findings
from zoo.data.inspection.facts import Facts, facts_of_file, facts_of_image
from zoo.data.inspection.findings import (
    KINDS,
    Finding,
    Report,
    Sizes,
    imbalance_of,
    spread_of,
)  # fmt: skip
from zoo.data.inspection.layout import (
    Item,
    Layout,
    class_findings,
    layout_of_data,
    layout_of_folder,
)  # fmt: skip
from zoo.data.inspection.likeness import MAX_BITS
from zoo.data.reading.folder import FileImages
from zoo.data.reading.scan import scan_folder
from zoo.data.threads import Progress, in_blocks
from zoo.errors import DataError, UsageError, printable
from zoo.protocols import DataSet, Images, PixelImages

__all__ = ["NEAR_BITS", "check_data", "check_folder", "is_image_folder", "picture"]

NEAR_BITS = 6
"""In how many of 64 bits perceptual hashes may differ, unless it is said otherwise."""


def is_image_folder(path: Path) -> bool:
    """Whether there is an image below the folder, so that it is checked file by file."""
    return path.is_dir() and bool(scan_folder(path).sizes)


def check_folder(
    root: Path,
    *,
    near: int = NEAR_BITS,
    num_threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Returns what is found in an image folder, also in one that cannot be trained on.

    Args:
        root: The folder.
        near: In how many bits hashes of images that look alike may differ, 0 to 10.
        num_threads: Threads that decode; by default one for each core.
        progress: Told how many images were looked at.

    Raises:
        DataError: It is not a folder.
        UsageError: ``near`` is out of range.
    """
    if not root.is_dir():
        raise DataError(
            f"{printable(root)} is not a folder",
            found="a file" if root.exists() else "nothing of that name",
        )
    layout = layout_of_folder(scan_folder(root))
    names = [item.name for item in layout.items]
    if not names:
        empty = Finding(kind="layout", detail="no images")
        layout = Layout(items=(), counts=layout.counts, findings=(*layout.findings, empty),
                        notes=layout.notes)  # fmt: skip
    facts = _facts(
        len(names), lambda index: facts_of_file(root / names[index], name=names[index]),
        num_threads=num_threads, progress=progress,
    )  # fmt: skip
    return _report(root.resolve().name or str(root), layout, facts, near=near)


def check_data(
    data: DataSet,
    *,
    near: int | None = NEAR_BITS,
    num_threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Returns what is found in a data set of any source.

    What only a file can tell (format, mode, frames) is told where images are files. Splits that zoo
    made itself are checked like any others: a duplicate may be reported as a leak.

    Args:
        data: The data set; images that were left out when it was read are findings.
        near: In how many bits hashes of images that look alike may differ, 0 to 10. None: images
            that look alike are not looked for.
        num_threads: Threads that decode; by default one for each core.
        progress: Told how many images were looked at.

    Raises:
        UsageError: ``near`` is out of range.
    """
    layout = layout_of_data(data)
    images = [
        (part.images, index) for part in data.splits.values() for index in range(len(part.images))
    ]
    facts = _facts(
        len(images), lambda index: _facts_of(*images[index]),
        num_threads=num_threads, progress=progress,
    )  # fmt: skip
    roots = [part.images.root for part in data.splits.values()
             if isinstance(part.images, FileImages)]  # fmt: skip
    left_out = [_left_out(name, reason, roots) for name, reason in data.bad.items()]
    layout = Layout(
        items=(*layout.items, *(Item(name=name, split="", labels=()) for name in data.bad)),
        counts=layout.counts, findings=layout.findings, notes=layout.notes,
    )  # fmt: skip
    return _report(data.name, layout, [*facts, *left_out], near=near, multi_label=data.multi_label)


def _facts(
    count: int,
    look: Callable[[int], Facts],
    *,
    num_threads: int | None,
    progress: Progress,
) -> list[Facts]:
    """Returns the facts of each image, in order."""
    facts = [Facts()] * count
    with _without_warnings():
        for block, found in in_blocks(
            lambda indices: [look(index) for index in indices], count,
            num_threads=num_threads or num_cores(), progress=progress,
        ):  # fmt: skip
            facts[block.start : block.stop] = found
    return facts


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps Pillow's warnings about odd files off the terminal: the check reports on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _facts_of(images: Images | PixelImages, index: int) -> Facts:
    """Returns the facts of one image of a split, from its file where it has one."""
    if isinstance(images, FileImages):
        return facts_of_file(images.root / images.names[index], name=images.names[index])
    try:
        return facts_of_image(picture(images, index))
    except DataError as error:
        return Facts(problem="corrupt", reason=error.found or error.what)


def picture(images: Images | PixelImages, index: int) -> Image.Image:
    """Returns one image of a split, whichever kind of split it is.

    Raises:
        DataError: It cannot be read.
    """
    if isinstance(images, PixelImages):
        return Image.fromarray(images.pixels[index])
    return images.read(index)


def _left_out(name: str, reason: str, roots: Sequence[Path]) -> Facts:
    """Returns the facts of an image that reading left out, more exactly where its file is found."""
    with _without_warnings():
        for root in dict.fromkeys(roots):
            if (root / name).exists() and (facts := facts_of_file(root / name, name=name)).problem:
                return facts
    return Facts(problem="corrupt", reason=reason)


def _report(
    name: str,
    layout: Layout,
    facts: Sequence[Facts],
    *,
    near: int | None,
    multi_label: bool = False,
) -> Report:
    """Puts all findings together."""
    if near is not None and not 0 <= near <= MAX_BITS:
        raise UsageError(f"near is {near}, and must be 0 to {MAX_BITS} bits", hint="--near 6")
    items = layout.items
    groups = equal_groups(facts)
    findings = [
        *layout.findings,
        *class_findings(layout.counts),
        *_image_findings(items, facts),
        *duplicate_findings(items, facts, groups),
    ]
    if near is not None:
        findings += near_findings(items, facts, groups, bits=near)
    by_split = Counter(item.split for item in items)
    order = {kind: number for number, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    readable = [one for one in facts if one.pixel_digest]
    training: Mapping[str, int] = layout.counts.get("train") or layout.counts.get("", {})
    return Report(
        name=name, num_images=len(facts), num_readable=len(readable),
        num_bytes=sum(one.num_bytes for one in facts),
        splits={split: by_split[split] for split in layout.counts},
        counts=layout.counts, multi_label=multi_label, sizes=_sizes(readable),
        imbalance=imbalance_of(training),
        formats=_counted(one.format for one in facts), modes=_counted(one.mode for one in facts),
        findings=tuple(findings), notes=tuple(layout.notes),
    )  # fmt: skip


def _image_findings(items: Sequence[Item], facts: Sequence[Facts]) -> Iterator[Finding]:
    """Yields what is wrong or odd about single images."""
    for item, one in zip(items, facts, strict=True):
        for kind in (one.problem, *one.traits):
            if kind:
                yield Finding(
                    kind=kind, detail=one.reason or _told(one), files=(item.name,),
                    splits=(item.split,) if item.split else (), classes=item.labels,
                )  # fmt: skip


def _told(facts: Facts) -> str:
    """Returns format, mode and size in words."""
    return " ".join(filter(None, (facts.format, facts.mode, f"{facts.width} x {facts.height}")))


def _sizes(readable: Sequence[Facts]) -> Sizes | None:
    if not readable:
        return None
    return Sizes(
        width=spread_of([one.width for one in readable]),
        height=spread_of([one.height for one in readable]),
        shorter=spread_of([min(one.width, one.height) for one in readable]),
        aspect=spread_of([round(one.width / one.height, 4) for one in readable]),
    )


def _counted(words: Iterator[str]) -> dict[str, int]:
    """Returns how often each word occurs, the most frequent first; empty ones not at all."""
    return dict(Counter(word for word in words if word).most_common())
