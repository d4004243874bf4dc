"""What a classifier says about the images of one split, beside what they are.

Everything after training reads this one record: metrics, reports, comparisons, reviews.

Shapes: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["Predictions"]


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
            return ((self.logits_NK > 0) == (self.targets_NK > 0.5)).all(1)
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
