"""The Python API. The command line calls nothing else.

import zoo

result = zoo.run(model="efficientnet-lite0", data="clipart10")
trained = zoo.load(result.path)
trained.predict(["cat.jpg"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.errors import CheckpointError, printable
from zoo.plugin import fold
from zoo.registry import Entry, Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.config import RunConfig
    from zoo.engine.assembly.job import Job
    from zoo.engine.device import Device
    from zoo.engine.events import Observer, RunResult
    from zoo.engine.step.distillation import Teacher
    from zoo.evaluation.trained import Trained
    from zoo.protocols import DataSet
    from zoo.runs.checkpoint import Checkpoint
    from zoo.runs.folder import RunFolder

__all__ = ["list_components", "load", "prepare", "preview", "read_data", "resume", "run"]


def run(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    registry: Registry | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> RunResult:
    """Trains a classifier and returns how it ended. ``zoo run``.

    Args:
        config: A configuration, or a mapping of its keys.
        registry: The components to choose from; by default all that are installed.
        observer: Listens to the run.
        **options: Keys of :class:`zoo.RunConfig` that override ``config``.

    Raises:
        ZooError: Whatever went wrong; see :mod:`zoo.errors` for the tree.
    """
    from zoo.engine.device import Device
    from zoo.engine.events import Observer as Silent
    from zoo.engine.records.earlier import cut_short, other_options
    from zoo.evaluation.teachers import teacher_for
    from zoo.runs.folder import RunFolder

    registry, observer = registry or Registry.installed(), observer or Silent()
    settings = _settings(config, options)
    if settings.resume == "auto":
        earlier = cut_short(settings, lambda open_one: prepare(open_one, registry=registry).config)
        if earlier is not None:
            observer.noted(f"going on with {printable(earlier)}")
            for line in other_options(settings, earlier):
                observer.noted(line)
            return resume(earlier, registry=registry, observer=observer)
    job = prepare(settings, registry=registry, observer=observer)
    stem = f"{job.choices.model.entry.component.name}-{_plain(job.data.name)}"
    device = Device.open(job.config)
    teacher = teacher_for(job, device=device, registry=registry)  # before there is a folder
    folder = device.from_main(
        lambda: RunFolder.create(Path(job.config.runs), name=job.config.name, stem=stem)
    )
    with folder.owned() if device.is_main else nullcontext():
        if device.is_main:
            _describe(job, folder)
        return _train(job, folder, device=device, observer=observer, teacher=teacher)


def prepare(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    registry: Registry | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Job:
    """Finds, builds and checks everything that a run needs, and trains nothing. ``--dry-run``."""
    from zoo.engine.assembly.job import assemble
    from zoo.engine.events import Observer as Silent

    return assemble(
        _settings(config, options), registry or Registry.installed(),
        progress=(observer or Silent()).preparing,
    )  # fmt: skip


def resume(
    path: str | Path,
    *,
    force: bool = False,
    registry: Registry | None = None,
    observer: Observer | None = None,
) -> RunResult:
    """Goes on with a run from its last whole checkpoint, to the bit. ``zoo resume``.

    A run that has ended is left as it is, and its result returned.

    Args:
        path: The run folder.
        force: Go on although plugins, data or classes are others than the run was made with.
        registry: The components to choose from; by default all that are installed.
        observer: Listens to the run.

    Raises:
        CheckpointError: There is no checkpoint that verifies, or what the run was made with has
            changed.
        DataError: The data is not what the run was trained on.
        BusyError: Another process is writing the run.
    """
    from zoo.config import RunConfig, load_config
    from zoo.engine.assembly.job import assemble
    from zoo.engine.device import Device
    from zoo.engine.events import Observer as Silent
    from zoo.engine.records.earlier import result_of
    from zoo.engine.records.record import refuse_changes
    from zoo.evaluation.teachers import teacher_for
    from zoo.protocols import Preprocessing
    from zoo.runs import checkpoint
    from zoo.runs.folder import RunFolder

    folder = RunFolder.open(Path(path))
    observer, registry = observer or Silent(), registry or Registry.installed()
    config = RunConfig.from_mapping(
        load_config(folder.path / "config.toml"), source=printable(folder.path / "config.toml")
    )
    device = Device.open(config)
    with folder.owned() if device.is_main else nullcontext():
        if (ended := result_of(folder)) is not None:
            observer.noted(f"{printable(folder.path)} has ended already; nothing was changed")
            return ended
        found, rejected = checkpoint.latest(folder.checkpoints)
        for line in rejected:
            observer.noted(f"skipped {line}")
        if found is None and rejected:
            raise CheckpointError(
                f"the run {printable(folder.path)} has no checkpoint that can be used",
                found="; ".join(rejected), hint="start a new run",
            )  # fmt: skip
        # Killed before its first checkpoint, it starts again, as configured.
        state = None if found is None else checkpoint.load(found)
        saved = folder.read_json("environment.json")
        if config.threads is None:  # bits are promised for a number of threads
            config = config.changed(threads=saved["threads"])
        job = assemble(
            config, registry, progress=observer.preparing,
            resumed=Preprocessing.from_mapping(saved["preprocessing"]) if state else None,
        )  # fmt: skip
        # Where the weights came from stays said; best/model.json must not depend on a resume.
        job = replace(job, taken=replace(job.taken, reason=saved["weights"]))
        refuse_changes(job, saved, observer=observer, force=force)
        return _train(
            job, folder, device=device, observer=observer, state=state, force=force,
            teacher=teacher_for(job, device=device, registry=registry),
        )  # fmt: skip


def load(path: str | Path, *, registry: Registry | None = None) -> Trained:
    """Returns the best weights of a run as a classifier.

    Args:
        path: The run folder.
        registry: The components to choose from; by default all that are installed.

    Raises:
        CheckpointError: There are no usable weights, or the plugin of the model is missing.
    """
    from zoo.evaluation.trained import load_trained

    return load_trained(Path(path), registry=registry or Registry.installed())


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

    observer = observer or Silent()
    job = prepare(config, registry=registry, observer=observer, **options)
    device = Device.open(job.config)
    feed = image_feed(job, "train", device=device, progress=observer.preparing)
    sample = sample_of(feed, epoch_draws(job)(epoch)[:count], classes=job.data.classes, epoch=epoch)
    pixels_BSSC = sample.images_BCHW.mul(255).round().clamp(0, 255).to(torch.uint8)
    images = pixels_BSSC.permute(0, 2, 3, 1).numpy()
    return list(zip(images, sample.labels, strict=True))


def list_components(
    kind: str,
    pattern: str | None = None,
    *,
    plugin: str | None = None,
    tags: Iterable[str] = (),
    registry: Registry | None = None,
) -> list[Entry]:
    """Returns the components of a kind. ``zoo list``. Imports no torch.

    Args:
        kind: One of :data:`zoo.plugin.KINDS`.
        pattern: A glob such as ``*resnet*``, or a part of the name or of an alias.
        plugin: Only those of this namespace or distribution.
        tags: Only those that have all of these tags.
        registry: The components to choose from; by default all that are installed.
    """
    from fnmatch import fnmatchcase

    wanted = {tag.lower() for tag in tags}
    glob = fold(pattern or "")
    if glob and not set(glob) & set("*?["):
        glob = f"*{glob}*"
    found = []
    for entry in (registry or Registry.installed()).entries(kind):
        component = entry.component
        names = (component.name, entry.id, *component.aliases)
        owners = (fold(entry.plugin.namespace), fold(entry.plugin.distribution))
        if (
            (not glob or any(fnmatchcase(fold(name), glob) for name in names))
            and (plugin is None or fold(plugin) in owners)
            and wanted <= {tag.lower() for tag in component.tags}
        ):
            found.append(entry)
    return found


def _settings(
    config: RunConfig | Mapping[str, object] | None, options: Mapping[str, Any]
) -> RunConfig:
    """Returns the configuration with the options on top."""
    from zoo.config import RunConfig

    base = config.as_mapping() if isinstance(config, RunConfig) else dict(config or {})
    return RunConfig.from_mapping({**base, **options})


def _train(
    job: Job,
    folder: RunFolder,
    *,
    device: Device,
    observer: Observer,
    teacher: Teacher | None,
    state: Checkpoint | None = None,
    force: bool = False,
) -> RunResult:
    """Trains a job that is described in its folder."""
    from zoo.engine.callbacks import listening
    from zoo.engine.run import run_job

    callbacks = job.choices.callbacks if device.is_main else ()
    with listening(observer, callbacks, run_path=folder.path) as everybody:
        return run_job(
            job, folder, device=device, observer=everybody, resume=state, force=force,
            teacher=teacher,
        )  # fmt: skip


def _plain(name: str) -> str:
    """Returns a name from data as letters and digits: such names never become paths as they are."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in name)
    return "-".join(filter(None, kept.split("-")))[:40].lower() or "data"


def _describe(job: Job, folder: Any) -> None:
    """Writes what the run is: the configuration that repeats it, and the environment."""
    from zoo.engine.records.record import made_with

    repeats = job.config.changed(resume="never")
    if repeats.weights == "auto":
        repeats = repeats.changed(weights=job.taken.weights.name if job.taken.weights else "none")
    folder.write_json("environment.json", made_with(job))
    folder.write_text("config.toml", repeats.to_toml())  # last: it is what makes a run folder
