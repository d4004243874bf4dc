"""Running sums of an epoch, kept on the device so that no step waits for the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Meter", "right_answers"]

_READ_AT_ONCE = 32


def right_answers(logits_BK: Tensor, target: Tensor, *, multi_label: bool) -> Tensor:
    """Returns right_B (bool): the best class is the target's, or all labels are right.

    What has NaN for a probability is no answer, and never right.

    Args:
        logits_BK: Scores.
        target: Indices_B, or targets_BK.
        multi_label: Whether each class is a question of its own: yes where its probability is above
            one half, as metrics and predictions have it. An image is right when all answers are:
            scikit-learn's ``accuracy_score`` of label sets.
    """
    if multi_label:
        shares_BK = logits_BK.float().sigmoid()
        answered_BK = ~shares_BK.isnan()
        return (answered_BK & ((shares_BK > 0.5) == (target > 0.5))).all(1)
    labels_B = target if target.ndim == 1 else target.argmax(1)
    best_B, classes_B = logits_BK.max(1)  # softmax is NaN where the greatest is not finite
    return best_B.isfinite() & (classes_B == labels_B)


class Meter:
    """Sums of loss and right answers over the samples of an epoch, or of a split.

    Args:
        device: Where the sums live.
        multi_label: As :func:`right_answers` has it.
    """

    def __init__(self, device: torch.device, *, multi_label: bool = False) -> None:
        # float64 has no place on MPS; float32 is exact for counts below 2**24.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        # loss * mass, mass, right, samples
        self._sums_4 = torch.zeros(4, dtype=dtype, device=device)
        self._multi_label = multi_label
        self._unread: list[tuple[float, float, Tensor, Tensor]] = []

    def add(
        self, loss: Tensor, logits_BK: Tensor, target: Tensor, mass: Tensor | None = None
    ) -> None:
        """Adds a batch: its mean loss (scalar), scores, and indices_B or targets_BK.

        Scores and target may not be written to afterwards.

        Args:
            loss: Mean loss, a scalar.
            logits_BK: Scores.
            target: Indices_B, or targets_BK.
            mass: The divisor of that mean, a scalar, where batches count in proportion to it. None:
                the number of samples.
        """
        if self._sums_4.device.type == "cpu":  # nobody to wait for; many are read as fast as one
            divisor = float(len(target)) if mass is None else float(mass)
            self._unread.append((float(loss), divisor, logits_BK.detach(), target))
            if len(self._unread) == _READ_AT_ONCE:
                self._look()
            return
        right_B = right_answers(logits_BK.detach(), target, multi_label=self._multi_label)
        count = self._sums_4.new_full((), len(target))
        weight = count if mass is None else mass.to(self._sums_4)
        total = loss.detach().to(self._sums_4) * weight
        self._sums_4 += torch.stack((total, weight, right_B.sum().to(self._sums_4), count))

    def add_steps(
        self, losses_N: Tensor, counts: Sequence[int], logits_SK: Tensor, target_S: Tensor
    ) -> None:
        """Adds batches at once, to the same sums: their mean losses, on the CPU, and their samples.

        Args:
            losses_N: Of each batch.
            counts: Samples of each.
            logits_SK: Scores, one batch behind the other.
            target_S: Indices, or targets_SK.
        """
        self._look()
        sums_4 = self._sums_4.numpy()
        for loss, count in zip(losses_N.tolist(), counts, strict=True):
            sums_4[:2] += (loss * count, count)
        self._see(logits_SK.detach(), target_S)

    def _look(self) -> None:
        """Adds the batches that were not looked at yet."""
        if not self._unread:
            return
        losses, divisors, logits, targets = zip(*self._unread, strict=True)
        self._unread.clear()
        sums_4 = self._sums_4.numpy()
        for loss, divisor in zip(losses, divisors, strict=True):
            sums_4[:2] += (loss * divisor, divisor)
        self._see(torch.cat(logits), torch.cat(targets))

    def _see(self, logits_SK: Tensor, target: Tensor) -> None:
        """Counts samples and right answers."""
        right_S = right_answers(logits_SK, target, multi_label=self._multi_label)
        self._sums_4.numpy()[2:] += (float(right_S.sum()), len(right_S))

    def read(self, total: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """Returns mean loss and accuracy in 0..1 over all processes, as ``total`` sums them."""
        self._look()
        loss, mass, right, count = total(self._sums_4).tolist()
        if not count:
            return float("nan"), float("nan")
        return loss / mass if mass else 0.0, right / count  # where nothing counts the loss is 0

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the sums, to go on inside an epoch."""
        self._look()
        return {"sums": self._sums_4}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes the sums back."""
        self._unread.clear()
        self._sums_4.copy_(state["sums"])
