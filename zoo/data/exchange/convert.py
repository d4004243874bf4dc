"""A data set into a folder of images, and into files that others read.

import    DEST/train/CLASS/NAME.png  DEST/val/...  DEST/test/...  DEST/classes.json
export    DEST.npz                   train_images, train_labels, ..., classes
DEST.csv or .tsv           path, label, split, weight, group; images stay where they are
DEST (a folder)            IDX files, grey: train-images-idx3-ubyte.gz, ...
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from zoo.data.exchange.exports import export_arrays, export_idx, export_table, lost_columns
from zoo.data.exchange.pictures import FORMATS, check_size, within, write_pictures
from zoo.data.exchange.safe_names import SafeNames
from zoo.data.exchange.writing import Written, built_beside
from zoo.data.reading.folder import CLASS_NAMES_FORMAT
from zoo.data.reading.scan import CLASS_NAMES_FILE
from zoo.data.threads import Progress
from zoo.errors import UsageError, printable
from zoo.protocols import DataSet

__all__ = ["FORMATS", "Written", "export_images", "import_images"]


def import_images(
    data: DataSet,
    destination: str | Path,
    *,
    size: int | None = None,
    format: str = "png",
    progress: Progress = lambda done, total: None,
) -> Written:
    """Writes ``destination/SPLIT/CLASS/NAME.png`` for every image, and returns what was written.

    The label is the folder. Class and image names become safe parts of paths; the class names
    themselves are in ``classes.json``, from where
    :func:`~zoo.data.reading.folder.read_folder` takes them. All is built beside the destination and
    renamed at the end.

    Args:
        data: Any data set with one label an image.
        destination: A new or empty folder.
        size: The longer side becomes at most this many pixels, the aspect stays. None: as it is.
        format: One of ``FORMATS``. PNG and WebP keep every pixel.
        progress: Told how many images are done, of how many.

    Raises:
        UsageError: The destination is used already, an option is out of range, or images have
            several labels.
        DataError: Images cannot be read; all of them are named.
        MachineError: The disk.
    """
    check_size(size)
    if format not in FORMATS:
        raise UsageError(
            f"images are not written as {printable(format)}", hint=f"one of {', '.join(FORMATS)}"
        )
    if data.multi_label:
        raise UsageError(
            f"{printable(data.name)} has several labels an image, which folders cannot hold",
            hint="export it as .csv",
        )
    notes = lost_columns(data)
    if any(part.targets_NK is not None for part in data.splits.values()):
        notes.append("soft labels were lost: the class of the greatest share is the folder")
    place = Path(destination)
    with built_beside(place) as beside:
        beside.mkdir()
        names = SafeNames()
        folders = [names.part(name) for name in data.classes]
        write_pictures(
            data, beside, folders=folders, transform=lambda image: within(image, size),
            format=format, progress=progress,
        )  # fmt: skip
        table = {
            "format": CLASS_NAMES_FORMAT,
            "classes": data.classes,
            "folders": dict(zip(folders, data.classes, strict=True)),
        }
        (beside / CLASS_NAMES_FILE).write_text(json.dumps(table, indent=1), encoding="ascii")
    if renamed := sum(f != c for f, c in zip(folders, data.classes, strict=True)):
        notes.append(f"{renamed} class names are in {CLASS_NAMES_FILE}: they cannot be folders")
    return Written(
        path=place, splits=_counts(data), num_classes=len(data.classes), notes=tuple(notes)
    )


def export_images(
    data: DataSet,
    destination: str | Path,
    *,
    size: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Written:
    """Writes the data set in the form that the suffix of the destination means.

    ``.npz``: NumPy arrays. ``.csv``, ``.tsv``: a manifest; images in files stay where they are,
    others are written as PNG into ``STEM-images`` beside it. No suffix: a folder of IDX files.
    Arrays and IDX files hold images of one size; with ``size`` the shorter side is scaled to it
    and the centre cut out.

    Args:
        data: Any data set.
        destination: A file that is not there, or a new or empty folder.
        size: Side of the square that images become, pixels. In a manifest: a copy of each image is
            written, its longer side at most this. None: as they are.
        progress: Told how many images are done, of how many.

    Raises:
        UsageError: The destination is used already or of another suffix, the images are of
            different sizes, or have labels that the form cannot hold.
        DataError: Images cannot be read; all of them are named.
        MachineError: The disk.
    """
    check_size(size)
    place = Path(destination)
    suffix = place.suffix.lower()
    notes: list[str] = []
    if suffix == ".npz":
        notes = export_arrays(data, place, size=size, progress=progress)
    elif suffix in (".csv", ".tsv"):
        notes = export_table(data, place, size=size, progress=progress)
    elif not suffix:
        notes = export_idx(data, place, size=size, progress=progress)
    else:
        raise UsageError(
            f"{printable(destination)} has a suffix that nothing is exported to",
            hint=".npz, .csv, .tsv, or a folder without a suffix for IDX files",
        )
    return Written(
        path=place, splits=_counts(data), num_classes=len(data.classes), notes=tuple(notes)
    )


def _counts(data: DataSet) -> Counter[str]:
    return Counter({split: len(part.images) for split, part in data.splits.items()})
