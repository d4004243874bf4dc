"""How fast engines are, measured in turns.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.network.inference.forwards import Forward

__all__ = ["ROUNDS", "Timed", "seconds_of", "timed"]

ROUNDS = 6
"""How often each engine is timed at most after its first run."""


@dataclass(slots=True)
class Timed:
    """How fast an engine was.

    Args:
        seconds: What the fastest of its runs took.
        num_images: In each run.
        runs: How many there were. The first one chooses kernels.
    """

    seconds: float
    num_images: int
    runs: int = 1

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.num_images / max(self.seconds, 1e-9)

    def told(self, name: str) -> str:
        """Returns it in words: of an engine that was left out after its first run, that too."""
        return f"{name} {self.rate:,.0f}" + " in its first run" * (self.runs == 1)


def timed(
    forwards: Mapping[str, Forward], images_BCSS: Tensor, *, seconds: float
) -> dict[str, Timed]:
    """Returns how fast each engine computes some images, at its best of some runs.

    The engines run in turns, in each round the fastest first, so that other work on the machine
    meets all of them; a run that it met is slower, never faster, so the fastest one counts. A first
    run, which chooses kernels, counts where it is the fastest all the same. An engine that is far
    behind is not timed again: one that took twice as long as the fastest in its first run, 1.5
    times as long in the best of two, 1.33 times in the best of three. There are no more rounds when
    one is left.

    Args:
        forwards: The engines by name.
        images_BCSS: What each run computes.
        seconds: After this time no further round begins; two are run in any case.
    """
    begin = time.perf_counter()
    best = {
        name: Timed(seconds_of(forward, images_BCSS), len(images_BCSS))
        for name, forward in forwards.items()
    }

    def in_reach(name: str) -> bool:
        least = min(one.seconds for one in best.values())
        return best[name].seconds <= (1 + 1 / best[name].runs) * least

    running = list(forwards)
    for done in range(1, ROUNDS + 1):
        for name in sorted(running, key=lambda name: best[name].seconds):
            if in_reach(name):
                found = seconds_of(forwards[name], images_BCSS)
                best[name].seconds = min(best[name].seconds, found)
                best[name].runs += 1
        running = [name for name in running if in_reach(name)]
        if len(running) < 2 or (done > 1 and time.perf_counter() - begin > seconds):
            break
    return best


def seconds_of(forward: Forward, images_BCSS: Tensor) -> float:
    """Returns how long an engine takes for a batch, until the outputs are there."""
    begin = time.perf_counter()
    device = forward(images_BCSS).device
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begin
