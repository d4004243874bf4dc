"""The runs below a folder, each as one entry, whatever state it is in. Imports no torch.

    runs/*/ (config.toml, environment.json, metrics.jsonl, summary.json, sizes) -> RunEntry

Nothing here raises because of what a run folder holds: what is damaged, incomplete or of a newer
zoo is an entry with a word.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from zoo.errors import UsageError, printable
from zoo.runs.plain_files import Damaged, number_of, rows_of, table_of, text_of, whole_of

__all__ = ["STATUSES", "RunEntry", "is_held", "is_run", "list_runs", "read_run"]

STATUSES = ("done", "cut short", "running", "not begun", "broken", "newer")
"""What a run can be: ended; stopped before its end, and zoo resume goes on; being written now;
stopped before it had a configuration; not readable; made by a newer zoo."""

_FORMAT = 1
_MARKS = ("config.toml", "environment.json", "metrics.jsonl", "summary.json", "checkpoints", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """What a run folder says about itself. Texts are as they are there: escape them to print.

    Args:
        path: The run folder.
        status: One of :data:`STATUSES`.
        why: What is broken or newer; empty for the others.
        model: The network as it was asked for; empty if not known.
        data: Name of the data set; empty if not known.
        epochs: Epochs that are done.
        planned: Epochs that were planned; None if not known.
        monitor: Name of the metric that decides which epoch is best.
        greater_is_better: Its direction; None if not known.
        best_score: Its value in the best epoch; None if there is none.
        best_epoch: From 1; None if there is none.
        test_accuracy: On the test split, 0..1; None if not known.
        when: When it was last written, seconds since 1970; None if not known.
        seconds: Wall time of training; None if not known.
        num_bytes: Size on disk of all that is in the folder.
        values: All that can be filtered by and sorted by: the options of the run, its metrics in
            the best epoch (``val_loss``), how it ended (``test_accuracy``). A tuple holds several
            names for the same thing.
    """

    path: Path
    status: str
    why: str = ""
    model: str = ""
    data: str = ""
    epochs: int = 0
    planned: int | None = None
    monitor: str = ""
    greater_is_better: bool | None = None
    best_score: float | None = None
    best_epoch: int | None = None
    test_accuracy: float | None = None
    when: float | None = None
    seconds: float | None = None
    num_bytes: int = 0
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    def as_dict(self) -> dict[str, object]:
        """Returns the entry as plain data for JSON: a number that is not finite is None."""
        names = ("status", "why", "model", "data", "epochs", "planned", "monitor", "best_score",
                 "best_epoch", "test_accuracy", "when", "seconds", "num_bytes")  # fmt: skip
        plain = {name: getattr(self, name) for name in names}
        values = {key: _finite(value) for key, value in self.values.items()}
        shown = {key: _finite(value) for key, value in plain.items()}
        return {"name": self.name, "path": str(self.path), **shown, "values": values}


def list_runs(folder: Path) -> list[RunEntry]:
    """Returns an entry for each run folder right below a folder, by name.

    Raises:
        UsageError: There is no such folder, or it is a run itself.
    """
    if not folder.is_dir():
        raise UsageError(
            f"the folder of runs {printable(folder)} does not exist",
            hint="--runs FOLDER names another one; zoo run makes the first run",
        )
    if (folder / "config.toml").is_file():
        raise UsageError(
            f"{printable(folder)} is a run itself, not a folder of runs",
            hint=f"--runs {printable(folder.parent)}",
        )
    try:
        found = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
    except OSError as error:
        raise UsageError(
            f"the folder of runs {printable(folder)} cannot be read", found=error.strerror or ""
        ) from None
    return [read_run(path) for path in map(Path, found) if is_run(path)]


def is_run(path: Path) -> bool:
    """Whether a folder has anything in it that a run leaves."""
    return any(os.path.lexists(path / name) for name in (*_MARKS, ".lock"))


def read_run(path: Path) -> RunEntry:
    """Returns the entry of a run folder. Never raises for what is in it."""
    damage: list[str] = []

    def kept(read: Mapping[str, object] | Damaged | None) -> Mapping[str, object] | None:
        if isinstance(read, Damaged):
            damage.append(str(read))
            return None
        return read

    config = kept(table_of(path / "config.toml"))
    environment = kept(table_of(path / "environment.json"))
    summary = kept(table_of(path / "summary.json"))
    rows, torn = rows_of(path / "metrics.jsonl")
    damage += torn
    best = next((row for row in reversed(rows) if row.get("best") is True), None)
    status, why = _status(path, config, environment, summary, damage)
    config, environment, ended = config or {}, environment or {}, summary or {}
    monitor = text_of(ended.get("monitor")) or text_of(config.get("monitor"))
    score, at = number_of(ended.get("best_score")), whole_of(ended.get("best_epoch"))
    if best is not None and not ended:
        score = number_of(best.get(monitor, best.get(f"val_{monitor}")))
        at = whole_of(best.get("epoch"))
    seconds = number_of(ended.get("seconds"))
    if seconds is None and rows:
        seconds = sum(number_of(row.get("seconds")) or 0.0 for row in rows)
    model, model_names = _names(config, environment, "model")
    data, data_names = _names(config, environment, "data")
    values: dict[str, object] = {
        **{key: value for key, value in config.items() if isinstance(value, str | int | float)},
        **{key: tuple(value) for key, value in config.items() if isinstance(value, list)},
        **dict(_metrics(best or {}, ended)),
        "best_score": score, "best_epoch": at, "seconds": seconds, "epochs_done": len(rows),
        "monitor": monitor or None, "name": path.name, "status": status,
        "model": model_names, "data": data_names,
    }  # fmt: skip
    upwards = ended.get("greater_is_better")
    num_bytes = _size(path)
    when = _when(path)
    values |= {"size": num_bytes, "when": when}
    return RunEntry(
        path=path, status=status, why=why, model=model, data=data, epochs=len(rows),
        planned=_planned(config), monitor=monitor, best_score=score, best_epoch=at,
        greater_is_better=upwards if isinstance(upwards, bool) else None,
        test_accuracy=number_of(ended.get("test_accuracy")), when=when, seconds=seconds,
        num_bytes=num_bytes, values={k: v for k, v in values.items() if v not in (None, ())},
    )  # fmt: skip


def _status(
    path: Path,
    config: Mapping[str, object] | None,
    environment: Mapping[str, object] | None,
    summary: Mapping[str, object] | None,
    damage: list[str],
) -> tuple[str, str]:
    """Returns the status of a run and, if it is broken or newer, why."""
    if (newer := _newer(environment or {}, summary or {})) is not None:
        return "newer", newer
    if damage:
        return "broken", damage[0]
    if summary is None and is_held(path):
        return "running", ""
    if config is None:
        begun = any(os.path.lexists(path / name) for name in _MARKS if name != "environment.json")
        return ("broken", "it has no config.toml") if begun else ("not begun", "")
    if summary is None:
        return "cut short", ""
    if number_of(summary.get("best_score")) is None and "best_score" not in summary:
        return "broken", "summary.json does not say how it ended"
    if not (path / "best" / "model.safetensors").is_file():
        return "broken", "its best weights are gone"
    return "done", ""


def is_held(path: Path) -> bool:
    """Whether a process is writing a run right now. Looks at the lock and takes it for no longer.

    A shared lock is asked for, so that any number of lists at once do not take each other for
    writers. The lock file is neither made nor changed.
    """
    try:
        descriptor = os.open(path / ".lock", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
                             | getattr(os, "O_NONBLOCK", 0))  # fmt: skip
    except OSError:
        return False
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBRLCK, 1)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError as error:
        return isinstance(error, BlockingIOError | PermissionError)
    finally:
        os.close(descriptor)
    return False


def _newer(environment: Mapping[str, object], summary: Mapping[str, object]) -> str | None:
    """Returns which newer zoo made a run, None if it was not a newer one."""
    for record in (environment, summary):
        format_ = whole_of(record.get("format"))
        if format_ is not None and format_ > _FORMAT:
            return f"made by format {format_}, this zoo reads {_FORMAT}; upgrade zoo"
    packages = environment.get("packages")
    made = text_of(packages.get("classifier-zoo")) if isinstance(packages, Mapping) else ""
    here = _this_version()
    if here and _release(made) > _release(here):
        return f"made by zoo {made[:40]}, this is {here}; upgrade zoo"
    return None


@cache
def _this_version() -> str:
    """Returns the version of zoo; empty if it is not installed. Reading it takes 0.4 ms."""
    with suppress(PackageNotFoundError):
        return version("classifier-zoo")
    return ""


def _release(text: str) -> tuple[int, ...]:
    """Returns the numbers of a version.

    >>> _release("1.10.2rc1") > _release("1.9")
    True
    """
    numbers: list[int] = []
    for part in text.partition("+")[0].split(".")[:4]:
        digits = part[: next((i for i, c in enumerate(part) if c not in "0123456789"), len(part))]
        if not digits or len(digits) > 9:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _metrics(best: Mapping[str, object], summary: Mapping[str, object]) -> Iterator[
    tuple[str, object]
]:  # fmt: skip
    """Yields the metrics of the best epoch and those of the end."""
    for key, value in best.items():
        if key.startswith(("train_", "val_")) and number_of(value) is not None:
            yield key, number_of(value)
    for key, value in summary.items():
        if number_of(value) is not None:
            yield key, number_of(value)
        elif isinstance(value, Mapping):  # test metrics by name
            for name, number in value.items():
                if number_of(number) is not None:
                    yield name if name.startswith("test_") else f"test_{name}", number_of(number)


def _names(
    config: Mapping[str, object], environment: Mapping[str, object], part: str
) -> tuple[str, tuple[str, ...]]:
    """Returns what a component is shown as, and all of its names."""
    asked = text_of(config.get(part))
    components = environment.get("components")
    chosen = components.get(part) if isinstance(components, Mapping) else None
    full = text_of(chosen.get("spec")) if isinstance(chosen, Mapping) else ""
    read = environment.get(part)
    shown = text_of(read.get("name")) if isinstance(read, Mapping) else ""
    names = dict.fromkeys(name for name in (shown or asked, asked, full) if name)
    return next(iter(names), ""), tuple(names)


def _planned(config: Mapping[str, object]) -> int | None:
    """Returns the epochs of a run without a plan of its own."""
    epochs = [whole_of(config.get(key)) for key in ("epochs", "freeze_epochs")]
    if "phases" in config or None in epochs:
        return None
    return sum(number for number in epochs if number is not None)


def _when(path: Path) -> float | None:
    """Returns when a run was last written, by the files of its record."""
    times = []
    for name in ("summary.json", "metrics.jsonl", "config.toml", "environment.json", ".lock"):
        with suppress(OSError):
            times.append((path / name).lstat().st_mtime)
    return max(times, default=None)


def _size(path: Path) -> int:
    """Returns the bytes of all files below a folder. Links are not followed."""
    total = 0
    folders = [str(path)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _finite(value: object) -> object:
    """Returns a value that JSON has."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return list(value) if isinstance(value, tuple) else value
