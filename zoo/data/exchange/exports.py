"""A data set as NumPy arrays, as IDX files, and as a table of paths and labels.

Shapes: N images, H height, W width, K classes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo.data.exchange.pictures import picture, square, within, work_through, write_pictures
from zoo.data.exchange.safe_names import SafeNames
from zoo.data.exchange.writing import built_beside
from zoo.data.pixels.decode import files_of
from zoo.data.reading.columns import SOFT_PREFIX
from zoo.data.reading.idx import write_idx_file
from zoo.data.reading.scan import listed
from zoo.data.reading.usable import SEPARATORS
from zoo.data.threads import Progress
from zoo.errors import UsageError, printable
from zoo.protocols import DataSet, Images, PixelImages, Split

__all__ = ["export_arrays", "export_idx", "export_table", "lost_columns"]

_IDX_SPLITS = {"train": "train", "val": "val", "test": "t10k"}
_SEPARATORS = "|;,/"


def export_arrays(data: DataSet, path: Path, *, size: int | None, progress: Progress) -> list[str]:
    """Writes ``SPLIT_images`` and ``SPLIT_labels`` for each split, and ``classes``.

    Grey images are (N, H, W), others (N, H, W, 3), uint8. Labels are int64 (N,), or uint8 (N, K) of
    0 and 1 with several labels an image. Returns what was lost, a line each.

    Raises:
        UsageError: Soft labels, images of different sizes, or the file is there.
        DataError: Images cannot be read.
    """
    _refuse_soft(data, ".npz")
    with built_beside(path) as beside:
        arrays: dict[str, NDArray[np.generic]] = {"classes": np.asarray(data.classes)}
        for split, pixels in _pixels(data, size=size, progress=progress).items():
            part = data.splits[split]
            arrays[f"{split}_images"] = pixels
            several_NK = part.targets_NK
            arrays[f"{split}_labels"] = (
                part.labels_N if several_NK is None else several_NK.astype(np.uint8)
            )
        with beside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the names of members
    return lost_columns(data)


def export_idx(data: DataSet, folder: Path, *, size: int | None, progress: Progress) -> list[str]:
    """Writes gzipped IDX files and ``classes.txt``, and returns what was lost, a line each.

    Raises:
        UsageError: More than 256 classes or several labels an image, a class name that is no line,
            images of different sizes, or the folder is used.
        DataError: Images cannot be read.
    """
    _refuse_soft(data, "IDX")
    odd = [c for c in data.classes if c != c.strip() or not c or len(c.splitlines()) != 1]
    if data.multi_label or len(data.classes) > 256 or odd:
        raise UsageError(
            f"{printable(data.name)} cannot be written as IDX files",
            found="several labels an image" if data.multi_label
            else f"class names that are no line of text: {listed(odd, most=3)}" if odd
            else f"{len(data.classes)} classes of at most 256",
            hint="export it as .csv or .npz",
        )  # fmt: skip
    lost, coloured = lost_columns(data), False
    with built_beside(folder) as beside:
        beside.mkdir()
        for split, pixels in _pixels(data, size=size, progress=progress).items():
            name, coloured = _IDX_SPLITS[split], pixels.ndim == 4
            pixels_NHW = _to_grey(pixels) if coloured else pixels
            labels_N = data.splits[split].labels_N.astype(np.uint8)
            write_idx_file(beside / f"{name}-images-idx3-ubyte.gz", pixels_NHW)
            write_idx_file(beside / f"{name}-labels-idx1-ubyte.gz", labels_N)
        lines = "".join(f"{name}\n" for name in data.classes)
        (beside / "classes.txt").write_text(lines, encoding="utf-8", newline="")
    if coloured:
        lost.append("colours became grey: IDX files hold one channel")
    return lost


def export_table(data: DataSet, path: Path, *, size: int | None, progress: Progress) -> list[str]:
    """Writes a manifest: path, label, split, and where there are any soft labels, weight, group.

    Images in files stay where they are: their paths are relative to the manifest where they are
    below its folder, else absolute. Others, and all with ``size``, are written as PNG into
    ``STEM-images`` beside it. Returns what to know about it, a line each.

    Raises:
        UsageError: The file or the folder is there already, or names that a table cannot hold.
        DataError: Images cannot be read.
    """
    if odd := [name for name in data.classes if name != name.strip()]:
        raise UsageError(
            f"{printable(data.name)} cannot be written as a table",
            found=f"class names with spaces around them, which are cut off: {listed(odd, most=3)}",
            hint="export it as .npz, or rename these classes",
        )
    files = {split: files_of(part.images) for split, part in data.splits.items()}
    with built_beside(path) as beside:
        if size is None and None not in files.values():
            paths = {split: _located(found or (), path) for split, found in files.items()}
        else:
            folder = path.with_name(f"{path.stem}-images")
            names = SafeNames()
            with built_beside(folder) as pictures:
                pictures.mkdir()
                written = write_pictures(
                    data, pictures, folders=[names.part(name) for name in data.classes],
                    transform=lambda image: within(image, size), format="png", progress=progress,
                )  # fmt: skip
            paths = {s: [f"{folder.name}/{name}" for name in found] for s, found in written.items()}
        separator = next((s for s in _SEPARATORS if not any(s in c for c in data.classes)), None)
        if data.multi_label and separator is None:
            raise UsageError("the class names hold every separator", found=f"{_SEPARATORS}")
        rows = _rows(data, paths, separator or "")
        try:
            with beside.open("w", encoding="utf-8", newline="") as file:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
                if any("\r" in cell for row in rows for cell in row):
                    # Python 3.11 leaves a carriage return unquoted, which would break the row.
                    writer = csv.writer(
                        file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL
                    )
                writer.writerows(rows)
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{printable(data.name)} holds names that are not UTF-8, which a table cannot hold",
                found=printable(error.object)[:200],
                hint="rename them, or import the data into a folder of its own",
            ) from None
    notes = []
    if data.multi_label:
        words = {sign: word for word, sign in SEPARATORS.items()}  # a bare | or , would be cut off
        cut = words.get(separator or "", separator)
        notes.append(f"read it with --data manifest:path={printable(path)},separator={cut}")
    if any(os.path.isabs(name) for found in paths.values() for name in found):
        notes.append("paths are absolute: the images are not below the folder of the manifest")
    return notes


def _rows(data: DataSet, paths: dict[str, list[str]], separator: str) -> list[list[str]]:
    """Returns the header and a row for each image."""
    soft = any(part.targets_NK is not None for part in data.splits.values()) and (
        not data.multi_label
    )
    weighted = any(part.weights_N is not None for part in data.splits.values())
    labels = [f"{SOFT_PREFIX}{name}" for name in data.classes] if soft else ["label"]
    grouped = any(part.groups_N is not None for part in data.splits.values())
    rows = [["path", *labels, "split", *["weight"] * weighted, *["group"] * grouped]]
    for split, part in data.splits.items():
        for row, name in enumerate(paths[split]):
            rows.append([name, *_label_cells(data, part, row, separator), split])
            if weighted:
                rows[-1].append("1" if part.weights_N is None else repr(float(part.weights_N[row])))
            if grouped:
                rows[-1].append("" if part.groups_N is None else str(part.groups_N[row]))
    return rows


def _label_cells(data: DataSet, part: Split, row: int, separator: str) -> list[str]:
    """Returns what stands in the label columns of an image."""
    if part.targets_NK is None:
        return [data.classes[part.labels_N[row]]]
    shares_K = part.targets_NK[row]
    if data.multi_label:
        return [separator.join(data.classes[k] for k in np.flatnonzero(shares_K))]
    return [repr(float(share)) for share in shares_K]


def _located(files: Sequence[Path], table: Path) -> list[str]:
    """Returns the paths of files as a manifest at ``table`` says them."""
    base = os.path.abspath(table.parent)
    paths = []
    for file in files:
        full = os.path.abspath(file)
        inside = os.path.commonpath([base, full]) == base
        paths.append(Path(os.path.relpath(full, base)).as_posix() if inside else full)
    return paths


def _pixels(data: DataSet, *, size: int | None, progress: Progress) -> dict[str, NDArray[np.uint8]]:
    """Returns the images of each split as one array: (N, H, W) where all are grey, else RGB.

    Raises:
        UsageError: They are of different sizes.
        DataError: Images cannot be read.
    """
    parts = data.splits
    total = sum(len(part.images) for part in parts.values())
    width, height = (size, size) if size else picture(parts["train"].images, 0).size
    channels = () if all(_held_grey(part) for part in parts.values()) else (3,)
    other: dict[tuple[int, int], str] = {}
    result: dict[str, NDArray[np.uint8]] = {}
    done = 0
    for split, part in parts.items():
        images: Images = part.images
        pixels = np.empty((len(images), height, width, *channels), dtype=np.uint8)

        def fill(row: int, images: Images = images, into: NDArray[np.uint8] = pixels) -> None:
            image = square(picture(images, row), size)
            if image.size == (width, height):
                into[row] = np.asarray(image.convert("RGB") if channels else image)
            else:
                other.setdefault(image.size, images.name(row))

        def tell(now: int, _: int, before: int = done) -> None:
            progress(before + now, total)

        work_through(fill, len(images), data=data, progress=tell)
        done += len(images)
        result[split] = pixels
    if other:
        (odd_width, odd_height), name = next(iter(other.items()))
        raise UsageError(
            f"the images of {printable(data.name)} are of different sizes",
            found=f"{width} x {height}, and {odd_width} x {odd_height}: {printable(name)}",
            hint="--size 96 makes squares of that side of them",
        )
    if channels and all((pixels == pixels[..., :1]).all() for pixels in result.values()):
        return {split: pixels[..., 0] for split, pixels in result.items()}
    return result


def _to_grey(pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns luma (ITU-R 601) as Pillow computes it, (N, H, W)."""
    return np.stack([np.asarray(Image.fromarray(rgb).convert("L")) for rgb in pixels_NHWC])


def _held_grey(part: Split) -> bool:
    return isinstance(part.images, PixelImages) and part.images.pixels.ndim == 3


def _refuse_soft(data: DataSet, form: str) -> None:
    if not data.multi_label and any(p.targets_NK is not None for p in data.splits.values()):
        raise UsageError(
            f"{printable(data.name)} has soft labels, which {form} cannot hold",
            hint="export it as .csv",
        )


def lost_columns(data: DataSet) -> list[str]:
    """Returns what only a table can hold and ``data`` has, a line each."""
    parts = data.splits.values()
    lost = []
    if any(part.weights_N is not None for part in parts):
        lost.append("sample weights were lost")
    if any(part.groups_N is not None for part in parts):
        lost.append("groups were lost: a .csv keeps them")
    return lost
