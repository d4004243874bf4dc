"""Whether an export gives what the network gives, and how long each takes.

Shapes: B batch, C channels, S side of the input in pixels, N images, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from zoo.config import RunConfig, load_config
from zoo.data.pixels.normalise import as_normalised, normalise_
from zoo.data.pixels.store import Store
from zoo.errors import DataError, ZooError, printable
from zoo.evaluation.subjects import own_data, split_of
from zoo.network.inference.forwards import TorchForward
from zoo.network.inference.proof import apart

if TYPE_CHECKING:
    from zoo.evaluation.trained import Trained
    from zoo.registry import Registry

__all__ = ["Comparison", "Sample", "compare", "sample"]

_NUM_IMAGES = 32
"""Images that are compared. Exports differ in an operator, not in single images."""

_NUM_TIMED, _ROUNDS, _SECONDS = 8, 7, 2.0
"""Images in a timed batch, rounds at most, and the time after which no further round begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Images that an export is tried on.

    Args:
        images_NCSS: Normalised, as the network takes them.
        what: What they are, in words.
        note: Why they are random ones; empty where they are the run's own.
    """

    images_NCSS: Tensor
    what: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An export against the network that it was made of.

    Args:
        difference: Largest difference of two logits, as a share of the largest logit; infinite
            where shapes or types differ or a logit is not finite.
        num_images: Images whose answers were compared.
        num_same: Those of which the export says what the network says: the same class, or the same
            labels where an image can have several.
        milliseconds: Of an image with the export, on one thread, in batches of a few.
        network_milliseconds: Likewise with the network.
    """

    difference: float
    num_images: int
    num_same: int
    milliseconds: float
    network_milliseconds: float


def sample(trained: Trained, *, registry: Registry) -> Sample:
    """Returns images of the run's validation split, or random ones where its data is gone."""
    try:
        return _validation_images(trained, registry)
    except ZooError as error:
        settings = trained.preprocessing
        shape = (_NUM_IMAGES, trained.channels, settings.image_size, settings.image_size)
        noise_NCSS = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return Sample(
            images_NCSS=normalise_(noise_NCSS, settings.mean, settings.std), what="random images",
            note=f"random images were compared, the run's cannot be read: {error.brief}",
        )  # fmt: skip


def compare(
    trained: Trained, opened: Callable[[Tensor], Tensor], images_NCSS: Tensor
) -> Comparison:
    """Returns how an export and the network differ: on all images, on one, on three of noise.

    Batches of several sizes, since a format may have kept the number of images it was made with.

    Args:
        trained: The network.
        opened: The export, as a function from images_BCSS to logits_BK.
        images_NCSS: At least one.
    """
    network = TorchForward(trained.model)
    noise = torch.randn((3, *images_NCSS.shape[1:]), generator=torch.Generator().manual_seed(0))
    batches = [images_NCSS, images_NCSS[:1], noise]
    expected = [network(batch.clone()) for batch in batches]
    difference = apart(opened, batches, expected)
    num_same = 0
    if difference < float("inf"):
        found_NK = opened(images_NCSS.clone())
        num_same = int((_answers(trained, found_NK) == _answers(trained, expected[0])).all(1).sum())
    times = _milliseconds({"export": opened, "network": network}, images_NCSS[:_NUM_TIMED])
    return Comparison(
        difference=difference, num_images=len(images_NCSS), num_same=num_same,
        milliseconds=times["export"], network_milliseconds=times["network"],
    )  # fmt: skip


def _validation_images(trained: Trained, registry: Registry) -> Sample:
    file = trained.path / "config.toml"
    config = RunConfig.from_mapping(load_config(file), source=printable(file))
    _, part = split_of(own_data(config, registry, run=trained.path), "val", own=True)
    if not len(part.images):
        raise DataError("the validation split has no images")
    store = Store.open(
        part.images, preprocessing=trained.preprocessing, channels=trained.channels,
        budget_bytes=0, num_threads=0,
    )  # fmt: skip
    number = min(len(part.images), _NUM_IMAGES)
    rows_N = np.linspace(0, len(part.images) - 1, number).round().astype(np.int64)
    images_NCSS = as_normalised(
        store.fetch(rows_N), trained.preprocessing.mean, trained.preprocessing.std
    )
    return Sample(images_NCSS=images_NCSS.contiguous(), what="validation images")


def _answers(trained: Trained, logits_NK: Tensor) -> Tensor:
    """Returns what a classifier says: labels_NK, or the class of each image as a column."""
    return logits_NK > 0 if trained.multi_label else logits_NK.argmax(1, keepdim=True)


def _milliseconds(
    forwards: Mapping[str, Callable[[Tensor], Tensor]], images_BCSS: Tensor
) -> dict[str, float]:
    """Returns milliseconds an image, the best of some rounds in turns.

    Other work on the machine makes a round slower and never faster.
    """
    best = dict.fromkeys(forwards, float("inf"))
    begin = time.perf_counter()
    for done in range(_ROUNDS):
        if done >= 2 and time.perf_counter() - begin > _SECONDS:
            break
        for name, forward in forwards.items():
            images = images_BCSS.clone()
            start = time.perf_counter()
            forward(images)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1000 * seconds / len(images_BCSS) for name, seconds in best.items()}
