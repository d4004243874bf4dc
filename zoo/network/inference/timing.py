"""How fast engines are, measured in turns.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.network.inference.forwards import Forward

__all__ = ["ROUNDS", "images_per_second", "seconds_of"]

ROUNDS = 6
"""How often each engine is timed at most."""

_BEHIND = 1.5
# An engine that takes so many times as long as the fastest is not timed again.


def images_per_second(
    forwards: Mapping[str, Forward], images_BCSS: Tensor, *, seconds: float
) -> dict[str, float]:
    """Returns how many images a second each engine computes, at its best of some runs.

    The engines run in turns, A B A B, so that other work on the machine meets all of them; a run
    that it met is slower, never faster, so the fastest one counts. Each runs once before, as a
    first call chooses kernels. One that is far behind is left out of the rounds that follow.

    Args:
        forwards: The engines by name.
        images_BCSS: What each run computes.
        seconds: After this time no further round begins; two are run in any case.
    """
    begin = time.perf_counter()
    for forward in forwards.values():
        forward(images_BCSS)
    best = dict.fromkeys(forwards, float("inf"))
    for done in range(ROUNDS):
        if done >= 2 and time.perf_counter() - begin > seconds:
            break
        limit = _BEHIND * min(best.values())
        for name, forward in forwards.items():
            if best[name] <= limit:
                best[name] = min(best[name], seconds_of(forward, images_BCSS))
    return {name: len(images_BCSS) / max(least, 1e-9) for name, least in best.items()}


def seconds_of(forward: Forward, images_BCSS: Tensor) -> float:
    """Returns how long an engine takes for a batch, until the outputs are there."""
    begin = time.perf_counter()
    device = forward(images_BCSS).device
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begin
