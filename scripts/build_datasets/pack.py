"""Writes the format of ``zoo.data.reading.packed``: the same content gives the same bytes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.reading.packed import FORMAT, content_digest

# The earliest time that a zip file can hold: the clock must not show in the result.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def lines(names: Sequence[str]) -> NDArray[np.uint8]:
    """Returns the names as UTF-8, a line each.

    Raises:
        ValueError: A name has a line break.
    """
    if any("\n" in name for name in names):
        raise ValueError("a name has a line break")
    return np.frombuffer("\n".join(names).encode(), dtype=np.uint8)


def write_packed(
    path: Path, *, name: str, classes: Sequence[str], members: Mapping[str, NDArray[np.generic]]
) -> str:
    """Writes the file and returns the SHA-256 of its content.

    Args:
        path: Where to. Replaced when it is there.
        name: Name of the data set.
        classes: Class names, position is index.
        members: As the format says, without ``about``.
    """
    digest = content_digest(members)
    about = {
        "format": FORMAT,
        "name": name,
        "classes": list(classes),
        "splits": [part for part in ("train", "val", "test") if f"{part}.labels" in members],
        "sha256": digest,
    }
    text = np.frombuffer(json.dumps(about, indent=1).encode(), dtype=np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for member, values in {"about": text, **members}.items():
            content = BytesIO()
            np.lib.format.write_array(
                content, np.ascontiguousarray(values), version=(1, 0), allow_pickle=False
            )
            entry = zipfile.ZipInfo(f"{member}.npy", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content.getvalue(), compresslevel=9)
    return digest
