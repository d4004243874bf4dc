"""The Python API. The command line calls nothing else.

import zoo

result = zoo.run(model="efficientnet-lite0", data="clipart10")
trained = zoo.load(result.path)
trained.predict(["cat.jpg"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import CheckpointError, printable
from zoo.plugin import fold
from zoo.registry import Entry, Registry

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.events import Observer, RunResult
    from zoo.engine.job import Job
    from zoo.evaluation.trained import Trained

__all__ = ["list_components", "load", "prepare", "resume", "run"]


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
    from zoo.engine.run import run_job
    from zoo.runs.folder import RunFolder

    job = prepare(config, registry=registry, **options)
    stem = f"{job.choices.model.entry.component.name}-{_plain(job.data.name)}"
    device = Device.open(job.config)
    folder = device.from_main(
        lambda: RunFolder.create(Path(job.config.runs), name=job.config.name, stem=stem)
    )
    with folder.owned() if device.is_main else nullcontext():
        if device.is_main:
            _describe(job, folder)
        return run_job(job, folder, device=device, observer=observer or Silent())


def prepare(
    config: RunConfig | Mapping[str, object] | None = None,
    *,
    registry: Registry | None = None,
    **options: Any,
) -> Job:
    """Finds, builds and checks everything that a run needs, and trains nothing. ``--dry-run``."""
    from zoo.config import RunConfig
    from zoo.engine.job import assemble

    base = config.as_mapping() if isinstance(config, RunConfig) else dict(config or {})
    return assemble(RunConfig.from_mapping({**base, **options}), registry or Registry.installed())


def resume(
    path: str | Path, *, registry: Registry | None = None, observer: Observer | None = None
) -> RunResult:
    """Goes on with a run from its last whole checkpoint, to the bit. ``zoo resume``.

    Args:
        path: The run folder.
        registry: The components to choose from; by default all that are installed.
        observer: Listens to the run.

    Raises:
        CheckpointError: There is no checkpoint that verifies.
        DataError: The data is not what the run was trained on.
        BusyError: Another process is writing the run.
    """
    from zoo.config import RunConfig, load_config
    from zoo.engine.device import Device
    from zoo.engine.events import Observer as Silent
    from zoo.engine.job import assemble
    from zoo.engine.run import run_job
    from zoo.protocols import Preprocessing
    from zoo.runs import checkpoint
    from zoo.runs.folder import RunFolder

    folder = RunFolder.open(Path(path))
    observer = observer or Silent()
    config = RunConfig.from_mapping(
        load_config(folder.path / "config.toml"), source=printable(folder.path / "config.toml")
    )
    device = Device.open(config)
    with folder.owned() if device.is_main else nullcontext():
        found, rejected = checkpoint.latest(folder.checkpoints)
        for line in rejected:
            observer.noted(f"skipped {line}")
        if found is None and rejected:
            raise CheckpointError(
                f"the run {printable(folder.path)} has no checkpoint that can be used",
                found="; ".join(rejected), hint="start a new run",
            )  # fmt: skip
        if found is None:  # killed before its first checkpoint: from the start, as configured
            job = assemble(config, registry or Registry.installed())
            return run_job(job, folder, device=device, observer=observer)
        state = checkpoint.load(found)
        saved = folder.read_json("environment.json")["preprocessing"]
        preprocessing = Preprocessing.from_mapping(saved)
        job = assemble(config, registry or Registry.installed(), resumed=preprocessing)
        return run_job(job, folder, device=device, observer=observer, resume=state)


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


def _plain(name: str) -> str:
    """Returns a name from data as letters and digits: such names never become paths as they are."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in name)
    return "-".join(filter(None, kept.split("-")))[:40].lower() or "data"


def _describe(job: Job, folder: Any) -> None:
    """Writes what the run is: the configuration that repeats it, and the environment."""
    from zoo.engine.environment import environment

    if job.config.weights == "auto":
        name = job.taken.weights.name if job.taken.weights else "none"
        folder.write_text("config.toml", job.config.changed(weights=name).to_toml())
    else:
        folder.write_text("config.toml", job.config.to_toml())
    folder.write_json("environment.json", {
        **environment(),
        "components": job.choices.described(),
        "weights": job.taken.reason,
        "preprocessing": asdict(job.preprocessing),
        "data": {"name": job.data.name, "fingerprint": job.data.fingerprint},
    })  # fmt: skip
