"""What ``--data PATH`` reads: decides by content and suffix, and asks the reader of that kind.

a folder of images                  zoo.data.reading.folder
a folder of IDX files               zoo.data.reading.idx
CIFAR, a folder or .tar.gz          zoo.data.reading.cifar
.npz                                zoo.data.reading.arrays
.csv .tsv .jsonl .ndjson .parquet   zoo.data.reading.manifest
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zoo.data.reading.arrays import read_arrays
from zoo.data.reading.cifar import is_cifar, read_cifar
from zoo.data.reading.folder import read_folder
from zoo.data.reading.idx import find_idx_files, is_idx_name, read_idx
from zoo.data.reading.manifest import read_manifest
from zoo.data.reading.partition import DEFAULT_FRACTIONS
from zoo.data.reading.scan import SUFFIXES as IMAGE_SUFFIXES
from zoo.data.reading.tables import SUFFIXES as TABLE_SUFFIXES
from zoo.errors import DataError, UsageError, printable
from zoo.protocols import DataSet, OnBad

__all__ = ["READ", "read_path"]

READ = "a folder of images, of IDX or of CIFAR files; CIFAR's .tar.gz; .npz; " + ", ".join(
    TABLE_SUFFIXES
)
"""What is read, as messages say it."""


def read_path(
    path: str | Path,
    *,
    seed: int,
    split: Sequence[float] = DEFAULT_FRACTIONS,
    on_bad: OnBad = "fail",
) -> DataSet:
    """Returns the data set in a folder or file.

    Args:
        path: What the user gave.
        seed: Of the split, where the data is not split already.
        split: Training, validation and, if any, test share, for the parts that are not there.
        on_bad: ``fail``: images that cannot be read are an error that names them all. ``skip``:
            they are left out and listed in :attr:`~zoo.protocols.DataSet.bad`.

    Raises:
        UsageError: ``on_bad`` is neither.
        DataError: There is nothing at that path, it is not read, or it cannot be used.
        PluginError: It needs a package that is not installed.
        RefusedError: It wants to run code.
    """
    if on_bad not in ("fail", "skip"):
        raise UsageError(f"on_bad is {printable(on_bad)}", hint="fail or skip")
    place, where = Path(path), printable(path)
    try:
        is_folder, is_file = place.is_dir(), place.is_file()
        name = place.name.lower()
    except (OSError, ValueError):  # a name that no file system takes
        is_folder = is_file = False
        name = ""
    if is_folder:
        if find_idx_files(place)[1]:
            return read_idx(place, seed=seed, fractions=split)
        if is_cifar(place):
            return read_cifar(place, seed=seed, fractions=split)
        return read_folder(place, seed=seed, fractions=split, on_bad=on_bad)
    if not is_file:
        raise DataError(
            f"there is no data at {where}",
            found="nothing of that name, or neither a file nor a folder",
            hint=f"read are {READ}",
        )
    if name.endswith(".npz"):
        return read_arrays(place, seed=seed, fractions=split)
    if name.endswith(TABLE_SUFFIXES):
        return read_manifest(place, seed=seed, fractions=split, on_bad=on_bad)
    if is_cifar(place):
        return read_cifar(place, seed=seed, fractions=split)
    raise _not_read(place, where, name)


def _not_read(place: Path, where: str, name: str) -> DataError:
    """Returns the error about a file that is no data set, with what to do instead."""
    parent = printable(place.parent)
    if name.endswith(tuple(IMAGE_SUFFIXES)):
        return DataError(
            f"{where} is a single image", hint=f"the folder above its class folder, or: {READ}"
        )
    if is_idx_name(name):
        return DataError(f"{where} is one of several IDX files", hint=f"--data {parent}")
    if name.endswith((".zip", ".tar", ".tar.xz", ".tar.bz2", ".7z", ".rar")):
        return DataError(f"{where} is an archive", hint="unpack it and give the folder")
    return DataError(f"{where} is not data that is read", hint=f"read are {READ}")
