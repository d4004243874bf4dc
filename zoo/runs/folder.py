"""The folder of one run, and who may write to it.

runs/<name>/  config.toml  environment.json  metrics.jsonl  log.txt  summary.json
              checkpoints/step-*/  best/ (model.safetensors, model.json)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.errors import BusyError, CheckpointError, UsageError, printable
from zoo.runs.checkpoint import file_digest, write_tensors
from zoo.runs.disk import atomic_file, machine_errors, remove_leftovers

__all__ = ["RunFolder"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder. Nothing in it needs pickle to be read, and no path in it is absolute."""

    path: Path

    @classmethod
    def create(cls, parent: Path, *, name: str | None, stem: str) -> RunFolder:
        """Makes a new folder, ``name`` or the first free ``stem-1``, ``stem-2``...

        Raises:
            UsageError: ``name`` is taken.
            MachineError: The folder cannot be made.
        """
        with machine_errors("making the run folder in", parent):
            parent.mkdir(parents=True, exist_ok=True)
            if name is not None:
                try:
                    (parent / name).mkdir()
                except FileExistsError:
                    raise UsageError(
                        f"the run {printable(parent / name)} exists",
                        hint=f"zoo resume {printable(parent / name)}, or another --name",
                    ) from None
                return cls(parent / name)
            number = 1
            while True:
                try:
                    (parent / f"{stem}-{number}").mkdir()
                except FileExistsError:
                    number += 1
                else:
                    return cls(parent / f"{stem}-{number}")

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Returns the folder of an existing run.

        Raises:
            UsageError: It is not a run folder.
        """
        if not (path / "config.toml").is_file():
            raise UsageError(
                f"{printable(path)} is not a run folder", found="no config.toml there",
                hint="zoo resume runs/NAME",
            )  # fmt: skip
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Holds the folder for this process. The lock dies with the process, so none goes stale.

        Raises:
            BusyError: Another process holds it.
        """
        with machine_errors("opening", self.path):
            file = (self.path / ".lock").open("a+")
        with file:
            if not _lock(file.fileno()):
                file.seek(0)
                raise BusyError(
                    f"the run {printable(self.path)} is being written by another process",
                    found=f"process {file.read().strip() or 'unknown'}",
                    hint="wait for it, or choose another --name",
                )
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            remove_leftovers(self.path)
            yield

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run atomically."""
        target = self.path / name
        with machine_errors("writing", target):
            atomic_file(target, lambda path: path.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, value: object) -> None:
        """Writes a JSON file of the run atomically."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Reads a JSON file of the run.

        Raises:
            CheckpointError: It is missing or is not JSON.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{printable(self.path / name)} cannot be read", found=printable(error)
            ) from None

    def write_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes metrics.jsonl anew, one line an epoch: no row is double or missing."""
        self.write_text("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def rows(self) -> list[dict[str, Any]]:
        """Reads metrics.jsonl. A torn last line is dropped."""
        rows = []
        with suppress(FileNotFoundError):
            for line in (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    def write_best(self, model: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Writes best/: the weights first, then the description with their digest."""
        folder = self.path / "best"
        weights = folder / "model.safetensors"
        with machine_errors("writing", weights, kept=f"the checkpoints in {self.checkpoints}"):
            folder.mkdir(exist_ok=True)
            remove_leftovers(folder)
            atomic_file(weights, lambda path: write_tensors(path, model))
        body = {**description, "sha256": file_digest(weights)}
        self.write_json("best/model.json", body)

    def read_best(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the best weights and their description.

        Raises:
            CheckpointError: There are none yet, or the two files do not belong together.
        """
        weights = self.path / "best" / "model.safetensors"
        if not weights.is_file():
            raise CheckpointError(
                f"the run {printable(self.path)} has no best weights yet",
                hint=f"zoo resume {printable(self.path)}",
            )
        description = self.read_json("best/model.json")
        if description.get("sha256") != file_digest(weights):
            raise CheckpointError(
                f"{printable(weights)} is not the file that model.json describes",
                found="another SHA-256: it was changed, or the run was killed between the two",
                hint=f"zoo resume {printable(self.path)}",
            )
        try:
            return load_file(weights), description
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{printable(weights)} cannot be read", found=str(error)
            ) from None


def _lock(descriptor: int) -> bool:
    """Takes an exclusive lock that the system releases when the process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
