"""When zoo's own C is compiled for a phase: where its training repays the wait for the compiler.

The rules ask for no kept library: what a run computes does not depend on the runs before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from torch import nn

from zoo.data.batches import num_batches
from zoo.data.cache import cache_folder
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.phases import Phase
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.features.threads import is_small
from zoo.engine.step.linear import LinearStep, is_linear, is_of_cost
from zoo.network.fast.depthwise import accelerated
from zoo.network.fast.native import DEPTHWISE, LINEAR, Kernels, compiled
from zoo.network.fast.native.compiler import Code, Library
from zoo.protocols import SoftmaxCost

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["kernels_for", "linear_step_for"]

REPAID_PIXELS = 1 << 24
"""Pixels of a phase's images, each epoch anew, from which on depthwise convolutions are in C.

A compiler takes 2 to 3 s, once on a machine. At 64 pixels an image of MobileNetV3 then takes 0.2 ms
less and one of EfficientNet-Lite0 0.4 to 0.6, so this many (4,096 of them) repay it at once or soon
after.
"""

REPAID_STEPS = 256
"""Steps of a phase from which on those of a linear head are in C.

A compiler takes 0.5 to 0.9 s, once on a machine, and a step 0.36 ms less with Adam, 0.24 with SGD
(64 rows of 1,280 numbers, 10 classes), so some such phases repay it: who trains heads mostly trains
several.
"""

_LibraryT = TypeVar("_LibraryT", bound=Library)


def kernels_for(job: Job, phase: Phase, device: Device, observer: Observer) -> Kernels | None:
    """Returns the library for a phase's depthwise convolutions; None where torch computes them."""
    config, side = job.config, job.preprocessing.image_size
    num_images = phase.epochs * len(job.data.splits["train"].images)
    if (
        not _is_plain(job, device)
        or not config.channels_last
        or num_images * side * side < REPAID_PIXELS
        or not accelerated(job.model)
    ):
        return None
    return _compiled(DEPTHWISE, observer)


def linear_step_for(
    job: Job, phase: Phase, module: nn.Module, *, device: Device, observer: Observer
) -> LinearStep | None:
    """Returns what makes the gradients of a phase that trains a linear head; None: torch does.

    Args:
        job: The job.
        phase: The phase.
        module: What it trains.
        device: Where it computes.
        observer: Told of a compilation.
    """
    config, split = job.config, job.data.splits["train"]
    if config.compile or not config.fast_convolutions:
        return None
    num_images, num_classes = len(split.images), len(job.data.classes)
    cost = getattr(job.loss, "cost", None)
    if (
        not isinstance(module, nn.Linear)
        or not isinstance(cost, SoftmaxCost)
        or not _is_plain(job, device)
        or device.world > 1
        or not is_small(module, batch_size=config.batch_size)
        or job.data.multi_label
        or job.choices.second_order
        or phase.epochs * num_batches(num_images, config.batch_size) < REPAID_STEPS
        or not _are_classes(split.labels_N, num_classes)
        or not is_linear(module)
    ):
        return None
    kernels = _compiled(LINEAR, observer)
    if kernels is None or not is_of_cost(job.loss, cost, kernels=kernels, num_classes=num_classes):
        return None
    return LinearStep(module, cost, kernels)


def _are_classes(labels_N: NDArray[np.int64], num_classes: int) -> bool:
    """Whether labels are what a data set promises. torch has an answer of its own to others."""
    return labels_N.dtype == np.int64 and bool(((labels_N >= 0) & (labels_N < num_classes)).all())


def _is_plain(job: Job, device: Device) -> bool:
    """Whether a run computes in float32 on the CPU."""
    return device.torch_device.type == "cpu" and job.config.precision in ("auto", "no")


def _compiled(code: Code[_LibraryT], observer: Observer) -> _LibraryT | None:
    """Returns a library, and says so where it was made or cannot be."""
    compilation = compiled(code, cache_folder())
    if compilation.seconds:
        observer.noted(
            f"compiled zoo's own code for {code.what} in {compilation.seconds:.1f} s; it is kept"
        )
    elif compilation.reason:
        observer.noted(f"{code.what} are torch's own: {compilation.reason}")
    return compilation.kernels
