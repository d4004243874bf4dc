"""A trained run brought together with data: what it says about a split, and the images of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from PIL import Image

from zoo.config import RunConfig, load_config
from zoo.data.pixels.decoded import cache_folder
from zoo.data.pixels.store import Store
from zoo.data.reading.stamps import stamp_of
from zoo.engine.assembly.reading import workers_of
from zoo.errors import CheckpointError, DataError, MachineError, printable
from zoo.evaluation.optimism import own_split
from zoo.evaluation.predict.pictures import BATCH
from zoo.evaluation.predict.predictor import Predictor, refuse_non_finite
from zoo.evaluation.predictions import Predictions, read_predictions, write_predictions
from zoo.evaluation.subjects import (
    other_data,
    own_data,
    split_of,
    what_can_be_done,
    with_classes,
)
from zoo.evaluation.trained import Trained, load_trained
from zoo.registry import Registry
from zoo.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.protocols import DataSet, OnBad, Split

__all__ = ["Examined", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examined:
    """A run, the data it is examined on, and what it says about it.

    Args:
        folder: The run.
        config: How it was trained.
        trained: Its best weights as a classifier.
        data: The data set.
        split: Which split was predicted: one of its own, or ``all``.
        predictions: Of that split, classes as the run has them.
        part: The split itself, labels as the run has them.
        own_split: Which split of the run's own data it is, ``all`` for images of several of them;
            None where it is other data, see :func:`zoo.evaluation.optimism.own_split`.
        as_trained: Whether the splits of the data are those that the run was trained with. Data
            that is only at the same place is read anew, and has others.
        stem: What files about this split are called in the run folder; safe as a file name.
        notes: What the user should know, a line each.
    """

    folder: RunFolder
    config: RunConfig
    trained: Trained
    data: DataSet
    split: str
    predictions: Predictions
    part: Split
    own_split: str | None = None
    as_trained: bool = True
    stem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def own(self) -> bool:
        """Whether the data is what the run was trained on."""
        return self.own_split is not None

    def picture(self, index: int) -> Image.Image:
        """Returns an image of the split as its data set has it, RGB."""
        images = self.part.images
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
    engine: str = "auto",
    fresh: bool = False,
    temperature: float = 1.0,
    need_labels: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    noted: Callable[[str], None] = lambda line: None,
) -> Examined:
    """Returns a run with what it says about a split of its own data, or of other data.

    The predictions are kept in the run folder, and taken from there the next time if weights, data,
    preprocessing and versions are the same, and no image was written since.

    Args:
        path: The run folder.
        data: As ``--data``; by default what the run was trained on. Classes are matched by name;
            classes of the run of which there are no images are fine.
        split: ``train``, ``val``, ``test`` or ``all``; by default test where there is one, else
            val, or everything where other data is not split.
        registry: The components to choose from.
        engine: What computes the network: ``auto``, ``torch``, ``folded``, ``onnx``, ``openvino``.
        fresh: Compute them although they are kept.
        temperature: Divides the logits before they become probabilities.
        need_labels: Refuse a split in which images have no label, before anything is computed.
        progress: Told what is being done, how much of it is done, of how much.
        noted: Told which engine was chosen, and why.

    Raises:
        UsageError: There is no such split, or it is no run folder.
        DataError: The data cannot be used, or has classes that the run does not know.
        CheckpointError: The run has no weights that can be used.
        NonFiniteError: The network gives NaN for an image.
    """
    trained = load_trained(path, registry=registry)
    folder = RunFolder.open(path)
    config = RunConfig.from_mapping(
        load_config(path / "config.toml"), source=printable(path / "config.toml")
    )
    progress("reading the data", 0, 1)
    with what_can_be_done():  # a score is of all images or of none
        found = own_data(config, registry, run=path) if data is None else other_data(
            data, classes=trained.classes, seed=config.seed, on_bad=cast("OnBad", config.on_bad),
            registry=registry,
        )  # fmt: skip
    name, part = split_of(found, split, own=data is None)
    part = with_classes(found, part, trained.classes, multi_label=trained.multi_label)
    if not len(part.images):
        raise DataError(f"the split {name} of {printable(found.name)} has no images")
    if need_labels:
        _refuse_unlabelled(part, found, name, data=data, run=path)
    facts = _facts(trained, found, name, part)
    stem = name if data is None else _stem(found, data, name)
    kept = folder.path / "predictions" / stem
    predictions = None if fresh else _kept(kept, part, facts, trained, engine)
    trained_on = _fingerprint(folder)
    notes = () if data is not None else _notes(found, trained_on)
    if predictions is None:
        with what_can_be_done():  # a score is of all images or of none
            predictions = _predicted(
                trained, part, facts=facts, config=config, engine=engine, progress=progress,
                noted=noted,
            )  # fmt: skip
        try:
            write_predictions(kept, predictions)
        except MachineError as error:  # a run on a read-only disk can be looked at all the same
            notes = (*notes, f"the predictions were not kept: {error.what}")
    refuse_non_finite(predictions.probabilities_NK, part.images.name)
    return Examined(
        folder=folder, config=config, trained=trained, data=found, split=name, part=part,
        own_split=own_split(
            name, found, source=data, trained_on=config.data, fingerprint=trained_on
        ),
        as_trained=data is None or found.fingerprint == trained_on,
        stem=stem, predictions=replace(predictions, temperature=temperature), notes=notes,
    )  # fmt: skip


def _refuse_unlabelled(
    part: Split, found: DataSet, name: str, *, data: str | None, run: Path
) -> None:
    """Says what a split without labels is good for."""
    missing = 0 if found.multi_label else int((part.labels_N < 0).sum())
    if missing:
        images = f"zoo predict {printable(run)} {printable(data)}" if data else (
            f"zoo predict {printable(run)} --split {name}"
        )  # fmt: skip
        raise DataError(
            f"{printable(found.name)}, {name}, cannot be evaluated",
            found=f"{missing:,} of {len(part.labels_N):,} images have no label",
            hint=f"{images} says what they may be; labels are the names of their folders",
        )


def _facts(trained: Trained, data: DataSet, split: str, part: Split) -> dict[str, str]:
    """Returns everything that decides what the predictions are, but the engine."""
    from importlib.metadata import version

    return {
        "data": data.name,
        "split": split,
        "fingerprint": data.fingerprint,
        "stamp": stamp_of(part.images),  # the fingerprint knows names and sizes
        "weights": trained.digest,
        "preprocessing": json.dumps(asdict(trained.preprocessing), sort_keys=True),
        "channels": str(trained.channels),
        "torch": torch.__version__,
        "pillow": version("pillow"),
    }


def _stem(data: DataSet, source: str, split: str) -> str:
    """Returns a file name for predictions on other data: names from data are no file names."""
    place = str(Path(source).resolve()) if Path(source).exists() else source
    digest = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in data.name)
    slug = "-".join(filter(None, letters.split("-")))[:40].lower() or "data"
    return f"{slug}-{digest}-{split}"


def _kept(
    stem: Path, part: Split, facts: Mapping[str, str], trained: Trained, engine: str
) -> Predictions | None:
    """Returns the predictions that are kept, if they are of the same images and weights."""
    kept = read_predictions(stem)
    if kept is None or kept.classes != trained.classes or len(kept) != len(part.images):
        return None
    how = kept.facts.get("engine", "")
    if {**facts, "engine": how} != kept.facts or (
        engine != "auto" and how.partition(" ")[0] != engine
    ):
        return None
    if kept.names != tuple(part.images.name(index) for index in range(len(kept))):
        return None
    # What images are is what the data says now, and not part of what is kept.
    return replace(kept, labels_N=_labels(part), targets_NK=_targets(part, trained))


def _predicted(
    trained: Trained,
    part: Split,
    *,
    facts: Mapping[str, str],
    config: RunConfig,
    engine: str,
    progress: Callable[[str, int, int], None],
    noted: Callable[[str], None],
) -> Predictions:
    """Returns what the network says about every image, some decoded at a time."""
    total = len(part.images)
    predictor = Predictor.of([trained], engine=engine, num_images=total, noted=noted)
    what = f"predictions, {facts['split']}"
    # Every image is needed once, so none is held: the memory is that of a few batches.
    store = Store.open(
        part.images, preprocessing=trained.preprocessing, channels=trained.channels,
        budget_bytes=0, num_threads=workers_of(config),
        progress=lambda done, of: progress("decoding", done, of),
        keep_decoded=cache_folder() if config.keep_decoded else None,
    )  # fmt: skip
    plan = np.array_split(np.arange(total), -(-total // BATCH))
    logits_NK, done = torch.empty(total, len(trained.classes)), 0
    for samples_B, bytes_BCSS in store.stream(plan, lambda samples_B: samples_B):
        logits_NK[done : done + len(samples_B)] = predictor.logits([bytes_BCSS])
        done += len(samples_B)
        progress(what, done, total)
    how = predictor.engine_name
    predictor.close()
    return Predictions(
        names=tuple(part.images.name(index) for index in range(total)),
        classes=trained.classes, logits_NK=logits_NK, labels_N=_labels(part),
        targets_NK=_targets(part, trained), facts={**facts, "engine": how},
    )  # fmt: skip


def _labels(part: Split) -> torch.Tensor:
    return torch.from_numpy(np.array(part.labels_N))


def _targets(part: Split, trained: Trained) -> torch.Tensor | None:
    if not trained.multi_label or part.targets_NK is None:
        return None
    return torch.from_numpy(np.array(part.targets_NK))


def _fingerprint(folder: RunFolder) -> str | None:
    """Returns that of the data which the run was trained on; None where it does not say."""
    try:
        return str(folder.read_json("environment.json")["data"]["fingerprint"])
    except (CheckpointError, KeyError, TypeError):
        return None


def _notes(data: DataSet, trained_on: str | None) -> tuple[str, ...]:
    """Returns what is not as it was when the run was trained: its data has that fingerprint."""
    if trained_on is None:
        return ("the run does not say which data it was trained on",)
    if trained_on != data.fingerprint:
        return (
            "the data has changed since the run was trained: images of this split may have been "
            "trained on",
        )
    return ()
