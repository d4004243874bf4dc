"""Read data, and see it as a network will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.api.settings import in_range, one_of
from zoo.api.training import prepare
from zoo.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.config import RunConfig
    from zoo.engine.events import Observer
    from zoo.protocols import DataSet

__all__ = ["preview", "read_data"]


def read_data(
    source: str | Path,
    *,
    seed: int = 0,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    on_bad: Literal["fail", "skip"] = "fail",
    registry: Registry | None = None,
) -> DataSet:
    """Returns a data set, as ``--data`` reads it: a component's, or what is at a path.

    Args:
        source: A spec such as ``fashion-mini`` or ``manifest:path=labels.csv``, or a path.
        seed: Of the split, where the data is not split already.
        split: Training, validation and test shares, likewise.
        on_bad: Whether images that cannot be read are an error, or are left out and listed.
        registry: The components to choose from; by default all that are installed.

    Raises:
        DataError: The data cannot be used.
        UnknownName: It is neither a component nor a path.
    """
    from zoo.engine.assembly.choices import names_a_path
    from zoo.engine.assembly.reading import read_source
    from zoo.registry import parse_choice

    one_of("on_bad", on_bad, ("fail", "skip"))
    in_range("seed", seed, 0)
    registry = registry or Registry.installed()
    is_path = isinstance(source, Path) or names_a_path(source, registry)
    chosen = source if is_path else parse_choice(registry, "dataset", str(source))
    return read_source(chosen, seed=seed, split=split, on_bad=on_bad)


def preview(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    count: int = 32,
    epoch: int = 0,
    registry: Registry | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> list[tuple[NDArray[np.uint8], str]]:
    """Returns training images as the network will see them. ``zoo data preview``.

    Args:
        config: A configuration, or a mapping of its keys.
        count: How many; the first ones that the epoch visits.
        epoch: Of the run, from 0; another one is augmented differently.
        registry: The components to choose from; by default all that are installed.
        observer: Told while images are decoded.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Returns:
        Pairs of an image, (S, S, C) uint8, and its label; a mixed image has all of its labels.
    """
    import torch

    from zoo.engine.device import Device
    from zoo.engine.events import Observer as Silent
    from zoo.engine.sample import sample_of
    from zoo.engine.stage import epoch_draws, image_feed

    in_range("count", count, 1)
    in_range("epoch", epoch, 0)
    observer = observer or Silent()
    job = prepare(config, registry=registry, observer=observer, **options)
    device = Device.open(job.config)
    feed = image_feed(job, "train", device=device, progress=observer.preparing)
    sample = sample_of(
        feed, epoch_draws(job)(epoch)[:count], classes=job.data.classes, epoch=epoch,
        repeats=job.config.repeats,
    )  # fmt: skip
    pixels_BSSC = sample.images_BCHW.mul(255).round().clamp(0, 255).to(torch.uint8)
    images = pixels_BSSC.permute(0, 2, 3, 1).numpy()
    return list(zip(images, sample.labels, strict=True))
