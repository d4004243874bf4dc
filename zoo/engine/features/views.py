"""In how many ways a frozen part sees each image: as it is, in a few views, or without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase

__all__ = ["frozen_views"]


def frozen_views(job: Job, phase: Phase) -> int | None:
    """Returns the number of augmented views that a phase's epochs go through in turn.

    0: every epoch sees the image as it is. None: every epoch sees another one, or something before
    what trains moves, so that nothing can be computed once. Images are not mixed in views.
    """
    config = job.config
    if phase.trainable == "all" or config.frozen_norm == "train":
        return None
    names = {choice.entry.component.name for choice in job.choices.transforms}
    if not phase.augment or names <= {"none"}:
        return 0
    if config.freeze_views > 1:
        return config.freeze_views if job.transforms else 0
    if job.mixers or any(transform.num_random for transform in job.transforms):
        return None
    return 1  # nothing random in it: always the same view
