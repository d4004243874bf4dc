"""What a loss is.

Tensor names end in their shape: B batch, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Loss", "LossFactory", "SoftmaxCost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxCost:
    """What a sample costs, as a formula of the softmax's probability p of its class.

    ``alpha * (1 - p) ** gamma * -log(p) + epsilon * (1 - p)``: the cross-entropy is all defaults,
    the focal loss (Lin et al. 2017) has a gamma, Poly-1 (Leng et al. 2022) an epsilon. Or the
    cross-entropy with targets that are smoothed over all classes (Szegedy et al. 2016).

    Args:
        smoothing: Share of the target that is spread over all classes, 0 or more and below 1. With
            the other three as they are.
        gamma: How much less a sample counts that is right already, at least 0.
        alpha: A factor.
        epsilon: Weight of the second term.

    Raises:
        ValueError: They are outside these ranges, or smoothing comes with others.
    """

    smoothing: float = 0.0
    gamma: float = 0.0
    alpha: float = 1.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.smoothing < 1 and self.gamma >= 0):
            raise ValueError(f"smoothing below 0 or not below 1, or gamma below 0: {self}")
        if self.smoothing and (self.gamma, self.alpha, self.epsilon) != (0, 1, 0):
            raise ValueError(f"smoothing is of the cross-entropy alone: {self}")


class Loss(Protocol):
    """Maps logits and targets to the mean loss of the batch. It has no parameters to be trained.

    A loss whose mean is not over the samples or their weights (class weights, mostly) also has
    ``mass(target, sample_weight_B) -> Tensor``: the divisor of that mean. With it the parts of a
    batch add up to the gradient of the whole, and the batches of a split to its loss.

    A loss that is the mean of a :class:`SoftmaxCost` where targets are class indices and samples
    have no weights may say so by an attribute ``cost``, if that is the same in every call. zoo may
    then compute loss and gradient without calling it: a step of a linear head on kept features
    takes a sixth of the time.
    """

    def __call__(
        self, logits_BK: Tensor, target: Tensor, sample_weight_B: Tensor | None = None
    ) -> Tensor:
        """Returns a scalar in float32.

        Args:
            logits_BK: Scores in any float type.
            target: Class indices_B (int64) or soft targets_BK (float; rows sum to one, or are 0
                and 1 where several labels hold at once).
            sample_weight_B: Weight of each sample. The mean is weighted by it.
        """
        ...


class LossFactory(Protocol):
    """Builds a loss. Facts: ``num_classes``, ``class_weight_K`` (float32 tensor or None)."""

    def __call__(self) -> Loss: ...
