"""Whether a function of images gives the outputs of another, to the precision of float32.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

__all__ = ["TOLERANCE", "apart", "proof_batches"]

TOLERANCE = 1e-4
"""How far outputs may be apart, as a share of the largest one. Engines differ by about 1e-6."""

_SAMPLES = 5


def proof_batches(example_BCSS: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a few of the images, and random ones in another number.

    The second batch tells whether an engine has kept the number of the first, and what hangs on
    the content of the images. Its values come from a generator of its own: the program's random
    numbers go on as they were.
    """
    images = example_BCSS[:_SAMPLES].detach().clone()
    number = len(images) - 2 if len(images) > 2 else len(images) + 1
    noise = torch.randn((number, *images.shape[1:]), generator=torch.Generator().manual_seed(0))
    return images, noise.to(images.device, images.dtype)


def apart(
    forward: Callable[[Tensor], Tensor], batches: Iterable[Tensor], expected: Iterable[Tensor]
) -> float:
    """Returns how far a function's outputs are from those expected, as a share of the largest.

    Infinite where shapes or dtypes differ, or where an output is not a finite number: what cannot
    be compared is not the same.

    Args:
        forward: Computes the outputs of a batch. It is given copies: networks may write into them.
        batches: Images.
        expected: The outputs for each batch, on any device.
    """
    worst = 0.0
    for images, wanted in zip(batches, expected, strict=True):
        found = forward(images.clone())
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            return float("inf")
        if not wanted.numel():
            continue
        other = wanted.to(found.device)
        scale, distance = float(other.abs().max()), float((found - other).abs().max())
        share = distance / scale if scale else distance
        worst = max(worst, share) if share < float("inf") else float("inf")
    return worst
