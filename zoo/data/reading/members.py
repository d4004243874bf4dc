"""The arrays in a ``.npz`` file. Nothing is unpickled, and no more is read than their headers say.

``numpy.load`` reads members of any other kind, too, and those as long as they are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, printable

__all__ = ["MAX_ARRAY_BYTES", "array_names", "read_members"]

MAX_ARRAY_BYTES = 16 * 2**30
"""Most that is read of a file: 6 million RGB images of 32 pixels."""


def array_names(path: Path) -> list[str]:
    """Returns the names of the arrays in a file; what else is in it is passed over.

    Raises:
        DataError: An array is of Python objects.
        Exception: It is missing, damaged or no zip file, or its arrays claim more than is there or
            allowed: nearly anything that zipfile, zlib, numpy and ast raise.
    """
    with zipfile.ZipFile(path) as archive:
        return list(_checked(archive, path))


def read_members(path: Path, names: Sequence[str] | None = None) -> dict[str, NDArray[np.generic]]:
    """Returns arrays by name: those named, or all that are in a file.

    Raises:
        DataError: An array is of Python objects.
        Exception: As :func:`array_names`.
    """
    with zipfile.ZipFile(path) as archive:
        found = _checked(archive, path)
        return {name: _read(archive, found[name]) for name in (found if names is None else names)}


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Returns the members that are arrays by name, each of the size that its header says.

    Of two with one name the last counts, as for zipfile.
    """
    members = {
        info.filename.removesuffix(".npy"): info
        for info in archive.infolist()
        if info.filename.endswith(".npy")
    }
    left = MAX_ARRAY_BYTES
    for name, info in members.items():
        shape, dtype = _header(archive, info)
        if dtype.hasobject:
            raise DataError(
                f"{printable(path)} cannot be read without running what it holds",
                found=f"{printable(name)} is an array of Python objects",
                hint="save it again with a plain dtype",
            )
        num_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if num_bytes > info.file_size:
            raise ValueError(f"{name} claims {num_bytes:,} bytes of {info.file_size:,}")
        left -= num_bytes
        if left < 0:
            raise ValueError(f"its arrays claim more than {MAX_ARRAY_BYTES:,} bytes")
    return members


def _header(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(info) as file:
        array: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    return array
