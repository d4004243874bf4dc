"""CIFAR-10 and CIFAR-100 as they are distributed: python or binary version, unpacked or .tar.gz.

An archive is read member by member in memory; nothing is written. The python version is read
without unpickling, see :mod:`zoo.data.reading.pickled`. The data: A. Krizhevsky, "Learning
Multiple Layers of Features from Tiny Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html.

Shapes: N images, 3 colours, 32 x 32 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.archives import archive_files, folder_files
from zoo.data.reading.partition import DEFAULT_FRACTIONS
from zoo.data.reading.pickled import Plain, read_pickle
from zoo.data.reading.scan import listed
from zoo.data.reading.stacked import Stack, stacked_data
from zoo.errors import DataError, UsageError, printable
from zoo.protocols import DataSet

__all__ = ["is_cifar", "read_cifar"]

_IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """One way in which a data set is distributed.

    Args:
        train: Pattern of the names of the files with training images.
        test: Name of the file with test images.
        names: File with class names.
        labels: Which labels it has. In a binary file a byte each, in this order.
        binary: Whether images are plain records.
    """

    train: str
    test: str
    names: str
    labels: tuple[str, ...]
    binary: bool


_VERSIONS: Mapping[str, _Version] = {
    "CIFAR-10, python": _Version(
        train=r"data_batch_[0-9]+", test="test_batch", names="batches.meta",
        labels=("labels",), binary=False,
    ),
    "CIFAR-10, binary": _Version(
        train=r"data_batch_[0-9]+\.bin", test="test_batch.bin", names="batches.meta.txt",
        labels=("labels",), binary=True,
    ),
    "CIFAR-100, python": _Version(
        train=r"train", test="test", names="meta",
        labels=("coarse_labels", "fine_labels"), binary=False,
    ),
    "CIFAR-100, binary": _Version(
        train=r"train\.bin", test="test.bin", names="{}_label_names.txt",
        labels=("coarse_labels", "fine_labels"), binary=True,
    ),
}  # fmt: skip
_NAME_FILES = {"fine_label_names.txt", "coarse_label_names.txt"}


def is_cifar(path: Path) -> bool:
    """Returns whether a folder holds the files of a version, or a file is a gzipped archive."""
    if path.is_dir():
        try:
            return _version({entry.name for entry in path.iterdir() if entry.is_file()}) is not None
        except OSError:
            return False
    return path.name.lower().endswith((".tar.gz", ".tgz"))


def read_cifar(
    path: str | Path,
    *,
    seed: int,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    labels: str = "fine",
) -> DataSet:
    """Returns CIFAR-10 or CIFAR-100. Validation is taken from training.

    Args:
        path: The unpacked folder, or the archive.
        seed: Of the split.
        fractions: Training and validation share.
        labels: ``fine`` (100 classes) or ``coarse`` (20) labels of CIFAR-100.

    Raises:
        DataError: It is neither, or is damaged.
        RefusedError: A pickle names code.
    """
    place, where = Path(path), printable(path)
    if labels not in ("fine", "coarse"):
        raise UsageError(f"the labels {printable(labels)} are unknown", hint="fine or coarse")
    files = (folder_files if place.is_dir() else archive_files)(place, _wanted)
    found = _version(set(files))
    if found is None:
        raise DataError(
            f"{where} is neither CIFAR-10 nor CIFAR-100",
            found=f"the files {listed(sorted(files), most=6)}" if files else "no files of theirs",
            hint="data_batch_1 ... or train, with test and class names, python or binary version; "
            "an archive of images is to be unpacked first",
        )
    version = _VERSIONS[found]
    wanted = "labels" if version.labels == ("labels",) else f"{labels}_labels"
    classes = _class_names(files, version, labels, where)
    batches = {
        "train": sorted((n for n in files if re.fullmatch(version.train, n)), key=_number),
        "test": [version.test],
    }
    read = _binary if version.binary else _python
    stacks = {
        split: _joined([read(files[n], n, version, wanted) for n in names], classes, where)
        for split, names in batches.items()
    }
    data = stacked_data(
        stacks, name=found.partition(",")[0].lower().replace("-", ""), where=where, seed=seed,
        fractions=fractions, classes=classes,
    )  # fmt: skip
    return replace(data, notes=(*_gaps(batches["train"]), *data.notes))


def _gaps(names: Sequence[str]) -> list[str]:
    """Returns a note of the files that numbers leave out, as an unpacking that was cut short does.

    >>> _gaps(["data_batch_1", "data_batch_4"])
    ['training files that are not there: 2 of 4']
    """
    numbers = {_number(name) for name in names}
    last = max(numbers)
    lacking = last - len(numbers - {0})
    return [f"training files that are not there: {lacking} of {last}"] if lacking else []


def _version(names: set[str]) -> str | None:
    """Returns which version has these files."""
    for title, version in _VERSIONS.items():
        own = {version.names.format(kind) for kind in ("fine", "coarse")}
        trains = any(re.fullmatch(version.train, name) for name in names)
        if trains and version.test in names and own <= names:
            return title
    return None


def _wanted(name: str) -> bool:
    """Whether a file is part of any version."""
    return name in _NAME_FILES or any(
        name in (version.test, version.names) or re.fullmatch(version.train, name) is not None
        for version in _VERSIONS.values()
    )


def _number(name: str) -> int:
    digits = re.search("[0-9]+", name)
    return int(digits[0]) if digits else 0


def _class_names(
    files: Mapping[str, bytes], version: _Version, labels: str, where: str
) -> list[str]:
    """Returns the class names, position is index."""
    name = version.names.format(labels)
    if version.binary:
        names: Sequence[object] = files[name].decode("utf-8", "replace").split("\n")
    else:
        prefix = "" if version.labels == ("labels",) else f"{labels}_"
        names = _list(_entry(read_pickle(files[name], name=name), f"{prefix}label_names"))
    texts = [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]
    classes = [text.strip() for text in texts if text.strip()]
    if len(set(classes)) < len(classes):
        raise DataError(f"{name} in {where} names a class twice")
    return classes


def _python(
    content: bytes, name: str, version: _Version, wanted: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images and label numbers of one pickled batch."""
    batch = read_pickle(content, name=name)
    pixels, numbers = _entry(batch, "data"), _list(_entry(batch, wanted))
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _IMAGE_BYTES:
        raise DataError(f"{printable(name)} holds no images", hint="rows of 3,072 bytes as 'data'")
    if not all(isinstance(number, int) for number in numbers):
        raise DataError(f"{printable(name)} holds labels that are no whole numbers")
    return pixels, _labels([int(cast("int", number)) for number in numbers], name)


def _labels(numbers: Sequence[int], name: str) -> NDArray[np.int64]:
    if any(not 0 <= number < 256 for number in numbers):
        raise DataError(f"{printable(name)} holds labels outside 0..255")
    return np.asarray(numbers, dtype=np.int64)


def _binary(
    content: bytes, name: str, version: _Version, wanted: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns images and label numbers of one binary batch."""
    width = len(version.labels) + _IMAGE_BYTES
    if not content or len(content) % width:
        raise DataError(
            f"{printable(name)} is damaged",
            found=f"{len(content)} bytes, not a multiple of {width}",
            hint="download it again",
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, width)
    column = version.labels.index(wanted)
    return records[:, len(version.labels) :], records[:, column].astype(np.int64)


def _joined(
    batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]],
    classes: Sequence[str],
    where: str,
) -> Stack:
    """Returns the images of a split, colours last."""
    labels_N = np.concatenate([labels for _, labels in batches])
    pixels = np.concatenate([pixels for pixels, _ in batches])
    if len(labels_N) and labels_N.max() >= len(classes):
        raise DataError(
            f"a label in {where} has no name", found=f"{labels_N.max()} of {len(classes)} names"
        )
    colours_last = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Stack(
        pixels=np.ascontiguousarray(colours_last), labels=[classes[label] for label in labels_N]
    )


def _entry(table: Plain, key: str) -> Plain:
    """Returns an entry of a pickled dict, whose keys are texts or bytes."""
    if not isinstance(table, dict):
        raise DataError("a batch that is no dict", hint="download it again")
    for form in (key, key.encode()):
        if form in table:
            return table[form]
    raise DataError(
        f"a batch without {key!r}", found=f"the entries {listed([str(k) for k in table], most=6)}"
    )


def _list(value: Plain) -> list[Plain]:
    if not isinstance(value, list):
        raise DataError("a batch whose labels are no list", hint="download it again")
    return value
