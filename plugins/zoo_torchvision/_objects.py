"""From an object of torchvision to its images and labels, without decoding an image.

Public ways first: a ``loader`` that returns the path instead of an image, arrays that are there as
``data``. Where there are none, the few private attributes that have been the same for years, else
the images that the object itself returns.

Suffixes: N images, K classes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.data.reading.folder import FileImages
from zoo.data.reading.parts import Part
from zoo.data.reading.peeking import peek_file
from zoo.data.reading.stacked import Stack
from zoo.errors import DataError, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LOADED_BY_PATH", "PatchImages", "part_of", "patches_part", "stacks_of"]


def _path_itself(path: str | Path) -> str:
    """Returns what torchvision would have decoded."""
    return os.fspath(path)


LOADED_BY_PATH: Mapping[str, Callable[[str | Path], str]] = {"loader": _path_itself}
"""Argument with which ``dataset[index]`` is (path, label)."""


def _class_names(made: Any, given: Sequence[str], count: int) -> tuple[str, ...]:
    """Returns the class names of an object, position is index; numbers where it has none.

    Of several names for a class the first is taken. Two classes of one name, as the two kinds of
    crane in ImageNet, are told apart by their WordNet ids.
    """
    found = given or getattr(made, "classes", None) or getattr(made, "categories", None) or ()
    names = [str(name[0] if isinstance(name, tuple) else name).strip() for name in found]
    names += [str(index) for index in range(len(names), count)]
    times, ids = Counter(names), getattr(made, "wnids", None) or range(len(names))
    return tuple(
        f"{name} ({mark})" if times[name] > 1 else name
        for name, mark in zip(names, ids, strict=True)
    )


# ---- arrays -----------------------------------------------------------------------------------


def stacks_of(
    made: Mapping[str, Any], *, reader: str, names: Sequence[str], sideways: bool
) -> tuple[dict[str, Stack], tuple[str, ...], list[str]]:
    """Returns the decoded images by split, the class names, and notes.

    Args:
        made: Objects by split.
        reader: ``arrays`` that the object holds, or ``pictures`` that it makes from what it holds.
        names: Class names, where the object has none.
        sideways: Whether rows and columns are exchanged.
    """
    read = _arrays if reader == "arrays" else _pictures
    found = {split: read(data) for split, data in made.items()}
    notes = [f"{split} has no labels and was left out" for split, pair in found.items() if not pair]
    kept = {split: pair for split, pair in found.items() if pair is not None}
    count = max(int(labels_N.max(initial=-1)) for _, labels_N in kept.values()) + 1
    every = _class_names(made["train"], names, count)
    used = np.unique(np.concatenate([labels_N for _, labels_N in kept.values()]))
    stacks = {
        split: Stack(
            pixels=np.ascontiguousarray(pixels.swapaxes(1, 2) if sideways else pixels),
            labels=[every[label] for label in labels_N],
        )
        for split, (pixels, labels_N) in kept.items()
    }
    return stacks, tuple(every[label] for label in used), notes


def _arrays(data: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns pixels, uint8 (N, H, W) or (N, H, W, 3), and labels."""
    pixels = np.asarray(data.data)
    if pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3:
        pixels = pixels.transpose(0, 2, 3, 1)
    labels_N = np.asarray(data.targets if hasattr(data, "targets") else data.labels)
    if labels_N.ndim == 2:  # QMNIST: class, writer and so on
        labels_N = labels_N[:, 0]
    return pixels, labels_N.astype(np.int64)


def _pictures(data: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    """Returns the same from an object that makes an image of what it holds; None without labels."""
    pairs = [data[index] for index in range(len(data))]
    if any(label is None for _, label in pairs):
        return None
    pixels = np.stack([np.asarray(image) for image, _ in pairs])
    return pixels, np.asarray([label for _, label in pairs], dtype=np.int64)


# ---- files ------------------------------------------------------------------------------------


def part_of(data: Any, folder: Path, *, reader: str, names: Sequence[str]) -> Part:
    """Returns the images of an object as files below a folder, in the order of their names.

    Raises:
        DataError: The object is not as it was in the versions of torchvision that are known.
    """
    if reader == "celebrities":
        return _celebrities(data, folder)
    pairs = _READERS[reader](data)
    found = [(os.path.relpath(path, folder).replace(os.sep, "/"), label) for path, label in pairs]
    found.sort()  # torchvision takes some as the disk lists them
    labels_N = np.asarray([label for _, label in found], dtype=np.int64)
    classes = _class_names(data, names, int(labels_N.max(initial=-1)) + 1)
    if type(data).__name__ == "Omniglot":  # numbers its classes as the disk lists them
        labels = [name.rpartition("/")[0].split("/")[-2:] for name, _ in found]
        joined = ["/".join(parts) for parts in labels]
        classes = tuple(sorted(set(joined)))
        labels_N = np.asarray([classes.index(name) for name in joined], dtype=np.int64)
    elif type(data).__name__ == "INaturalist":
        kind = data.target_type[0]
        classes = tuple(data.category_name(kind, index) for index in range(labels_N.max() + 1))
    elif type(data).__name__ == "LFWPeople":
        classes = tuple(sorted(data.class_to_idx, key=data.class_to_idx.__getitem__))
    elif type(data).__name__ == "Places365":
        classes = tuple(name[3:] if name[:1] == name[2:3] == "/" else name for name in classes)
    images = FileImages(root=folder, names=tuple(name for name, _ in found))
    return Part(images=images, classes=classes, labels_N=labels_N, peek=partial(_peek, images))


def _peek(images: FileImages, index: int) -> tuple[int, bytes]:
    return peek_file(images.root / images.names[index], name=images.names[index])


def _paths(data: Any) -> Iterable[tuple[str, int]]:
    """Reads an object that was made with :data:`LOADED_BY_PATH`."""
    for index in range(len(data)):
        path, label = data[index]
        yield path, int(label)


def _pairs(data: Any) -> Iterable[tuple[str, int]]:
    return ((os.fspath(path), int(label)) for path, label in data._samples)


def _pets(data: Any) -> Iterable[tuple[str, int]]:
    return zip(map(os.fspath, data._images), data._labels, strict=True)


def _caltech(data: Any) -> Iterable[tuple[str, int]]:
    """Builds the names that the two Caltech classes build."""
    few = type(data).__name__ == "Caltech101"
    folder = Path(data.root, "101_ObjectCategories" if few else "256_ObjectCategories")
    for label, number in zip(data.y, data.index, strict=True):
        file = f"image_{number:04}.jpg" if few else f"{label + 1:03}_{number:04}.jpg"
        yield os.fspath(folder / data.categories[label] / file), label


_READERS: Mapping[str, Callable[[Any], Iterable[tuple[str, int]]]] = {
    "paths": _paths,
    "pairs": _pairs,
    "pets": _pets,
    "caltech": _caltech,
}


def _celebrities(data: Any, folder: Path) -> Part:
    """Returns CelebA, whose images have any number of 40 attributes."""
    targets_NK = np.asarray(data.attr, dtype=np.float32)
    images = FileImages(
        root=folder, names=tuple(f"celeba/img_align_celeba/{name}" for name in data.filename)
    )
    return Part(
        images=images,
        classes=tuple(name for name in data.attr_names if name),
        labels_N=targets_NK.argmax(axis=1).astype(np.int64),
        targets_NK=targets_NK,
        peek=partial(_peek, images),
    )


# ---- PatchCamelyon ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchImages:
    """Images in the dataset ``x`` of an HDF5 file, read one at a time: all are 20 GB.

    Args:
        path: The file.
        count: How many images there are.
        split: What torchvision calls the split.
    """

    path: Path
    count: int
    split: str

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Image.Image:
        """Returns the image as RGB.

        Raises:
            DataError: The file cannot be read any more.
        """
        import h5py

        try:
            with h5py.File(self.path) as file:  # opened each time: no handle to share
                return Image.fromarray(np.asarray(file["x"][index], dtype=np.uint8)).convert("RGB")
        except (OSError, KeyError, ValueError) as error:
            raise DataError(
                f"cannot read the image {self.name(index)}", found=printable(error)
            ) from error

    def name(self, index: int) -> str:
        """Returns split and number."""
        return f"{self.split}/{index}"


def patches_part(folder: Path, split: str, *, names: Sequence[str]) -> Part:
    """Returns a split of PatchCamelyon. Labels are read at once, images when asked for."""
    import h5py

    prefix = folder / "pcam" / f"camelyonpatch_level_2_split_{'valid' if split == 'val' else split}"
    images_file, labels_file = Path(f"{prefix}_x.h5"), Path(f"{prefix}_y.h5")
    with h5py.File(labels_file) as file:
        labels_N = np.asarray(file["y"]).reshape(-1).astype(np.int64)
    with h5py.File(images_file) as file:
        count, side = file["x"].shape[0], min(file["x"].shape[1:3])
    if count != len(labels_N):
        raise DataError(f"{count} images in {printable(images_file)} but {len(labels_N)} labels")
    return Part(
        images=PatchImages(path=images_file, count=count, split=split), classes=tuple(names),
        labels_N=labels_N, side=side, digest=str(images_file.stat().st_size).encode(),
    )  # fmt: skip
