"""Images that cannot be read: found, named all together, left out.

Suffixes: N images of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from zoo.data.pixels.decode import reader
from zoo.data.reading.scan import bullets, listed
from zoo.data.subset import lost_classes, present_classes, subset
from zoo.data.threads import Progress, in_blocks
from zoo.errors import DataError, count_of, printable
from zoo.protocols import DataSet, Images, PixelImages

__all__ = ["bad_images", "find_bad", "without_bad"]


def find_bad(
    images: Images | PixelImages,
    *,
    num_threads: int,
    progress: Progress = lambda done, total: None,
) -> dict[int, str]:
    """Decodes every image and returns the reason by index of those that cannot be read.

    JPEGs are decoded at an eighth of their size: all their data are read, most of the arithmetic
    is not done.

    Args:
        images: Of one split. Images that are decoded already are never bad.
        num_threads: How many threads decode; at least one does.
        progress: Told after every few images.
    """
    if isinstance(images, PixelImages):
        return {}
    read = reader(images, at_least=(1, 1))

    def look(block: range) -> dict[int, str]:
        found = {}
        for index in block:
            try:
                read(index)
            except DataError as error:
                found[index] = error.found or error.what
        return found

    bad: dict[int, str] = {}
    blocks = in_blocks(look, len(images), num_threads=num_threads, progress=progress)
    for _, found in blocks:
        bad |= found
    return dict(sorted(bad.items()))


def bad_images(images: Images, bad: Mapping[int, str]) -> DataError:
    """Returns the error that names images, the first 20 of them, each with its reason."""
    problems = [f"{printable(images.name(index))}: {bad[index]}" for index in sorted(bad)]
    return DataError(
        f"{len(bad)} of {len(images)} images cannot be read\n{bullets(problems)}",
        hint="replace or remove them, or leave them out with --on-bad skip",
    )


def without_bad(
    data: DataSet, *, num_threads: int, progress: Progress = lambda done, total: None
) -> DataSet:
    """Returns the data set without the images that cannot be read, and with a note of them.

    A data set without any comes back as it is. Otherwise the fingerprint is a new one, and the
    names and reasons are added to :attr:`~zoo.protocols.DataSet.bad`.

    Raises:
        DataError: No image of a split, or of a class in training, can be read.
    """
    splits, bad_names = dict(data.splits), dict(data.bad)
    total = sum(len(split.labels_N) for split in splits.values())
    digest = hashlib.sha256(data.fingerprint.encode())
    left_out: list[str] = []
    problems: list[str] = []
    before = 0
    for name, split in data.splits.items():
        offset = before
        bad = find_bad(
            split.images, num_threads=num_threads,
            progress=lambda done, _, offset=offset: progress(offset + done, total),  # type: ignore[misc]  # bound now
        )  # fmt: skip
        before += len(split.labels_N)
        progress(before, total)
        if not bad:
            continue
        good_N = np.ones(len(split.labels_N), dtype=np.bool_)
        good_N[list(bad)] = False
        for index, reason in bad.items():
            called = split.images.name(index)
            # Names of images in arrays or shards may come back in another split.
            bad_names[f"{name}: {called}" if called in bad_names else called] = reason
            left_out.append(called)
            digest.update(f"{name}\0{index}\n".encode())
        splits[name] = subset(split, np.flatnonzero(good_N))
        if not good_N.any():
            problems.append(f"no image of {name} can be read")
        elif name == "train":
            lost = np.setdiff1d(present_classes(split), present_classes(splits[name]))
            problems += [
                f"no image of the class {printable(data.classes[label])} can be read in train"
                for label in lost
            ]
    if problems:
        raise DataError(
            f"too many images of {printable(data.name)} cannot be read\n{bullets(problems)}",
            found=f"{len(left_out)} unreadable images: {listed(left_out, most=3)}",
            hint="replace them",
        )
    if not left_out:
        return data
    number = count_of(len(left_out), "image")
    note = f"left out {number} that cannot be read: {listed(left_out, most=3)}"
    return replace(
        data, splits=splits, bad=bad_names, fingerprint=digest.hexdigest(),
        notes=(*data.notes, note, *lost_classes(data, data.splits, splits)),
    )  # fmt: skip
