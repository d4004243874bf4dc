"""Training images as the network will see them, to be looked at. B batch, C channels, S side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.data.batches import cut
from zoo.engine.events import Sample
from zoo.engine.feeds import ImageFeed
from zoo.errors import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["SHOWN", "sample_of"]

SHOWN = 32
"""Training images of a phase that observers are offered."""


def sample_of(
    feed: ImageFeed,
    draws: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    epoch: int | None,
    repeats: int = 1,
) -> Sample:
    """Returns the images of these draws, augmented and mixed as of ``epoch`` unless None.

    A mixed image is labelled with its shares, as far as they round to 1 %: ``cat 70%, dog 30%``.
    ``repeats`` is how often an image stands in a row.
    """
    (part,) = cut(draws, num_parts=1, repeats=repeats)
    ((_, images_BCSS, target),) = feed.pictures([part], epoch=epoch)
    return Sample(
        images_BCHW=images_BCSS.detach().cpu(),
        labels=tuple(_caption(answer, classes) for answer in target.cpu()),
    )


def _caption(answer: Tensor, classes: tuple[str, ...]) -> str:
    if answer.ndim == 0:
        return printable(classes[int(answer)])
    shares = [(float(share), name) for share, name in zip(answer, classes, strict=True) if share]
    if all(share == 1 for share, _ in shares):
        return ", ".join(printable(name) for _, name in shares) or "none"
    shares.sort(key=lambda pair: -pair[0])
    return ", ".join(f"{printable(name)} {share:.0%}" for share, name in shares if share >= 0.005)
