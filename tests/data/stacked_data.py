"""Data sets of arrays, and what is in a data set whatever its order."""

from __future__ import annotations

import numpy as np
from PIL import Image

from zoo.data.reading.packed import StackedImages
from zoo.protocols import DataSet, Split

GENERATOR = np.random.default_rng(11)


class Named:
    """Images in memory with any names."""

    def __init__(self, pixels, names):
        self.all, self.names = pixels, names

    def __len__(self):
        return len(self.names)

    def read(self, index):
        return Image.fromarray(self.all[index]).convert("RGB")

    def name(self, index):
        return self.names[index]


def stacked(classes=("ant", "bee", "cat"), *, colour=False, count=9, side=(6, 5), **more):
    """A data set of arrays with every class in every split."""
    splits = {}
    for split in ("train", "val", "test"):
        shape = (count, *side, 3) if colour else (count, *side)
        pixels = GENERATOR.integers(0, 256, shape, dtype=np.uint8)
        names = [f"{split}-{index}" for index in range(count)]
        splits[split] = Split(
            images=StackedImages(pixels=pixels, names=names),
            labels_N=np.arange(count) % len(classes),
            **{key: value(count) for key, value in more.items() if key.endswith(("_N", "_NK"))},
        )
    return DataSet(name="made", classes=tuple(classes), splits=splits, fingerprint="",
                   multi_label=more.get("multi_label", False))  # fmt: skip


def contents(data):
    """Returns split -> the sorted (pixels, class) pairs."""
    return {
        split: sorted(
            (np.asarray(part.images.read(i)).tobytes(), data.classes[part.labels_N[i]])
            for i in range(len(part.images))
        )
        for split, part in data.splits.items()
    }


def by_pixels(part, values):
    """Returns what belongs to each image, whatever the order of the images."""
    return {
        np.asarray(part.images.read(index)).tobytes(): np.asarray(value).tolist()
        for index, value in enumerate(values)
    }


def picture_sizes(folder):
    sizes = set()
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            sizes.add(image.size)
    return sizes
