"""The packed format: a whole data set in one ``.npz`` file that needs no pickle to be read.

Members, for each split S of ``about["splits"]``:

    about          uint8, UTF-8 JSON: format 1, name, classes, splits, sha256 of all other members
    S.labels       uint8 or int64 (N): index into the classes
    S.names        uint8, UTF-8: N names, a line each
    S.pixels       uint8 (N, H, W) grey or (N, H, W, 3) RGB: images of one size, decoded
    or else
    S.bytes        uint8: encoded images one after the other
    S.offsets      int64 (N + 1): where each begins, and where the last ends

Scripts that write it are in ``scripts/build_datasets/``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.data.pixels.decode import open_image
from zoo.data.reading.members import read_members
from zoo.errors import DataError, printable
from zoo.protocols import DataSet, Images, Split

__all__ = ["EncodedImages", "StackedImages", "content_digest", "read_packed"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackedImages:
    """Decoded images of one size. Both an ``Images`` and a ``PixelImages``.

    Args:
        pixels: uint8, (N, H, W) grey or (N, H, W, 3) RGB, read-only.
        names: Name of each image.
    """

    pixels: NDArray[np.uint8]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> Image.Image:
        """Returns the image as RGB."""
        return Image.fromarray(self.pixels[index]).convert("RGB")

    def name(self, index: int) -> str:
        """Returns the name of the image within its data set."""
        return self.names[index]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedImages:
    """Encoded images in memory, decoded when they are read.

    Args:
        content: uint8, all files one after the other.
        offsets: int64 (N + 1), ascending from 0 to the length of ``content``.
        names: Name of each image.
    """

    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def read(self, index: int) -> Image.Image:
        """Returns the image as RGB.

        Raises:
            DataError: It cannot be decoded.
        """
        return open_image(self.source(index), name=self.names[index])

    def source(self, index: int) -> bytes:
        """Returns the encoded image."""
        row = range(len(self))[index]
        return self.content[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def name(self, index: int) -> str:
        """Returns the name of the image within its data set."""
        return self.names[index]


def content_digest(members: Mapping[str, NDArray[np.generic]]) -> str:
    """Returns the SHA-256 over names, types, shapes and bytes of all members except ``about``."""
    digest = hashlib.sha256()
    for name in sorted(members):
        if name != "about":
            member = np.ascontiguousarray(members[name])
            digest.update(f"{name} {member.dtype.str} {member.shape}\n".encode())
            digest.update(member.tobytes())
    return digest.hexdigest()


def read_packed(path: Path) -> DataSet:
    """Returns the data set in the file. Its fingerprint is the digest of its content, checked.

    Raises:
        DataError: The file is missing, damaged, or not of this format.
    """
    found = ""
    try:
        members = read_members(path)
        about = json.loads(members["about"].tobytes())
        if about["format"] != FORMAT:
            found = f"format {printable(about['format'])}, this zoo reads format {FORMAT}"
        elif content_digest(members) != about["sha256"]:
            found = "content that does not match its own SHA-256"
        else:
            splits = {split: _split(members, split) for split in about["splits"]}
            return DataSet(
                name=str(about["name"]),
                classes=tuple(map(str, about["classes"])),
                splits=splits,
                fingerprint=about["sha256"],
                typical_side=min(splits["train"].images.read(0).size),
            )
    except FileNotFoundError:
        found = "no such file"
    except DataError as error:
        found = error.found or error.what
    except Exception as error:
        # A damaged archive makes zipfile, zlib, numpy and json raise nearly anything.
        found = f"{type(error).__name__}: {printable(error)}"
    raise DataError(
        f"cannot read the packed data set {printable(path)}",
        found=found,
        hint="install the package that ships it again",
    )


def _split(members: Mapping[str, NDArray[np.generic]], split: str) -> Split:
    """Returns one split of a file whose digest has been checked."""
    labels_N = members[f"{split}.labels"].astype(np.int64)
    names = members[f"{split}.names"].tobytes().decode().split("\n")
    for member in members.values():
        member.flags.writeable = False
    images: Images
    if f"{split}.pixels" in members:
        images = StackedImages(pixels=members[f"{split}.pixels"].view(np.uint8), names=names)
    else:
        images = EncodedImages(
            content=members[f"{split}.bytes"].view(np.uint8),
            offsets=members[f"{split}.offsets"].view(np.int64),
            names=names,
        )
    if not len(images) == len(labels_N) == len(names):
        raise ValueError(
            f"{split}: {len(images)} images, {len(labels_N)} labels, {len(names)} names"
        )
    return Split(images=images, labels_N=labels_N)
