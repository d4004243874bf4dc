"""The learning rate of each step: the schedule's share of the base rate, and a phase's warm-up."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.records.state import Position

__all__ = ["lr_factor", "mean_lr"]


def lr_factor(job: Job, position: Position, step: int, num_steps: int) -> float:
    """Returns the share of the base learning rate at a step of the current epoch.

    Args:
        job: Its phases and schedules.
        position: Where the run stands.
        step: Step of the epoch, from 0.
        num_steps: Steps of the epoch.
    """
    phase, ramp = job.phases[position.phase], 1.0
    if phase.warmup > 0:
        ramp = min(1.0, (position.epoch + (step + 1) / num_steps) / phase.warmup)
    epoch = position.epoch if phase.restarts else position.epochs_done
    return job.schedules[position.phase](epoch + step / num_steps) * ramp


def mean_lr(job: Job, position: Position, num_steps: int) -> float:
    """Returns the head's learning rate, the mean over the steps of the current epoch."""
    factor = fmean(lr_factor(job, position, step, num_steps) for step in range(num_steps))
    return (job.config.lr or 0.0) * job.phases[position.phase].lr * factor
