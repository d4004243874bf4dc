"""Running sums of an epoch, kept on the device so that no step waits for the host."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Meter", "right_answers"]

_READ_AT_ONCE = 32


def right_answers(logits_BK: Tensor, target: Tensor, *, multi_label: bool) -> Tensor:
    """Returns right_B (bool): the best class is the target's, or all labels are right.

    Args:
        logits_BK: Scores.
        target: Indices_B, or targets_BK.
        multi_label: Whether each class is a question of its own, answered by the logit's sign. An
            image is right when all answers are: scikit-learn's ``accuracy_score`` of label sets.
    """
    if multi_label:
        return ((logits_BK > 0) == (target > 0.5)).all(1)
    labels_B = target if target.ndim == 1 else target.argmax(1)
    return logits_BK.argmax(1) == labels_B


class Meter:
    """Sums of loss and right answers over the samples of an epoch.

    Args:
        device: Where the sums live.
        multi_label: As :func:`right_answers` has it.
    """

    def __init__(self, device: torch.device, *, multi_label: bool = False) -> None:
        # float64 has no place on MPS; float32 is exact for counts below 2**24.
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums_3 = torch.zeros(3, dtype=dtype, device=device)  # loss, right, samples
        self._multi_label = multi_label
        self._unread: list[tuple[float, Tensor, Tensor]] = []

    def add(self, loss: Tensor, logits_BK: Tensor, target: Tensor) -> None:
        """Adds a batch: its mean loss (scalar), scores, and indices_B or targets_BK.

        Scores and target may not be written to afterwards.
        """
        if self._sums_3.device.type == "cpu":  # nobody to wait for, and many take as long as one
            self._unread.append((float(loss), logits_BK.detach(), target))
            if len(self._unread) == _READ_AT_ONCE:
                self._look()
            return
        count = len(target)
        right_B = right_answers(logits_BK.detach(), target, multi_label=self._multi_label)
        self._sums_3 += torch.stack(
            (loss.detach().to(self._sums_3.dtype) * count, right_B.sum().to(self._sums_3.dtype),
             torch.full((), count, dtype=self._sums_3.dtype, device=right_B.device))
        )  # fmt: skip

    def _look(self) -> None:
        """Adds the batches that were not looked at yet."""
        if not self._unread:
            return
        losses, logits, targets = zip(*self._unread, strict=True)
        self._unread.clear()
        right = right_answers(torch.cat(logits), torch.cat(targets), multi_label=self._multi_label)
        sums_3 = self._sums_3.numpy()
        for loss, target in zip(losses, targets, strict=True):
            sums_3 += (loss * len(target), 0.0, len(target))
        sums_3[1] += float(right.sum())

    def read(self, total: Callable[[Tensor], Tensor]) -> tuple[float, float]:
        """Returns mean loss and accuracy in 0..1 over all processes, as ``total`` sums them."""
        self._look()
        loss, right, count = total(self._sums_3).tolist()
        return (loss / count, right / count) if count else (float("nan"), float("nan"))

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the sums, to go on inside an epoch."""
        self._look()
        return {"sums": self._sums_3}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes the sums back."""
        self._unread.clear()
        self._sums_3.copy_(state["sums"])
