"""What a classifier says about the images of one split, beside what they are.

Everything after training reads this one record: metrics, reports, comparisons, reviews. A run
keeps it:

    predictions/<split>.safetensors   logits_NK, labels_N, targets_NK where there are any
    predictions/<split>.json          names, classes, facts, and the digests of both files

Shapes: N images, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from zoo.disk import atomic_file, machine_errors, make_folder
from zoo.runs.checkpoint import digest_of, file_digest
from zoo.runs.tensor_file import TensorFile

__all__ = ["Predictions", "read_predictions", "write_predictions"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Scores and labels of the images of one split, in its order.

    Args:
        names: What a person calls each image.
        classes: Class names, position is index.
        logits_NK: Float32 on the CPU. Of several classifiers: the logarithm of their mean
            probability (its logit, where an image can have several labels).
        labels_N: Class indices, int64; -1 where the label is not known.
        targets_NK: 0 and 1, float32, where an image can have several labels, else None.
        temperature: Divides the logits before they become probabilities.
        facts: Where it comes from: data, split, fingerprint, digest of the weights, engine.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    logits_NK: Tensor
    labels_N: Tensor
    targets_NK: Tensor | None = None
    temperature: float = 1.0
    facts: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def multi_label(self) -> bool:
        """Whether an image can have any number of labels."""
        return self.targets_NK is not None

    @property
    def labelled(self) -> bool:
        """Whether every image has a label."""
        return self.multi_label or bool((self.labels_N >= 0).all())

    @property
    def target(self) -> Tensor:
        """Indices_N, or targets_NK: what metrics compare with."""
        return self.labels_N if self.targets_NK is None else self.targets_NK

    @property
    def probabilities_NK(self) -> Tensor:
        """Float32 in 0..1; rows sum to one unless an image can have several labels."""
        scaled_NK = self.logits_NK / self.temperature
        return scaled_NK.sigmoid() if self.multi_label else scaled_NK.softmax(1)

    @property
    def predicted_N(self) -> Tensor:
        """Index of the most probable class."""
        return self.logits_NK.argmax(1)

    @property
    def right_N(self) -> Tensor:
        """Whether each image is right: its class is the most probable, or all its labels are."""
        if self.targets_NK is not None:
            return ((self.probabilities_NK > 0.5) == (self.targets_NK > 0.5)).all(1)
        return self.predicted_N == self.labels_N

    @property
    def losses_N(self) -> Tensor:
        """Cross-entropy of each image, float32; of all its labels together where it has several."""
        scaled_NK = self.logits_NK / self.temperature
        if self.targets_NK is not None:
            return torch.nn.functional.binary_cross_entropy_with_logits(
                scaled_NK, self.targets_NK, reduction="none"
            ).mean(1)
        return torch.nn.functional.cross_entropy(scaled_NK, self.labels_N, reduction="none")


def write_predictions(stem: Path, predictions: Predictions) -> None:
    """Keeps predictions in two files, the one that makes them whole written last.

    Args:
        stem: Path of both without their suffix. Its folder is made.
        predictions: What to keep; the temperature is not.

    Raises:
        MachineError: They cannot be written.
    """
    tensors = {"logits_NK": predictions.logits_NK, "labels_N": predictions.labels_N}
    if predictions.targets_NK is not None:
        tensors["targets_NK"] = predictions.targets_NK
    numbers, words = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")
    with machine_errors("writing", stem.parent):
        make_folder(stem.parent)
        file = TensorFile.of(tensors)
        atomic_file(numbers, file.write)
        body: dict[str, Any] = {
            "format": _FORMAT,
            "facts": dict(predictions.facts),
            "classes": list(predictions.classes),
            "names": list(predictions.names),
            "sha256": file.sha256,
        }
        body["digest"] = digest_of(body)
        # ASCII, since a file name may hold bytes that are no UTF-8.
        text = json.dumps(body, ensure_ascii=True, indent=1) + "\n"
        atomic_file(words, lambda path: path.write_text(text, encoding="ascii"))


def read_predictions(stem: Path) -> Predictions | None:
    """Returns what :func:`write_predictions` kept; None where it is absent, damaged or foreign.

    Args:
        stem: Path of both files without their suffix.
    """
    numbers, words = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")
    try:
        body = json.loads(words.read_bytes())
        if body["format"] != _FORMAT or body["digest"] != digest_of(body):
            return None
        if file_digest(numbers) != body["sha256"]:
            return None
        tensors = from_bytes(numbers.read_bytes())
        kept = Predictions(
            names=tuple(body["names"]), classes=tuple(body["classes"]), facts=dict(body["facts"]),
            logits_NK=tensors["logits_NK"], labels_N=tensors["labels_N"],
            targets_NK=tensors.get("targets_NK"),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return None
    shapes = {tuple(kept.logits_NK.shape), (len(kept), len(kept.classes))}
    if kept.targets_NK is not None:
        shapes.add(tuple(kept.targets_NK.shape))
    return kept if len(shapes) == 1 and len(kept.labels_N) == len(kept) else None
