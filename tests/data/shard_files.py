"""Tiny WebDataset shards for tests."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def png(value, side=6):
    content = BytesIO()
    pixels = np.full((side, side + 2, 3), (value % 256, 7, 200), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def tar_bytes(members, format=tarfile.PAX_FORMAT):
    """A tar of (name, content). Without content the member is a link."""
    target = BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, BytesIO(content))
    return target.getvalue()


def samples(first, count, classes=("cat", "dog")):
    return [
        member
        for number in range(first, first + count)
        for member in (
            (f"{number:04d}.png", png(number)),
            (f"{number:04d}.cls", classes[number % len(classes)].encode()),
        )
    ]


def build_shards(folder: Path) -> None:
    """Writes two training shards of 10 samples and one for validation of 4."""
    for number in range(2):
        path = folder / f"train-{number:03d}.tar"
        path.write_bytes(tar_bytes(samples(10 * number, 10)))
    (folder / "val-000.tar").write_bytes(tar_bytes(samples(50, 4)))


def read_all(split):
    return [
        (split.images.name(i), np.asarray(split.images.read(i)).tobytes())
        for i in range(len(split.images))
    ]
