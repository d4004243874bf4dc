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


def images_per_second(
    forwards: Mapping[str, Forward], images_BCSS: Tensor, *, seconds: float
) -> dict[str, float]:
    """Returns how many images a second each engine computes, at its best of some runs.

    The engines run in turns, A B A B, so that other work on the machine meets all of them; a run
    that it met is slower, never faster, so the fastest one counts. A first run, which chooses
    kernels, counts where it is the fastest all the same. An engine that is far behind is not timed
    again: one that took twice as long as the fastest in its first run, 1.5 times as long in the
    best of two, 1.33 times in the best of three. There are no more rounds when one is left.

    Args:
        forwards: The engines by name.
        images_BCSS: What each run computes.
        seconds: After this time no further round begins; two are run in any case.
    """
    begin = time.perf_counter()
    best = {name: seconds_of(forward, images_BCSS) for name, forward in forwards.items()}
    running = list(forwards)
    for done in range(1, ROUNDS + 1):
        for name in sorted(running, key=best.__getitem__):
            if _in_reach(name, best, runs=done):
                best[name] = min(best[name], seconds_of(forwards[name], images_BCSS))
        running = [name for name in running if _in_reach(name, best, runs=done + 1)]
        if len(running) < 2 or (done > 1 and time.perf_counter() - begin > seconds):
            break
    return {name: len(images_BCSS) / max(least, 1e-9) for name, least in best.items()}


def _in_reach(name: str, best: Mapping[str, float], *, runs: int) -> bool:
    """Whether an engine may still turn out to be the fastest, after so many runs of each."""
    return best[name] <= (1 + 1 / runs) * min(best.values())


def seconds_of(forward: Forward, images_BCSS: Tensor) -> float:
    """Returns how long an engine takes for a batch, until the outputs are there."""
    begin = time.perf_counter()
    device = forward(images_BCSS).device
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begin
