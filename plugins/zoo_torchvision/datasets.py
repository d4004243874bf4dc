"""Builds the data sets of torchvision as components. The table of them is in ``_datasets.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torchvision.datasets

from zoo.data.reading.cifar import read_cifar
from zoo.data.reading.parts import data_set
from zoo.data.reading.stacked import stacked_data
from zoo.errors import DataError, UsageError, printable
from zoo.plugin import Value
from zoo.protocols import DataSet
from zoo_torchvision._datasets import KNOWN, Known
from zoo_torchvision._downloads import open_or_download
from zoo_torchvision._objects import LOADED_BY_PATH, part_of, patches_part, stacks_of

__all__ = ["build"]


def build(
    *,
    dataset: str,
    root: str | None = None,
    download: bool = True,
    alignment: str | None = None,
    background: bool | None = None,
    labels: str = "fine",
    level: str | None = None,
    partition: int | None = None,
    size: str | None = None,
    small: bool | None = None,
    subset: str | None = None,
    version: str | None = None,
    seed: int = 0,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    on_bad: str = "fail",
) -> DataSet:
    """Returns a data set of torchvision with its official splits.

    Validation is taken from training where there is none, and test as well where there is only
    one part. Images in files are decoded when they are asked for; the others are held in memory.
    EMNIST, whose files hold rows and columns exchanged, is turned upright, other than torchvision
    has it.

    Args:
        dataset: Name in the table.
        root: Folder as torchvision understands it; a folder of the user's cache by default.
        download: Whether it may be fetched where it is not there yet.
        alignment: Of the faces of Labeled Faces in the Wild.
        background: Which part of Omniglot.
        labels: Of CIFAR-100: ``fine`` or ``coarse``.
        level: What counts as a class, of aircraft and of species.
        partition: Which of the ten splits of the Describable Textures.
        size: Of Imagenette.
        small: Whether Places365 is taken at 256 x 256 pixels.
        subset: Which version of EMNIST.
        version: Which year of iNaturalist.
        seed: A fact of the run: of the splits that are made.
        split: A fact of the run: training, validation and test shares.
        on_bad: A fact of the run: ``fail`` or ``skip`` images that cannot be read.

    Raises:
        MachineError: The data is not there and cannot be fetched.
        UsageError: Arguments that do not go together.
        DataError: The files are not what they should be.
    """
    known = KNOWN[dataset]
    given: dict[str, Value] = {
        "alignment": alignment, "background": background, "level": level, "partition": partition,
        "size": size, "small": small, "subset": subset, "version": version,
    }  # fmt: skip
    given |= {param.name: param.default for param in known.params if given.get(param.name) is None}
    options = {argument: given[name] for name, argument in known.options.items()}
    folder = Path(root).expanduser() if root else _cache() / dataset
    if known.reader == "batches":
        return _batches(known, dataset, folder, download=download, labels=labels, seed=seed,
                        fractions=split)  # fmt: skip
    known = _of_version(known, given["version"])

    def open_in(place: Path, fetch: bool) -> dict[str, Any]:
        return _objects(known, dataset, place, options=options, fetch=fetch)

    made = open_or_download(known, folder, open_in, name=dataset, download=download)
    if known.reader in ("arrays", "pictures"):
        stacks, classes, notes = stacks_of(
            made, reader=known.reader, names=known.names, sideways=known.sideways
        )
        data = stacked_data(
            stacks, name=dataset, where=printable(folder), seed=seed, fractions=split,
            classes=classes,
        )  # fmt: skip
        return replace(data, notes=(*notes, *data.notes))
    parts = {
        ours: patches_part(folder, ours, names=known.names)
        if known.reader == "patches"
        else part_of(object_, folder, reader=known.reader, names=known.names)
        for ours, object_ in made.items()
    }
    return data_set(parts, name=dataset, seed=seed, fractions=split, on_bad=on_bad)


def _objects(
    known: Known, dataset: str, place: Path, *, options: Mapping[str, Value], fetch: bool
) -> dict[str, Any]:
    """Returns torchvision's objects by split."""
    create = getattr(torchvision.datasets, known.cls)
    loader = LOADED_BY_PATH if known.reader == "paths" else {}
    fetching = {"download": fetch} if known.fetches else {}
    made: dict[str, Any] = {}
    for ours, arguments in known.splits.items():
        try:
            made[ours] = create(root=str(place), **{**options, **arguments}, **loader, **fetching)
        except (ValueError, KeyError, IndexError, TypeError, AssertionError) as error:
            if str(error).startswith("Unknown value"):
                raise UsageError(
                    f"arguments of {dataset} that do not go together", found=printable(error)
                ) from error
            raise DataError(
                f"torchvision cannot read {dataset} in {printable(place)}",
                found=f"{type(error).__name__}: {printable(error)[:300]}",
                hint="remove the files there, so that they are fetched again",
            ) from error
    return made


def _of_version(known: Known, version: Value) -> Known:
    """Returns iNaturalist with the validation part that belongs to the year."""
    if known.cls != "INaturalist" or not str(version).startswith("2021"):
        return known
    return replace(known, splits={"train": {"version": version}, "val": {"version": "2021_valid"}})


def _batches(
    known: Known,
    dataset: str,
    folder: Path,
    *,
    download: bool,
    labels: str,
    seed: int,
    fractions: Sequence[float],
) -> DataSet:
    """Returns CIFAR by zoo's own reader. torchvision's would unpickle; it only downloads here."""
    create: Any = getattr(torchvision.datasets, known.cls)
    if labels == "coarse" and known.cls != "CIFAR100":
        raise UsageError(f"{dataset} has no coarse labels", hint="cifar100:labels=coarse")

    def open_in(place: Path, fetch: bool) -> DataSet:
        batches = place / create.base_folder
        if fetch:
            torchvision.datasets.utils.download_and_extract_archive(
                create.url, str(place), filename=create.filename, md5=create.tgz_md5
            )
        if not batches.is_dir():
            raise FileNotFoundError(f"no folder {create.base_folder}")
        return read_cifar(batches, seed=seed, fractions=fractions, labels=labels)

    data = open_or_download(known, folder, open_in, name=dataset, download=download)
    return replace(data, name=dataset)


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("classifier-zoo") / "torchvision"
