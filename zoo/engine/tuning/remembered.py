"""What was found before, on the same machine for the same work.

    CACHE/tuning/KEY/about.json    the work, the fastest settings, images a second

It can be removed at any time. What is damaged, or of another work, counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from zoo.cores import num_cores
from zoo.data.cache import cache_folder
from zoo.disk import atomic_file
from zoo.engine.tuning.settings import Settings

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase
    from zoo.engine.device import Device

__all__ = ["Finding", "processor", "recall", "remember", "work_of"]

_FORMAT = 1
_LARGEST_FILE = 100_000  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The fastest settings, and what they gain.

    Args:
        settings: The fastest.
        before: Those that a run has by default.
        images_per_second: With the fastest.
        before_per_second: With those of ``before``.
    """

    settings: Settings
    before: Settings
    images_per_second: float
    before_per_second: float

    def __str__(self) -> str:
        what = self.settings.described(self.before)
        if self.settings == self.before:
            return f"the default is the fastest: {what}; {self.images_per_second:.0f} images/s"
        speed, before = self.images_per_second, self.before_per_second
        return f"{what}; {speed:.0f} images/s, {before:.0f} by default"


def work_of(
    job: Job, phase: Phase, *, device: Device, before: Settings, decodes: bool
) -> dict[str, Any]:
    """Returns all that decides which settings are the fastest, as plain data."""
    config, choices = job.config, job.choices
    here = device.torch_device
    plain = asdict(before)
    if before.compile_mode == "default":  # what was found before there were others stays found
        del plain["compile_mode"]
    work = {
        "format": _FORMAT,
        "machine": [
            processor(), num_cores(), torch.backends.cpu.get_cpu_capability(), torch.__version__,
            torch.cuda.get_device_name(here) if here.type == "cuda" else here.type,
        ],
        "model": [choices.model.spec, choices.model.entry.origin],
        "parts": [
            part.spec for part in (choices.optimizer, choices.loss, *choices.transforms)
        ],
        "trains": [phase.trainable, phase.augment, phase.hold_statistics, config.frozen_norm],
        "image": [job.preprocessing.image_size, config.channels],
        "batch": [config.batch_size, config.accumulate, bool(config.sam), config.distill],
        "precision": [config.precision, config.deterministic],
        "decodes": decodes,
        "threads": config.threads,
        "workers": config.workers,
        "before": plain,
    }  # fmt: skip
    if here.type == "cuda" and config.compile:  # earlier trials knew of no CUDA graphs
        work["graphs"] = True
    return work


def processor() -> str:
    """Returns the name of the processor, as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def recall(work: dict[str, Any]) -> Finding | None:
    """Returns what was found for some work before, None where nothing usable was."""
    with suppress(OSError, ValueError, RecursionError):
        path = _folder(work) / "about.json"
        with path.open("rb") as file:
            found = json.loads(file.read(_LARGEST_FILE))
        if isinstance(found, dict) and found.get("work") == json.loads(json.dumps(work)):
            finding = _read(found)
            os.utime(path)  # the time at which it was last used
            return finding
    return None


def remember(work: dict[str, Any], finding: Finding, *, what: str) -> None:
    """Keeps what was found. A cache that cannot be written costs the next run a trial, no more."""
    table = {"what": what, "work": work, **asdict(finding)}
    text = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
    with suppress(OSError):
        folder = _folder(work)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_file(folder / "about.json", lambda path: path.write_text(text, encoding="utf-8"))


def _folder(work: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "tuning" / digest[:16]


def _read(table: dict[str, Any]) -> Finding | None:
    """Returns the finding that a file holds, None where it is damaged."""
    settings, before = (Settings.from_mapping(table.get(key)) for key in ("settings", "before"))
    speeds = [table.get(key) for key in ("images_per_second", "before_per_second")]
    if settings is None or before is None:
        return None
    if not all(type(speed) is float and 0 < speed < math.inf for speed in speeds):
        return None
    return Finding(
        settings=settings, before=before, images_per_second=table["images_per_second"],
        before_per_second=table["before_per_second"],
    )  # fmt: skip
