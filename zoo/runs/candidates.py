"""Weights of the best epochs, kept for a soup at the end of a run. One safetensors file each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.disk import atomic_file, machine_errors, make_folder, remove_leftovers
from zoo.errors import CheckpointError, printable
from zoo.runs.checkpoint import file_digest
from zoo.runs.tensor_file import TensorFile

__all__ = ["Candidate", "keep_candidate", "read_candidates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The weights of an epoch.

    Args:
        epoch: Of the run, from 1.
        score: Its monitored metric as a score to maximise.
        sha256: Of the file.
    """

    epoch: int
    score: float
    sha256: str


def keep_candidate(
    folder: Path,
    candidates: Sequence[Candidate],
    *,
    epoch: int,
    score: float,
    weights: Mapping[str, Tensor],
    most: int,
) -> list[Candidate]:
    """Returns the best candidates, best first; the epoch's weights are written if among them.

    Files of epochs that fall out stay until the next call, so that a checkpoint that was written
    before this call still finds what it names.

    Raises:
        MachineError: The disk is full or not writable.
    """
    named = {_file(folder, candidate.epoch) for candidate in candidates}
    if len(candidates) >= most and score <= candidates[-1].score:
        return list(candidates)
    target = _file(folder, epoch)
    resume = f"then zoo resume {printable(folder.parent)}"
    with machine_errors("writing the weights", target, then=resume):
        make_folder(folder)
        remove_leftovers(folder)
        for old in set(folder.glob("epoch-*.safetensors")) - named:
            old.unlink()
        file = TensorFile.of(weights)
        atomic_file(target, file.write)
    new = Candidate(epoch=epoch, score=score, sha256=file.sha256)
    kept = [candidate for candidate in candidates if candidate.epoch != epoch]
    # The first of equal scores stays in front.
    return sorted([*kept, new], key=lambda c: (-c.score, c.epoch))[:most]


def read_candidates(folder: Path, candidates: Sequence[Candidate]) -> Iterator[dict[str, Tensor]]:
    """Yields the weights of each candidate, one in memory at a time.

    Raises:
        CheckpointError: A file is gone or was changed.
    """
    for candidate in candidates:
        path = _file(folder, candidate.epoch)
        try:
            whole = file_digest(path) == candidate.sha256
            weights = load_file(path) if whole else {}
        except (OSError, SafetensorError):
            whole = False
        if not whole:
            raise CheckpointError(
                f"the weights {printable(path)} are gone or were changed",
                kept="the best weights in best/", hint="a new run, or --soup 0",
            )  # fmt: skip
        yield weights


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:05d}.safetensors"
