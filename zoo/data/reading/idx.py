"""IDX files, the format of MNIST and its relatives, plain or gzipped.

A file is ``0 0 TYPE RANK``, RANK sizes as big-endian 32-bit numbers, then the values. Read are
unsigned bytes (type 8): images of rank 3, labels of rank 1. The format: Y. LeCun, C. Cortes and
C. Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/.

Shapes: N images, H height, W width.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.partition import DEFAULT_FRACTIONS, SPLIT_NAMES
from zoo.data.reading.scan import bullets, listed
from zoo.data.reading.stacked import Stack, stacked_data
from zoo.errors import DataError, printable
from zoo.protocols import DataSet

__all__ = ["find_idx_files", "is_idx_name", "read_idx", "read_idx_file", "write_idx_file"]

MAX_BYTES = 8 * 2**30
"""Largest content that is read: 11 million images of MNIST's size."""

_BLOCK = 2**20
_UNSIGNED_BYTE = 8
_NAME = re.compile(
    r"(?:.+[-_.])?(?P<split>train|t10k|test|testing|val|valid|validation|dev)"
    r"[-_.](?P<what>images|labels)[-_.]idx[0-9][-_.]ubyte(?P<gz>\.gz)?",
    re.IGNORECASE,
)
_LAYOUT = "train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz]; t10k-... for the test"
_CLASS_FILES = ("classes.txt", "labels.txt")


def read_idx(
    path: str | Path, *, seed: int, fractions: Sequence[float] = DEFAULT_FRACTIONS
) -> DataSet:
    """Returns the data set in a folder of IDX files.

    Classes are the numbers in the label file, or the lines of a ``classes.txt`` or ``labels.txt``
    beside it, the first line for 0. Validation is taken from training where it is not there.

    Args:
        path: The folder, or one that holds it as ``raw``, as torchvision leaves it.
        seed: Of the split.
        fractions: Training, validation and, if any, test share.

    Raises:
        DataError: Files are missing, damaged, or do not fit together.
    """
    folder, files = find_idx_files(Path(path))
    where = printable(path)
    if problems := _incomplete(files):
        raise DataError(
            f"{where} cannot be read as IDX files\n{bullets(problems)}",
            found=listed(sorted(file.name for file in files.values())) or "no IDX files",
            hint=_LAYOUT,
        )
    names = _class_names(folder)
    stacks = {
        split: _stack(files[split, "images"], files[split, "labels"], names)
        for split in ("train", "val", "test")
        if (split, "images") in files
    }
    return stacked_data(
        stacks, name=folder.resolve().name, where=where, seed=seed, fractions=fractions,
        classes=names,
    )  # fmt: skip


def find_idx_files(path: Path) -> tuple[Path, dict[tuple[str, str], Path]]:
    """Returns the folder and its IDX files by split and by ``images`` or ``labels``.

    Of a plain and a gzipped file of the same name the plain one is taken.

    Raises:
        DataError: Two files of different names mean the same.
    """
    folder = path if _names(path) or not _names(path / "raw") else path / "raw"
    files: dict[tuple[str, str], Path] = {}
    for match in sorted(_names(folder), key=lambda match: (bool(match["gz"]), match.string)):
        split = match["split"].lower()
        key = "test" if split == "t10k" else SPLIT_NAMES[split], match["what"].lower()
        first = files.setdefault(key, folder / match.string)
        if match.string.removesuffix(".gz") != first.name.removesuffix(".gz"):
            raise DataError(
                f"{printable(folder)} holds several data sets",
                found=f"{printable(first.name)} and {printable(match.string)}",
                hint="put the files of one data set into a folder of their own",
            )
    return folder, files


def is_idx_name(name: str) -> bool:
    """Returns whether a file is called as those of MNIST.

    >>> is_idx_name("train-images-idx3-ubyte.gz"), is_idx_name("train.gz")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def _names(folder: Path) -> list[re.Match[str]]:
    try:
        found = [entry.name for entry in folder.iterdir() if entry.is_file()]
    except OSError:
        return []
    return [match for name in found if (match := _NAME.fullmatch(name))]


def _incomplete(files: dict[tuple[str, str], Path]) -> list[str]:
    """Returns what is missing, a line each."""
    splits = {split for split, _ in files} | {"train"}
    return [
        f"no {what} of {split}"
        for split in ("train", "val", "test")
        for what in ("images", "labels")
        if split in splits and (split, what) not in files
    ]


def _class_names(folder: Path) -> list[str] | None:
    """Returns the lines of a class file, if there is one."""
    for name in _CLASS_FILES:
        try:
            if not (folder / name).is_file():
                continue
            text = (folder / name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{printable(folder / name)} cannot be read", found=str(error)
            ) from None
        lines = [line.strip() for line in text.strip("\r\n").split("\n")]
        if "" in lines or len(set(lines)) < len(lines):
            raise DataError(
                f"{printable(folder / name)} must name each class once, a line each",
                found="an empty line" if "" in lines else "a name twice",
            )
        return lines
    return None


def _stack(images: Path, labels: Path, names: Sequence[str] | None) -> Stack:
    """Returns one split.

    Raises:
        DataError: The files do not fit together or to the class names.
    """
    pixels_NHW, labels_N = read_idx_file(images), read_idx_file(labels)
    problem = ""
    if pixels_NHW.ndim != 3 or labels_N.ndim != 1:
        problem = (
            f"images of rank {pixels_NHW.ndim} and labels of rank {labels_N.ndim}, not 3 and 1"
        )
    elif len(pixels_NHW) != len(labels_N):
        problem = f"{len(pixels_NHW)} images and {len(labels_N)} labels"
    elif 0 in pixels_NHW.shape:
        problem = f"images of shape {pixels_NHW.shape}"
    elif names is not None and labels_N.max() >= len(names):
        problem = f"the label {labels_N.max()}, and names for {len(names)} classes"
    if problem:
        raise DataError(
            f"{printable(images.name)} and {printable(labels.name)} do not fit together",
            found=problem,
        )
    called = [str(number) for number in range(256)] if names is None else names
    return Stack(pixels=pixels_NHW, labels=[called[label] for label in labels_N])


def read_idx_file(path: Path) -> NDArray[np.uint8]:
    """Returns the array in one IDX file of unsigned bytes, gzipped or plain.

    Never allocates more than the content that is there and one block.

    Raises:
        DataError: It is not such a file, is cut short, too long, or more than ``MAX_BYTES``.
    """
    try:
        with path.open("rb") as start:
            zipped = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            return _values(cast("IO[bytes]", file), path)
    except (OSError, EOFError, zlib.error) as error:  # a bad gzip header is an OSError
        reason = getattr(error, "strerror", None) or str(error)
    raise DataError(f"{printable(path)} cannot be read", found=printable(reason))


def _values(file: IO[bytes], path: Path) -> NDArray[np.uint8]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(
            f"{printable(path)} is not an IDX file",
            found=f"it starts with {head.hex(' ')}" if head else "an empty file (0 bytes)",
            hint="two zero bytes, the type and the rank",
        )
    kind, rank = head[2], head[3]
    if kind != _UNSIGNED_BYTE or rank not in (1, 3):
        raise DataError(
            f"{printable(path)} holds IDX values of type {kind} and rank {rank}",
            hint="unsigned bytes (type 8): images of rank 3, labels of rank 1",
        )
    sizes = file.read(4 * rank)
    shape = struct.unpack(f">{rank}I", sizes) if len(sizes) == 4 * rank else ()
    wanted = int(np.prod([int(size) for size in shape], dtype=object)) if shape else 0
    if not shape or wanted > MAX_BYTES:
        raise DataError(
            f"{printable(path)} cannot be read",
            found=f"sizes {shape}, more than {MAX_BYTES:,} bytes" if shape else "no sizes",
        )
    content = bytearray()
    while len(content) < wanted and (block := file.read(min(_BLOCK, wanted - len(content)))):
        content += block
    if len(content) < wanted or file.read(1):
        told = " x ".join(map(str, shape))
        raise DataError(
            f"{printable(path)} is damaged",
            found=f"{len(content)} of {wanted} bytes" if len(content) < wanted
            else f"more than the {wanted} bytes of {told}",
            hint="download it again",
        )  # fmt: skip
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def write_idx_file(path: Path, values: NDArray[np.uint8]) -> None:
    """Writes an array of unsigned bytes as a gzipped IDX file, the same bytes every time."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, _UNSIGNED_BYTE, values.ndim, *values.shape)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        file.write(head)
        file.write(np.ascontiguousarray(values).tobytes())
