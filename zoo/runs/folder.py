"""The folder of one run, and who may write to it.

runs/<name>/  config.toml  environment.json  metrics.jsonl  log.txt  summary.json
              checkpoints/step-*/  best/ (model.safetensors, model.json,
              and before.safetensors until the run has ended)
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.disk import (
    TEMPORARY,
    atomic_file,
    machine_errors,
    make_folder,
    remove_leftovers,
    sync_folder,
)
from zoo.errors import BusyError, CheckpointError, RefusedError, UsageError, in_words, printable
from zoo.locks import take_lock
from zoo.runs.checkpoint import digest_of, file_digest
from zoo.runs.tensor_file import TensorFile

__all__ = ["RunFolder"]

_BEFORE = "before.safetensors"
"""In best/: the weights that were the best before, until there are others or the run ends."""

_LOCK_CHARACTERS = 20
"""How much of a lock file is shown: it holds the number of a process."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder. Nothing in it needs pickle to be read, and no path in it is absolute."""

    path: Path

    @classmethod
    def create(cls, parent: Path, *, name: str | None, stem: str) -> RunFolder:
        """Makes a new folder, ``name`` or the first free ``stem-1``, ``stem-2``...

        A named folder that was left before it had a configuration is taken over: its process was
        killed in its first moments, and a resume could not go on from nothing.

        Raises:
            UsageError: ``name`` is taken.
            MachineError: The folder cannot be made.
        """
        with machine_errors("making the run folder in", parent, then="or name another --runs"):
            make_folder(parent)
            number = 1
            while True:
                path = parent / (f"{stem}-{number}" if name is None else name)
                try:
                    path.mkdir()
                except FileExistsError:
                    if name is None:
                        number += 1
                        continue
                    if not path.is_dir() or not _left_empty(path):
                        raise UsageError(
                            f"the run {printable(path)} exists",
                            hint=f"zoo resume {printable(path)}, or another --name",
                        ) from None
                sync_folder(parent)
                return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Returns the folder of an existing run.

        Raises:
            UsageError: It is not a run folder.
        """
        if not (path / "config.toml").is_file():
            if path.is_dir() and (path / ".lock").is_file() and _left_empty(path):
                raise UsageError(
                    f"the run {printable(path)} was stopped before it had begun",
                    found="no config.toml there", hint=f"zoo run --name {printable(path.name)} ...",
                )  # fmt: skip
            if any(path.glob("*/config.toml")):
                raise UsageError(
                    f"{printable(path)} is a folder of runs, and one run is asked for",
                    hint=f"zoo runs --runs {printable(path)} lists them",
                )
            raise UsageError(
                f"{printable(path)} is not a run folder", found="no config.toml there",
                hint="a folder such as runs/NAME; zoo runs lists them",
            )  # fmt: skip
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def _resume(self) -> str:
        return f"then zoo resume {printable(self.path)}"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Holds the folder for this process. The lock dies with the process, so none goes stale.

        Raises:
            BusyError: Another process holds it.
            MachineError: Nothing can be written there.
        """
        with machine_errors("opening", self.path, then="then try again"):
            file = _open_lock(self.path / ".lock")
        with file:
            with machine_errors("opening", self.path, then="then try again"):
                if not _locked_soon(file.fileno()):
                    owner = printable(file.read(_LOCK_CHARACTERS).strip())
                    raise BusyError(
                        f"the run {printable(self.path)} is being written by another process",
                        found=f"process {owner or 'unknown'}",
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
        with machine_errors("writing", target, then=self._resume):
            atomic_file(target, lambda path: path.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, value: object) -> None:
        """Writes a JSON file of the run atomically. A name may be of bytes that are no UTF-8."""
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        # What UTF-8 cannot hold becomes \udcXX, which is how JSON spells it.
        self.write_text(name, text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def read_json(self, name: str) -> Any:
        """Reads a JSON file of the run.

        Raises:
            CheckpointError: It is missing or is not JSON.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{printable(self.path / name)} cannot be read", found=in_words(error, kind=False)
            ) from None

    def write_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes metrics.jsonl anew, one line an epoch, unless it has these rows already."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with suppress(OSError):
            if (self.path / "metrics.jsonl").read_bytes() == text.encode():
                return
        self.write_text("metrics.jsonl", text)

    def rows(self) -> list[dict[str, Any]]:
        """Reads metrics.jsonl. A torn last line is dropped."""
        rows = []
        with suppress(FileNotFoundError):
            text = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                with suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    def write_best(self, model: TensorFile, description: Mapping[str, Any]) -> None:
        """Writes best/ so that there are whole best weights at any instant.

        The new description comes first and carries the one before along; then the weights take
        their place. Whichever weights are there, one of the two descriptions is theirs. Those
        before stay beside them: a run that is killed before its next checkpoint needs them again.
        """
        folder = self.path / "best"
        weights = folder / "model.safetensors"
        kept = f"the checkpoints in {printable(self.checkpoints)}"
        with machine_errors("writing", weights, kept=kept, then=self._resume):
            make_folder(folder)
            remove_leftovers(folder)
            before = self._describing(weights)

            def write(path: Path) -> None:
                model.write(path)
                body = {**description, "sha256": model.sha256}
                body["digest"] = digest_of(body)  # a flipped bit could swap two classes
                previous = {} if before is None else {"previous": before}
                self.write_json("best/model.json", {**body, **previous})
                if before is not None:
                    (folder / _BEFORE).unlink(missing_ok=True)
                    try:
                        os.link(weights, folder / _BEFORE)
                    except OSError:  # a disk without links
                        shutil.copyfile(weights, folder / _BEFORE)

            atomic_file(weights, write)

    def put_back_best(self, *, epoch: int) -> None:
        """Undoes the last change of best/ if the weights before are those of an epoch."""
        folder = self.path / "best"
        before = folder / _BEFORE
        with machine_errors("writing", folder):
            if (described := self._describing(before)) and described.get("epoch") == epoch:
                before.replace(folder / "model.safetensors")
                sync_folder(folder)

    def forget_best_before(self) -> None:
        """Removes the weights that were in best/ before: the run ends with those that are there."""
        with machine_errors("removing", self.path / "best" / _BEFORE):
            (self.path / "best" / _BEFORE).unlink(missing_ok=True)

    def _describing(self, weights: Path) -> dict[str, Any] | None:
        """Returns the description in best/ that is of these weights; None if none is."""
        try:
            written = json.loads((weights.parent / "model.json").read_text(encoding="utf-8"))
            digest = file_digest(weights)
        except (OSError, ValueError, RecursionError):
            return None
        previous = written.pop("previous", None) if isinstance(written, dict) else None
        for body in (written, previous):
            if (
                isinstance(body, dict)
                and body.get("sha256") == digest
                and body.get("digest") == digest_of(body)
            ):
                return body
        return None

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
        self.read_json("best/model.json")  # says why it cannot be read
        description = self._describing(weights)
        if description is None:
            raise CheckpointError(
                f"{printable(weights)} is not the file that model.json describes",
                found="a digest does not match: one of the two was changed",
                hint=f"zoo resume {printable(self.path)}",
            )
        try:
            return load_file(weights), description
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{printable(weights)} cannot be read", found=in_words(error)
            ) from None


def _left_empty(path: Path) -> bool:
    """Whether a folder holds no more than a process writes before the configuration."""
    names = {file.name for file in path.iterdir()} - {".lock", "environment.json"}
    return all(name.startswith(TEMPORARY) for name in names)


def _open_lock(path: Path) -> IO[str]:
    """Opens the lock file to read and write, and makes it where there is none.

    Raises:
        RefusedError: It is a link: whatever it points at would be overwritten.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.fdopen(os.open(path, flags, 0o644), "r+", encoding="utf-8", errors="replace")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RefusedError(
            f"{printable(path)} is a link to another file",
            found="a run's lock is a plain file",
            hint=f"remove {printable(path)}",
        ) from None


def _locked_soon(descriptor: int) -> bool:
    """Takes the lock, or gives up after a tenth of a second: lists of runs hold it that short."""
    for pause in (0.0, 0.01, 0.03, 0.06):
        time.sleep(pause)
        if take_lock(descriptor):
            return True
    return False
