"""Hugging Face data sets as a component: columns and splits found, images decoded when asked for.

Images stay encoded in Arrow files that are mapped into memory, so a data set may be larger than
memory; opening one reads the header of every image once. The library itself converts Parquet and
folders into such files in its own cache, which takes their size on the disk a second time. A data
set that fits no disk is for streams, which have neither length nor order and are not read here.

Suffixes: N images, K classes.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.pixels.decode import open_image
from zoo.data.reading.partition import SPLIT_NAMES
from zoo.data.reading.parts import Part, data_set
from zoo.data.reading.peeking import peek_bytes, peek_file
from zoo.data.reading.scan import bullets, listed
from zoo.errors import DataError, UsageError, printable
from zoo.protocols import DataSet
from zoo_datasets.columns import Labels, image_column, label_column, read_labels
from zoo_datasets.fetching import fetch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["HubImages", "hugging_face"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HubImages:
    """Encoded images in a column of Arrow tables. Can be read from many threads.

    Args:
        table: A ``datasets.Dataset`` in the format ``arrow`` with the one column.
        column: Its name.
        rows_N: Which rows.
        split: What the source calls the split.
    """

    table: Any
    column: str
    rows_N: NDArray[np.int64]
    split: str

    def __len__(self) -> int:
        return len(self.rows_N)

    def cell(self, index: int) -> Any:
        """Returns the content as an Arrow buffer, nothing of it copied, or the path of a file.

        Raises:
            DataError: There is neither.
        """
        scalar = self.table[int(self.rows_N[index])].column(self.column)[0]
        if scalar.is_valid:
            content = scalar["bytes"] if hasattr(scalar.type, "fields") else scalar
            if content.is_valid:
                return content.as_buffer()
            path = scalar["path"].as_py()
            if path and Path(path).is_absolute():
                return Path(path)
        raise DataError(
            f"cannot read the image {printable(self.name(index))}",
            found="neither content nor the absolute path of a file",
        )

    def source(self, index: int) -> Path | bytes:
        """Returns where the encoded image is.

        Raises:
            DataError: The row holds none.
        """
        cell = self.cell(index)
        return cell if isinstance(cell, Path) else bytes(memoryview(cell))

    def read(self, index: int) -> Image:
        """Returns the image as RGB, upright.

        Raises:
            DataError: The row holds no readable image.
        """
        return open_image(self.source(index), name=self.name(index))

    def name(self, index: int) -> str:
        """Returns split and row, as the viewer of the hub counts them."""
        return f"{self.split}/{self.rows_N[index]}"

    def peek(self, index: int) -> tuple[int, bytes]:
        """Returns shorter side and mark of the content, as in :mod:`zoo.data.reading.peeking`."""
        cell, name = self.cell(index), self.name(index)
        if isinstance(cell, Path):
            return peek_file(cell, name=name)
        view = memoryview(cell)
        return peek_bytes(lambda most: bytes(view[:most]), size=len(view), name=name)


def hugging_face(
    *,
    name: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    image: str | None = None,
    label: str | None = None,
    train: str | None = None,
    val: str | None = None,
    test: str | None = None,
    seed: int = 0,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    on_bad: str = "fail",
    unsplit: str | None = None,
) -> DataSet:
    """Returns a Hugging Face data set. No code of a data set is ever run.

    Args:
        name: Name on the hub, a folder that ``save_to_disk`` wrote, a folder of Parquet or image
            files, or a Parquet or Arrow file (``*`` for several).
        config: Configuration, where the data set has several.
        revision: Commit, tag or branch on the hub.
        image: Column of the images. Found by its type when not given.
        label: Column of the labels: a class, a list of classes (several labels an image), text or
            whole numbers. Found by its type when not given.
        train: Which split to train on. Found by its name when not given, like the two below.
        val: Which split to validate on. Taken from training by ``split`` where there is none.
        test: Which split to test on.
        seed: A fact of the run: of the split, where there is no validation split.
        split: A fact of the run: training, validation and test shares.
        on_bad: A fact of the run: ``fail`` or ``skip`` rows without a label or a readable image.
        unsplit: A fact of whoever only looks at the data: the split of all images where none has
            one of the three names. Nothing is divided then.

    Raises:
        UsageError: No name was given, or a column, split or configuration that is not there.
        PluginError: The package ``datasets`` is not installed.
        MachineError: The hub cannot be reached.
        RefusedError: The data set wants to run code of its own.
        DataError: The data cannot be used.
    """
    if not name:
        raise UsageError(
            "the data set 'hf' needs a name", hint="--data hf:name=beans, or hf:name=DIRECTORY"
        )
    found = fetch(name, config=config, revision=revision)
    notes: list[str] = []
    chosen = _chosen_splits(
        name, list(found), train=train, val=val, test=test, unsplit=unsplit, notes=notes
    )
    first = next(iter(chosen))
    features = found[chosen[first]].features
    image_name = image_column(name, features, image)
    label_name = label_column(name, features, label, image=image_name)
    bad: dict[str, str] = {}
    parts: dict[str, Part] = {}
    for key, theirs in chosen.items():
        table = found[theirs]
        if missing := [c for c in (image_name, label_name) if c not in table.features]:
            raise DataError(
                f"the split {printable(theirs)} of {printable(name)} has other columns "
                f"than {first}",
                found=f"no {listed(missing)}", hint=f"name another split, as {key}=SPLIT",
            )  # fmt: skip
        labels = read_labels(table, label_name, split=theirs)
        if not len(labels.rows_N) and (key != "train" or unsplit is not None):
            notes.append(f"the split {printable(theirs)} has no labels and was left out")
            continue
        bad |= labels.bad
        parts[key] = _part(table, image_name, labels, theirs)
    title = Path(name).name if Path(name).exists() else name
    return data_set(
        parts, name=title, seed=seed, fractions=split, on_bad=on_bad, notes=notes, bad=bad,
        to_train=unsplit is None,
    )  # fmt: skip


def _part(table: Any, column: str, labels: Labels, split: str) -> Part:
    images = HubImages(
        table=table.select_columns([column]).with_format("arrow"), column=column,
        rows_N=labels.rows_N, split=split,
    )  # fmt: skip
    return Part(
        images=images, classes=labels.classes, labels_N=labels.labels_N,
        targets_NK=labels.targets_NK, peek=images.peek,
    )  # fmt: skip


def _chosen_splits(
    name: str,
    there: Sequence[str],
    *,
    train: str | None,
    val: str | None,
    test: str | None,
    unsplit: str | None,
    notes: list[str],
) -> dict[str, str]:
    """Returns the split of the source for each of ours; its own choice where none was named."""
    asked = {"train": train, "val": val, "test": test}
    problems = [
        f"there is no split {printable(theirs)!r} for {ours}"
        for ours, theirs in asked.items()
        if theirs is not None and theirs not in there
    ]
    if problems:
        likely = {
            ours: difflib.get_close_matches(theirs, there, n=1)
            for ours, theirs in asked.items()
            if theirs is not None and theirs not in there
        }
        hints = [f"{ours}={(close or ['SPLIT'])[0]}" for ours, close in likely.items()]
        raise UsageError(
            f"the splits of {printable(name)} are others\n{bullets(problems)}",
            found=f"the splits {listed(list(there))}", hint=",".join(hints),
        )  # fmt: skip
    chosen = {ours: theirs for ours, theirs in asked.items() if theirs is not None}
    for theirs in there:
        ours = SPLIT_NAMES.get(theirs.lower(), "")
        if ours == "train" or (ours and theirs not in chosen.values()):
            chosen.setdefault(ours, theirs)
    needed = ("train",) if unsplit is None else ("train", "val", "test")
    if len(there) == 1 and not chosen.keys() & set(needed):
        chosen = {unsplit or "train": there[0]}
    elif not chosen.keys() & set(needed):
        raise UsageError(
            f"{printable(name)} has no split that is called {' or '.join(needed)}",
            found=f"the splits {listed(list(there))}",
            hint=f"--data hf:name={printable(name)},{needed[-1]}=SPLIT",
        )
    if len(set(chosen.values())) < len(chosen):
        raise UsageError(
            f"a split of {printable(name)} is named twice",
            found=", ".join(f"{ours}={printable(theirs)}" for ours, theirs in chosen.items()),
            hint="leave val out to take it from training",
        )
    if unused := [theirs for theirs in there if theirs not in chosen.values()]:
        notes.append(f"splits that were left out: {listed(unused)}")
    order = ("train", "val", "test", unsplit or "")
    return {ours: chosen[ours] for ours in order if ours in chosen}
