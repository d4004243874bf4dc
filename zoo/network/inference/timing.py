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
"""How often each engine is timed at most after its first run."""

_BEHIND = 0.5
# An engine that takes so much longer than the fastest, as a share of it, is not timed again; half
# so much after two rounds, and so on: the best of more runs is the surer.


def images_per_second(
    forwards: Mapping[str, Forward], images_BCSS: Tensor, *, seconds: float
) -> dict[str, float]:
    """Returns how many images a second each engine computes, at its best of some runs.

    The engines run in turns, A B A B, so that other work on the machine meets all of them; a run
    that it met is slower, never faster, so the fastest one counts. A first run, which chooses
    kernels, counts where it is the fastest all the same. An engine that is far behind is left out
    of the rounds that follow, and there are none when one engine is left.

    Args:
        forwards: The engines by name.
        images_BCSS: What each run computes.
        seconds: After this time no further round begins; two are run in any case.
    """
    begin = time.perf_counter()
    best = {name: seconds_of(forward, images_BCSS) for name, forward in forwards.items()}
    running = list(forwards)
    for done in range(1, ROUNDS + 1):
        for name in running:
            best[name] = min(best[name], seconds_of(forwards[name], images_BCSS))
        limit = (1 + _BEHIND / done) * min(best.values())
        running = [name for name in running if best[name] <= limit]
        if len(running) < 2 or (done > 1 and time.perf_counter() - begin > seconds):
            break
    return {name: len(images_BCSS) / max(least, 1e-9) for name, least in best.items()}


def seconds_of(forward: Forward, images_BCSS: Tensor) -> float:
    """Returns how long an engine takes for a batch, until the outputs are there."""
    begin = time.perf_counter()
    device = forward(images_BCSS).device
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begin
