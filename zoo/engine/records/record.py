"""What a run is made with, as environment.json has it, and whether that is still so on a resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from zoo.data.reading.stamps import num_written_since
from zoo.engine.records.environment import environment
from zoo.engine.tuning.settings import decided_by_trial
from zoo.errors import CheckpointError, count_of, printable
from zoo.runs.provenance import code_digest, code_digests, differences, drifts

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.engine.assembly.job import Job
    from zoo.engine.events import Observer
    from zoo.engine.step.distillation import Teacher

__all__ = ["made_with", "refuse_changes", "weights_description"]

_APART = frozenset({
    "recipe", "runs", "name", "resume", "callback", "save_every", "save_steps", "max_minutes",
    "device", "threads", "workers", "ram", "keep_decoded", "keep_features", "auto_batch", "tune",
    "model", "head", "loss", "optim", "sched", "aug", "metric", "data", "weights", "distill",
})  # fmt: skip
"""Options that decide no bits, and those of what is recorded by itself."""


def made_with(
    job: Job, *, teacher: Teacher | None = None,
    digest: Callable[[str], str | None] = code_digest,
) -> dict[str, Any]:  # fmt: skip
    """Returns versions, machine, components with the digests of their code, and the data.

    Args:
        job: What is trained.
        teacher: Whom it learns from besides the labels.
        digest: Digests the code of a package.
    """
    machine = environment()
    targets = [choice.entry.component.target for choice in job.choices.all]
    packages = [target.partition(":")[0].partition(".")[0] for target in targets]
    return {
        **machine,
        "threads": job.config.threads or machine["threads"],
        "components": job.choices.described(),
        "plugins": {  # of --plugin PATH; installed ones are told by package and version
            choice.entry.plugin.namespace: {
                "file": choice.entry.plugin.distribution, "sha256": choice.entry.plugin.digest,
            }
            for choice in job.choices.all if choice.entry.plugin.digest
        },
        "code": code_digests(["zoo", *packages], digest=digest),
        "options": _options(job),
        "teacher": None if teacher is None else teacher.digest,
        "weights": job.taken.reason,
        "preprocessing": asdict(job.preprocessing),
        "data": {
            "name": job.data.name, "fingerprint": job.data.fingerprint,
            "classes": list(job.data.classes), "bad": dict(job.data.bad),
        },
    }  # fmt: skip


def _options(job: Job) -> dict[str, Any]:
    """Returns the options that decide bits, but for those that ``--tune`` has yet to decide."""
    apart = _APART | decided_by_trial(job.config)
    named = {f.name: getattr(job.config, f.name) for f in fields(job.config) if f.name not in apart}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in named.items()
    }


def refuse_changes(
    job: Job, saved: Mapping[str, Any], *, run: Path, observer: Observer, began_ns: int,
    teacher: Teacher | None = None, force: bool = False,
) -> None:  # fmt: skip
    """Notes what has changed since a run was started, and refuses what would change its result.

    Args:
        job: What would go on.
        saved: What the run was started with.
        run: Its folder.
        observer: Hears the notes.
        began_ns: When the run was started, nanoseconds since 1970. Files of images that are newer
            are noted: a fingerprint does not tell a copy of the data from other images in place.
        teacher: Whom it would learn from besides the labels.
        force: Note what would be refused, and go on.

    Raises:
        CheckpointError: Components, their code, options, torch, teacher, data or classes are
            others.
    """
    now = made_with(job, teacher=teacher)
    changed = differences(saved, now)
    for line in (*drifts(saved, now), *_newer(job, began_ns), *(changed if force else ())):
        observer.noted(f"since the run was started: {line}")
    if changed and not force:
        raise CheckpointError(
            f"the run {printable(run)} would not go on as it began: " + "; ".join(changed[:8]),
            kept="the run as it is",
            hint=f"undo the change, or go on all the same: zoo resume {printable(run)} --force",
        )


def _newer(job: Job, began_ns: int) -> list[str]:
    """Returns a line where files of images are newer than the run."""
    splits = job.data.splits.values()
    count = sum(num_written_since(split.images, when_ns=began_ns) for split in splits)
    if not count:
        return []
    told = "of the data written or moved; if they are other images, start a new run"
    return [f"{count_of(count, 'file')} {told}"]


def weights_description(job: Job, *, epoch: int, average: str = "") -> dict[str, Any]:
    """Returns what makes weights usable: classes, preprocessing, components.

    Args:
        job: Whose network they are of.
        epoch: After which they were kept, from 1.
        average: How they were averaged; empty for the weights of an epoch.
    """
    return {
        "format": 1,
        "classes": list(job.data.classes),
        "multi_label": job.data.multi_label,
        "channels": job.config.channels,
        "preprocessing": asdict(job.preprocessing),
        "components": job.choices.described(),
        "weights": job.taken.reason,
        "average": average or ("ema" if job.config.ema else "none"),
        "epoch": epoch,
    }
