"""A trained run brought together with data: what it says about a split, and the images of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from zoo.config import RunConfig, load_config
from zoo.data.pixels.normalise import as_floats, normalise_
from zoo.data.pixels.store import Store
from zoo.engine.assembly.choices import names_a_path
from zoo.engine.assembly.reading import read_data, workers_of
from zoo.errors import UsageError, printable
from zoo.evaluation.predictions import Predictions
from zoo.evaluation.trained import Trained, load_trained
from zoo.registry import Registry, parse_choice
from zoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from zoo.protocols import DataSet

__all__ = ["Examined", "examine"]

BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """A run, the data it is examined on, and what it says about it.

    Args:
        folder: The run.
        config: How it was trained.
        trained: Its best weights as a classifier.
        data: The data set, classes as the run has them.
        split: Which split was predicted.
        predictions: Of that split.
    """

    folder: RunFolder
    config: RunConfig
    trained: Trained
    data: DataSet
    split: str
    predictions: Predictions

    def picture(self, index: int) -> Image.Image:
        """Returns an image of the split as its data set has it, RGB."""
        images = self.data.splits[self.split].images
        pixels = getattr(images, "pixels", None)
        if pixels is not None:
            return Image.fromarray(np.asarray(pixels[index])).convert("RGB")
        return images.read(index)


def examine(
    path: Path,
    *,
    data: str | None = None,
    split: str | None = None,
    registry: Registry,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Examined:
    """Returns a run with what it says about a split of its own data, or of other data.

    Args:
        path: The run folder.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val`` or ``test``; by default test where there is one, else val.
        registry: The components to choose from.
        progress: Told what is being done.

    Raises:
        UsageError: There is no such split.
        DataError: The data cannot be used, or has classes that the run does not know.
        CheckpointError: The run has no weights that can be used.
    """
    trained = load_trained(path, registry=registry)
    config = RunConfig.from_mapping(
        load_config(path / "config.toml"), source=printable(path / "config.toml")
    )
    if data is not None:
        config = config.changed(data=data)
    by_path = names_a_path(config.data, registry)
    found = read_data(config, None if by_path else parse_choice(registry, "dataset", config.data))
    name = split or ("test" if "test" in found.splits else "val")
    if name not in found.splits:
        raise UsageError(
            f"{printable(found.name)} has no split {printable(name)!r}",
            found=f"there are {', '.join(found.splits)}", hint="choose another --split",
        )  # fmt: skip
    part = found.splits[name]
    store = Store.open(
        part.images, preprocessing=trained.preprocessing, channels=trained.channels,
        budget_bytes=0, num_threads=workers_of(config),
    )  # fmt: skip
    plan = np.array_split(np.arange(len(part.images)), -(-len(part.images) // BATCH))
    logits = []
    done = 0
    with torch.inference_mode():
        for samples_B, bytes_BCSS in store.stream(plan, lambda samples_B: samples_B):
            images_BCSS = as_floats(bytes_BCSS)
            normalise_(images_BCSS, trained.preprocessing.mean, trained.preprocessing.std)
            logits.append(trained.model(images_BCSS).float())
            done += len(samples_B)
            progress(f"predictions, {name}", done, len(part.images))
    predictions = Predictions(
        names=tuple(part.images.name(index) for index in range(len(part.images))),
        classes=trained.classes,
        logits_NK=torch.cat(logits).clone(),
        labels_N=torch.from_numpy(np.array(part.labels_N)),
        targets_NK=torch.from_numpy(np.array(part.targets_NK))
        if found.multi_label and part.targets_NK is not None
        else None,
        facts={"data": found.name, "split": name, "fingerprint": found.fingerprint},
    )
    return Examined(
        folder=RunFolder.open(path), config=config, trained=trained, data=found, split=name,
        predictions=predictions,
    )  # fmt: skip
