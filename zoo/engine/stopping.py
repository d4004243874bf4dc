"""Which epoch is the best, and when a phase has stopped getting better."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Best"]


class Best:
    """The best epoch so far, and how long ago it was.

    Args:
        min_delta: Smallest gain that counts.
    """

    def __init__(self, *, min_delta: float) -> None:
        self._min_delta = min_delta
        self.score = -math.inf
        self.epoch = 0
        self._waited = 0

    def observe(self, score: float, *, epoch: int) -> bool:
        """Takes note of an epoch's score and returns whether it is the best so far."""
        if self.epoch == 0 or score > self.score + self._min_delta:
            self.score, self.epoch, self._waited = score, epoch, 0
            return True
        self._waited += 1
        return False

    def exhausted(self, patience: int) -> bool:
        """Whether a phase has gone without gain for as long as its patience allows; 0 never."""
        return 0 < patience <= self._waited

    def start_phase(self) -> None:
        """Gives a new phase the whole patience."""
        self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resume needs."""
        return {"score": self.score, "epoch": self.epoch, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the state back."""
        self.score, self.epoch, self._waited = state["score"], state["epoch"], state["waited"]
