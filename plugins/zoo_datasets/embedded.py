"""The data sets that ship inside the package. Licence and origin stand beside each file."""

from __future__ import annotations

from importlib.resources import as_file, files

from zoo.data.reading.packed import read_packed
from zoo.protocols import DataSet

__all__ = ["clipart10", "fashion_mini"]


def fashion_mini() -> DataSet:
    """Returns 6,000 training, 1,000 validation and 1,000 test images of Fashion-MNIST.

    The images have ``pixels``: (N, 28, 28) uint8.
    """
    return _embedded("fashion-mini.npz")


def clipart10() -> DataSet:
    """Returns 1,650 colour drawings of ten classes, 96 x 96 pixels, WebP in memory."""
    return _embedded("clipart10.npz")


def _embedded(name: str) -> DataSet:
    with as_file(files(__package__) / "files" / name) as path:
        return read_packed(path)
