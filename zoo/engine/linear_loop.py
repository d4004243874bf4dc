"""The loop of a linear head under Adam: many steps in one call of zoo's own C.

What the loop tells between two steps is told after the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zoo.data.batches import Part
from zoo.engine.step.bare import is_plain_adam
from zoo.engine.step.linear_adam import LinearAdam

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.engine.meters import Meter
    from zoo.engine.step.linear import LinearStep
    from zoo.engine.training import StepEnded, Training

__all__ = ["TOLD_AT_ONCE", "train_linear"]

TOLD_AT_ONCE = 32
"""Steps that a run makes before they are told of: 3 ms."""


def train_linear(
    training: Training, linear: LinearStep, plan: Sequence[NDArray[np.int64]], *, epoch: int,
    first_step: int, meter: Meter, lr_factor: Callable[[int, int], float],
    step_ended: StepEnded, at_once: int,
) -> int:  # fmt: skip
    """Trains an epoch as far as it can be trained so, and returns the step that comes next.

    It ends before a step whose loss is not finite. It does nothing where a gradient is not made
    into a step by Adam alone.

    Args:
        training: What, on what and how.
        linear: The layer.
        plan: Draws of each step of the epoch.
        epoch: Of the run.
        first_step: Steps that were made before.
        meter: Sums loss and right answers.
        lr_factor: Share of the base learning rate at (step, steps of the epoch).
        step_ended: Told of each step.
        at_once: Most steps in a call. It changes no number.
    """
    step, update = first_step, training.update
    adam = LinearAdam.of(linear, update) if training.accumulation.num_parts == 1 else None
    while adam is not None and step < len(plan) and is_plain_adam(update.optimizer):
        some = plan[step : step + at_once]
        draws_S, counts = np.concatenate(some), [len(draws) for draws in some]
        (batch,) = training.feed.batches(
            [Part(draws_S, draws_S)], epoch=epoch if training.augment else None
        )
        update.forget()
        if not linear.takes([batch]):
            break
        factors, rates = [], []
        for number in range(len(some)):
            factors.append(lr_factor(step + number, len(plan)))
            update.set_rates(factors[-1])
            rates.append(adam.rates())
        losses, logits_SK = adam.make(batch, counts, rates)
        if made := sum(counts[: len(losses)]):
            meter.add_steps(losses, counts[: len(losses)], logits_SK[:made], batch.target[:made])
        for number, (loss, factor) in enumerate(zip(losses.tolist(), factors, strict=False), 1):
            update.set_rates(factor)
            step += 1
            step_ended(step - 1, len(plan), loss, number < len(losses))
        if len(losses) < len(some):  # the next one is not finite: whoever goes on says so
            break
    return step
