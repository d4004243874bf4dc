"""Train, resume, and look at what would be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from zoo.api.settings import settings_of
from zoo.errors import CheckpointError, printable
from zoo.garbage import collected_rarely
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.sources import Sources
    from zoo.engine.device import Device
    from zoo.engine.events import Observer, RunResult
    from zoo.engine.features.spare import Spare
    from zoo.engine.step.distillation import Teacher
    from zoo.runs.checkpoint import Checkpoint
    from zoo.runs.folder import RunFolder

__all__ = ["prepare", "resume", "run"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _draws_apart(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Leaves torch's generator as it was: who draws the options of runs goes on drawing."""

    @wraps(function)
    def apart(*args: _P.args, **options: _P.kwargs) -> _R:
        import torch

        with torch.random.fork_rng(devices=[]):
            return function(*args, **options)

    return apart


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
    known = registry or Registry.installed()
    settings = settings_of(config, options, known)
    return run_settings(settings, registry=known, observer=observer)


@collected_rarely()
@_draws_apart
def run_settings(
    settings: RunConfig, *, registry: Registry, observer: Observer | None,
    sources: Sources | None = None,
) -> RunResult:  # fmt: skip
    """Trains a classifier and returns how it ended.

    Args:
        settings: Its configuration.
        registry: The components to choose from.
        observer: Listens to the run.
        sources: Where its data and network come from; None makes both for this run alone.
    """
    from zoo.engine.assembly.job import assemble
    from zoo.engine.assembly.sources import Sources
    from zoo.engine.device import Device, compute_threads
    from zoo.engine.events import Observer as Silent
    from zoo.engine.records.earlier import cut_short, other_options
    from zoo.evaluation.teachers import teacher_for
    from zoo.runs.folder import RunFolder

    observer, sources = observer or Silent(), sources or Sources()
    if settings.resume == "auto":
        earlier = cut_short(settings, lambda open_one: prepare(open_one, registry=registry).config)
        if earlier is not None:
            observer.noted(f"going on with {printable(earlier)}")
            for line in other_options(settings, earlier):
                observer.noted(line)
            return resume(earlier, registry=registry, observer=observer)
    with compute_threads(settings):
        job = assemble(settings, registry, sources=sources, progress=observer.preparing)
    stem = f"{job.choices.model.entry.component.name}-{_plain(job.data.name)}"
    device = Device.open(job.config)
    _check_processes(job, device)
    teacher = teacher_for(job, device=device, registry=registry)  # before there is a folder
    folder = device.from_main(
        lambda: RunFolder.create(Path(job.config.runs), name=job.config.name, stem=stem)
    )
    with folder.owned() if device.is_main else nullcontext():
        if device.is_main:
            _describe(job, folder, teacher=teacher, digest=sources.code)
        return _train(
            job, folder, device=device, observer=observer, teacher=teacher,
            spare=sources.spare,
        )  # fmt: skip


@_draws_apart
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
        settings_of(config, options, registry), registry or Registry.installed(),
        progress=(observer or Silent()).preparing,
    )  # fmt: skip


@collected_rarely()
@_draws_apart
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
        PluginError: A plugin that it was made with is missing.
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
    from zoo.registry.absent import refuse_missing
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
        refuse_missing(saved.get("components"), registry, run=folder.path)
        if config.threads is None and not config.tune:  # bits are promised for a number of them
            config = config.changed(threads=saved["threads"])
        job = assemble(
            config, registry, progress=observer.preparing,
            resumed=Preprocessing.from_mapping(saved["preprocessing"]) if state else None,
        )  # fmt: skip
        _check_processes(job, device)
        # Where the weights came from stays said; best/model.json must not depend on a resume.
        job = replace(job, taken=replace(job.taken, reason=saved["weights"]))
        teacher = teacher_for(job, device=device, registry=registry)
        began_ns = (folder.path / "environment.json").stat().st_mtime_ns
        refuse_changes(
            job, saved, run=folder.path, observer=observer, began_ns=began_ns, teacher=teacher,
            force=force,
        )  # fmt: skip
        if state is not None and device.is_main:
            folder.put_back_best(epoch=state.state["best"]["epoch"])
        return _train(
            job, folder, device=device, observer=observer, state=state, force=force,
            teacher=teacher,
        )  # fmt: skip


def _check_processes(job: Job, device: Device) -> None:
    """Refuses more processes than can share the batches of a job."""
    from zoo.config.compatibility import check_processes
    from zoo.engine.assembly.network import takes_one_image

    check_processes(
        job.config, num_train=len(job.data.splits["train"].images), world=device.world,
        takes_one_image=lambda: takes_one_image(
            job.model, job.head, config=job.config, phases=job.phases,
            own_head=job.choices.head is not None,
        ),
    )  # fmt: skip


def _train(
    job: Job,
    folder: RunFolder,
    *,
    device: Device,
    observer: Observer,
    teacher: Teacher | None,
    state: Checkpoint | None = None,
    force: bool = False,
    spare: Spare | None = None,
) -> RunResult:
    """Trains a job that is described in its folder."""
    from zoo.engine.callbacks import listening
    from zoo.engine.run import run_job
    from zoo.engine.step.memory import is_out_of_memory
    from zoo.registry.loading import blamed

    callbacks = job.choices.callbacks if device.is_main else ()
    with (
        blamed(job.choices.all, unless=is_out_of_memory),
        listening(observer, callbacks, run_path=folder.path) as everybody,
    ):
        return run_job(
            job, folder, device=device, observer=everybody, resume=state, force=force,
            teacher=teacher, spare=spare,
        )  # fmt: skip


def _plain(name: str) -> str:
    """Returns a name from data as letters and digits: such names never become paths as they are."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in name)
    return "-".join(filter(None, kept.split("-")))[:40].lower() or "data"


def _describe(
    job: Job, folder: Any, *, teacher: Teacher | None, digest: Callable[[str], str | None]
) -> None:
    """Writes what the run is: the configuration that repeats it, and the environment."""
    from zoo.engine.records.record import made_with

    repeats = job.config.changed(resume="never")
    if repeats.weights == "auto":
        repeats = repeats.changed(weights=job.taken.weights.name if job.taken.weights else "none")
    folder.write_json("environment.json", made_with(job, teacher=teacher, digest=digest))
    folder.write_text("config.toml", repeats.to_toml())  # last: it is what makes a run folder
