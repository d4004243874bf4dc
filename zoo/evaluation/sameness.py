"""Whether two runs ended the same, to the bit: checkpoint, best weights, optimizer, rows, summary.

Times differ between any two runs, so they are left out; everything else must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import CheckpointError, printable
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder

__all__ = ["Comparison", "compare_runs", "compare_states"]

_TIMES = frozenset({"seconds", "epoch_seconds", "images_per_second"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How two runs differ.

    Args:
        num_tensors: Tensors that were compared.
        num_values: Plain values that were compared.
        differences: A line for each that differs, in the order of the checkpoint.
        largest: Largest absolute difference between two numbers of tensors of one shape.
        digests: SHA-256 of the weights in the last checkpoint of each.
    """

    num_tensors: int
    num_values: int
    differences: tuple[str, ...]
    largest: float
    digests: tuple[str, str]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def verdict(self) -> str:
        """One line: bit-identical, or what differs first and by how much at most."""
        if self.identical:
            return f"bit-identical: {self.num_tensors} tensors, {self.num_values} values"
        more = f", {len(self.differences)} differences" if len(self.differences) > 1 else ""
        return f"different: {self.differences[0]}{more}, the largest {self.largest:.3g}"


def compare_runs(one: Path, two: Path) -> Comparison:
    """Compares what two finished runs left.

    Raises:
        CheckpointError: A run has no checkpoint or best weights that verify.
    """
    first, second = _everything(one), _everything(two)
    differences, largest = compare_states(first, second)
    leaves = dict(_leaves(first))
    num_tensors = sum(isinstance(leaf, Tensor) for leaf in leaves.values())
    return Comparison(
        num_tensors=num_tensors, num_values=len(leaves) - num_tensors,
        differences=tuple(differences), largest=largest,
        digests=(_weights_digest(one, first), _weights_digest(two, second)),
    )  # fmt: skip


def compare_states(one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[list[str], float]:
    """Returns a line for each leaf that differs in bits, and the largest difference of numbers.

    >>> compare_states({"a": torch.tensor([1.0]), "seconds": 3}, {"a": torch.tensor([1.5])})
    (['a'], 0.5)
    """
    first, second = dict(_leaves(one)), dict(_leaves(two))
    lines, largest = [], 0.0
    for name in [*first, *(name for name in second if name not in first)]:
        if name not in first or name not in second:
            lines.append(f"{name} is in one run only")
            continue
        a, b = first[name], second[name]
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if a.shape != b.shape or a.dtype != b.dtype:
                lines.append(f"{name}: {a.dtype} {tuple(a.shape)}, {b.dtype} {tuple(b.shape)}")
            elif not _same_bits(a, b):
                lines.append(name)
                largest = max(largest, float((a.double() - b.double()).abs().max()))
        elif type(a) is not type(b) or (a != b and not (a != a and b != b)):  # NaN is itself
            lines.append(f"{name}: {_apart(printable(a), printable(b))}")
    return lines, largest


def _apart(one: str, two: str) -> str:
    """Returns two texts from shortly before where they differ, 60 characters each.

    >>> _apart("1", "2")
    '1, 2'
    """
    same = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
    start = max(0, same - 20)
    return ", ".join(("..." if start else "") + text[start : start + 60] for text in (one, two))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape and type hold the same bits, NaN and signs of zeros too."""
    bits_a, bits_b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(bits_a, bits_b)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (path, leaf) of nested dicts and sequences, without times."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _TIMES:
                yield from _leaves(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{name}/{index}")
    else:
        yield name, value


def _weights_digest(path: Path, everything: Mapping[str, Any]) -> str:
    folder = RunFolder(path).checkpoints / str(everything["checkpoint"])
    return checkpoint.file_digest(folder / "model.safetensors")


def _everything(path: Path) -> dict[str, Any]:
    """Returns all that a run left, as one nested state."""
    folder = RunFolder.open(path)
    found, rejected = checkpoint.latest(folder.checkpoints)
    if found is None or rejected:
        raise CheckpointError(
            f"the run {printable(path)} has no last checkpoint that verifies",
            found="; ".join(rejected),
        )
    saved = checkpoint.load(found)
    best, description = folder.read_best()
    return {
        "weights": saved.model,
        "best": best,
        "state": saved.state,
        "best description": description,
        "rows": folder.rows(),
        "summary": folder.read_json("summary.json"),
        "checkpoint": found.name,
    }
