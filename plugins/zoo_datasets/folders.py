"""Folders of images as a component."""

from __future__ import annotations

from collections.abc import Sequence

from zoo.data.folder import read_folder
from zoo.errors import UsageError
from zoo.protocols import DataSet

__all__ = ["folder"]


def folder(
    *, path: str | None = None, seed: int = 0, split: Sequence[float] = (0.8, 0.1, 0.1)
) -> DataSet:
    """Returns the images below a folder.

    Args:
        path: The folder.
        seed: A fact of the run: seed of the split, where the folder is not split already.
        split: A fact of the run: training, validation and test fractions.

    Raises:
        UsageError: No path was given.
        DataError: The folder, its layout or its images cannot be used.
    """
    if not path:
        raise UsageError("the data set 'folder' needs a path", hint="--data folder:path=DIRECTORY")
    return read_folder(path, seed=seed, fractions=split)
