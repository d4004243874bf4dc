"""Whom a network learns from besides the labels: a trained run, or a model with its weights file.

--distill runs/large-1              a run: classes are matched by name
--distill resnet50@teacher.pth      a model and weights of the same classes in the same order
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engine.assembly.choices import offered_weights, preprocessing_of
from zoo.engine.assembly.heads import build_network, recorded_head
from zoo.engine.step.distillation import Teacher
from zoo.errors import UsageError, printable
from zoo.evaluation.trained import Trained, load_trained
from zoo.network.head import find_head
from zoo.network.weights import load, resolve
from zoo.registry import Registry, parse_choice

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.device import Device

__all__ = ["teacher_for"]


def teacher_for(job: Job, *, device: Device, registry: Registry) -> Teacher | None:
    """Returns the teacher that a job's ``distill`` names; None without one.

    Raises:
        UsageError: It has other classes or channels, or no head for these classes.
        CheckpointError: Its weights cannot be used.
    """
    named = job.config.distill
    if named is None:
        return None
    by_file = "@" in named and not Path(named).exists()
    taught = (
        _with_weights(named, job, registry)
        if by_file
        else load_trained(Path(named), registry=registry)
    )
    return Teacher.of(
        taught.model, classes=taught.classes, preprocessing=taught.preprocessing,
        channels=taught.channels, student_classes=job.data.classes,
        student_preprocessing=job.preprocessing, student_channels=job.config.channels,
        device=device.torch_device,
    )  # fmt: skip


def _with_weights(named: str, job: Job, registry: Registry) -> Trained:
    """Returns the model ``NAME`` with the weights ``FILE`` of ``NAME@FILE``."""
    name, _, weights = named.partition("@")
    choice = parse_choice(registry, "model", name)
    chosen = resolve(weights, offered_weights(choice))
    preprocessing = preprocessing_of(choice, chosen.weights)
    if chosen.weights is None:  # a file says nothing of its size: what the student sees will do
        preprocessing = replace(preprocessing, image_size=job.preprocessing.image_size)
    num_classes = len(job.data.classes)
    recorded = recorded_head(chosen.path)
    model = build_network(
        choice, parse_choice(registry, "head", recorded) if recorded else None,
        num_classes=num_classes, channels=job.config.channels,
        image_size=preprocessing.image_size,
    )  # fmt: skip
    fitted = load(model, chosen, head=find_head(model, num_classes=num_classes))
    if fitted is None or fitted.head_replaced:
        raise UsageError(
            f"the teacher {printable(named)} has no head for the {num_classes} classes of "
            f"{printable(job.data.name)}",
            found="random weights" if fitted is None else fitted.summary,
            hint="train it on these classes first, then --distill runs/NAME",
        )
    return Trained(
        path=Path(weights), model=model.eval(), classes=job.data.classes,
        channels=job.config.channels, preprocessing=preprocessing,
    )  # fmt: skip
