"""Batches of kept features for the loop.

Shapes: N samples, B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from zoo.data.batches import Part
from zoo.data.pixels.store import ahead
from zoo.engine.features.rows import ChosenRows, Rows
from zoo.engine.feeds import IMAGES_AT_ONCE, Batch, Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["FeatureFeed"]

_BYTES_AT_ONCE, _MOST_AT_ONCE = 2**22, 1024
_TOLD_AT_ONCE = 32  # batches whose labels are looked up together: as long as for one


class FeatureFeed:
    """What the frozen part of the network makes of the samples, computed once and kept.

    Args:
        views: Features of every sample; several where it is augmented in several ways, which the
            epochs go through in turn.
        labels: What the samples are.
        taught: A teacher's logits_NK for each view; empty without one.
    """

    def __init__(
        self, views: Sequence[Rows], labels: Labels, taught: Sequence[Tensor] = ()
    ) -> None:
        self._views, self._labels, self._taught = tuple(views), labels, tuple(taught)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def at_once(self) -> int:
        """How many samples are evaluated at once: more than of images, where they are small."""
        return max(
            IMAGES_AT_ONCE, min(_MOST_AT_ONCE, _BYTES_AT_ONCE // self._views[0].layout.row_bytes)
        )

    @property
    def checksums(self) -> list[int]:
        """32 bits a view, others when any bit of its features is."""
        return [rows.checksum for rows in self._views]

    def answers(
        self, draws: NDArray[np.int64], *, epoch: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns target and weights of draws."""
        return self._labels.target(draws, soft=False), self._labels.weights(draws)

    def batches(self, plan: Sequence[Part], *, epoch: int | None) -> Iterator[Batch]:
        """Yields a batch for each part, of the epoch's view."""
        view = (epoch or 0) % len(self._views)
        rows, total = self._views[view], len(self)

        def take(part: Part) -> Tensor | ChosenRows:
            return rows.take(part.draws_B % total)

        pairs: Iterator[tuple[Part, Tensor | ChosenRows]]
        pairs = ((part, take(part)) for part in plan) if rows.ready else ahead(plan, take)
        for (part, source), (target, weights_B) in zip(pairs, self._told(plan), strict=True):
            teacher_BK = None
            if self._taught:
                teacher_BK = self._taught[view][self._labels.index(part.draws_B)]
            yield Batch(source, target, weights_B, teacher_BK)

    def _told(self, plan: Sequence[Part]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields target and weights of each part; looked up for many at once."""
        for begin in range(0, len(plan), _TOLD_AT_ONCE):
            some = [part.draws_B for part in plan[begin : begin + _TOLD_AT_ONCE]]
            counts = [len(draws_B) for draws_B in some]
            target, weights = self.answers(np.concatenate(some), epoch=None)
            nothing = [None] * len(some)
            shares = nothing if weights is None else torch.split(weights, counts)
            yield from zip(torch.split(target, counts), shares, strict=True)
