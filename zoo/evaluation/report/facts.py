"""What a run folder says about its run, without the weights or the data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from zoo.config import RunConfig, load_config
from zoo.config.run_config import option_of
from zoo.errors import CheckpointError, printable
from zoo.evaluation.trained import FORMAT
from zoo.plugin import Value
from zoo.registry.specs import format_value
from zoo.runs.folder import RunFolder

__all__ = ["PhaseTime", "RunFacts", "read_facts", "run_words"]

_OF_AN_EPOCH = ("", "none", "ema")
_ELSEWHERE = {"name", "runs", "resume", "threads"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """One phase of the plan as it went.

    Args:
        name: Of the phase.
        first: Its first epoch, from 1.
        epochs: How many were trained.
        seconds: Training and validation of them.
        images_per_second: Training images over the time without validation, the median epoch.
    """

    name: str
    first: int
    epochs: int
    seconds: float
    images_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run as its folder describes it.

    Args:
        folder: The run.
        config: How it was trained.
        environment: Versions, machine, components and data: environment.json.
        rows: metrics.jsonl, one mapping an epoch; those that can be read.
        summary: summary.json; None when the run has not ended.
        best: best/model.json; None when there are no best weights yet.
    """

    folder: RunFolder
    config: RunConfig
    environment: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any] | None
    best: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.path.resolve().name

    def part(self, name: str) -> Mapping[str, Any]:
        """Returns a table of environment.json, empty where there is none."""
        found = self.environment.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def best_row(self) -> Mapping[str, Any] | None:
        """The best epoch, whose weights are kept unless an average is; None before the first."""
        marked = [row for row in self.rows if row["best"]]
        return marked[-1] if marked else None

    @property
    def average(self) -> str:
        """Which average of epochs is kept: ``soup of epochs 3, 5``; empty for an epoch's weights.

        A moving average (``--ema``) belongs to its epoch: it is what the epoch was validated with.
        """
        found = None if self.best is None else self.best.get("average")
        return found if isinstance(found, str) and found not in _OF_AN_EPOCH else ""

    @property
    def phases(self) -> list[PhaseTime]:
        """The phases that were trained, in order."""
        found = []
        for name, group in groupby(self.rows, key=lambda row: str(row["phase"])):
            rows = list(group)
            speeds = [float(row["images_per_second"]) for row in rows]
            found.append(
                PhaseTime(
                    name=name, first=rows[0]["epoch"], epochs=len(rows),
                    seconds=sum(float(row["seconds"]) for row in rows),
                    images_per_second=median(speeds),
                )
            )  # fmt: skip
        return found

    @property
    def seconds(self) -> float:
        """Wall time of the run, or of its epochs so far."""
        whole = None if self.summary is None else self.summary.get("seconds")
        if isinstance(whole, int | float):
            return float(whole)
        return float(sum(row["seconds"] for row in self.rows))


def read_facts(path: Path) -> RunFacts:
    """Returns what a run folder says.

    Raises:
        UsageError: It is not a run folder, or its configuration has unknown options.
        CheckpointError: A file of it is damaged, or a newer zoo wrote it.
    """
    folder = RunFolder.open(path)
    best = folder.read_json("best/model.json") if (path / "best" / "model.json").is_file() else None
    made_by = best.get("format", 0) if isinstance(best, dict) else 0
    if not isinstance(made_by, int) or made_by > FORMAT:
        raise CheckpointError(
            f"the run {printable(path)} was made by a newer zoo",
            found=f"format {printable(made_by)}, and this zoo reads up to {FORMAT}",
            hint="pip install --upgrade classifier-zoo",
        )
    config = RunConfig.from_mapping(
        load_config(path / "config.toml"), source=printable(path / "config.toml")
    )
    ended = (path / "summary.json").is_file()
    return RunFacts(
        folder=folder, config=config, environment=_table(folder, "environment.json"),
        rows=[row for row in folder.rows() if _is_row(row)],
        summary=_table(folder, "summary.json") if ended else None,
        best=best if isinstance(best, dict) else None,
    )  # fmt: skip


def _table(folder: RunFolder, name: str) -> Mapping[str, Any]:
    value = folder.read_json(name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{printable(folder.path / name)} is not what zoo writes there")
    return value


def _is_row(row: object) -> bool:
    """Whether a line of metrics.jsonl has what a report draws."""
    numbers = ("epoch", "lr", "train_accuracy", "val_accuracy", "seconds", "images_per_second")
    losses = ("train_loss", "val_loss")  # null where they are not finite
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), int | float) for key in numbers)
        and all(isinstance(row.get(key, ""), int | float | None) for key in losses)
        and isinstance(row.get("phase"), str)
        and isinstance(row.get("best"), bool)
    )


def run_words(config: RunConfig, *, threads: int | None) -> list[str]:
    """Returns the words of the command that trains the same again, each quoted for a POSIX shell.

    Every option that differs from a plain ``zoo run`` is in it, and so is the number of threads:
    equal weights are promised for one number.

    >>> " ".join(run_words(RunConfig(data="my photos", epochs=3), threads=2))
    "zoo run --data 'my photos' --epochs 3 --threads 2"
    """
    plain = RunConfig().as_mapping()
    words = ["zoo", "run"]
    for key, value in config.as_mapping().items():
        if key not in _ELSEWHERE and value != plain.get(key):
            words.append(_flag(key, value))  # type: ignore[arg-type]  # a configuration has Values
    if (config.threads or threads) is not None:
        words.append(f"--threads {config.threads or threads}")
    return words


def _flag(key: str, value: Value) -> str:
    """Returns a flag with its value, quoted; together, so that a page keeps them in one line."""
    flag = f"--{key.replace('_', '-')}"
    if option_of(key).type == "bool":
        return flag if value else f"--no-{flag[2:]}"
    text = shlex.quote(format_value(value).strip("[]") if isinstance(value, tuple)
                       else format_value(value))  # fmt: skip
    return f"{flag}={text}" if text.startswith("-") else f"{flag} {text}"
