"""Builds fashion-mini from the four files of Fashion-MNIST.

    python scripts/build_datasets/fashion_mini.py /usr/share/datasets/fashion-mnist DEST

Takes 600 and 100 images of each class from the original training images for training and
validation, and 100 from the original test images, in an order that depends on the seed alone.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pack import lines, write_packed

from zoo.data.splits import stratified_split

SEED = 20170825
CLASSES = (
    "t-shirt_top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle_boot",
)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Returns the array of an IDX file of bytes, compressed with gzip.

    Raises:
        ValueError: It is not such a file.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], dtype=">u4"))
    return np.frombuffer(content[start:], dtype=np.uint8).reshape(shape)


def build(source: Path, destination: Path) -> str:
    """Writes ``fashion-mini.npz`` into the folder and returns the SHA-256 of its content."""
    members: dict[str, NDArray[np.generic]] = {}
    # Shares of the original images: 600, 100 and the rest of 6,000 a class; 100 and the rest of
    # 1,000 a class.
    for origin, parts, shares in (
        ("train", ("train", "val"), (0.1, 1 / 60, 53 / 60)),
        ("t10k", ("test",), (0.1, 0.9)),
    ):
        pixels = read_idx(source / f"{origin}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{origin}-labels-idx1-ubyte.gz")
        chosen = stratified_split(labels.astype(np.int64), fractions=shares, seed=SEED)
        for part, rows in zip(parts, chosen, strict=False):
            members[f"{part}.labels"] = labels[rows]
            members[f"{part}.names"] = lines([f"fashion-mnist/{origin}/{row}" for row in rows])
            members[f"{part}.pixels"] = pixels[rows]
    return write_packed(
        destination / "fashion-mini.npz", name="fashion-mini", classes=CLASSES, members=members
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with the four .gz files")
    parser.add_argument("destination", type=Path, help="folder to write into")
    arguments = parser.parse_args()
    print(build(arguments.source, arguments.destination))
