"""When zoo's own C is compiled for a phase: where its training repays the wait for the compiler."""

from __future__ import annotations

from zoo.data.cache import cache_folder
from zoo.engine.assembly.job import Job
from zoo.engine.assembly.phases import Phase
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.network.fast.depthwise import accelerated
from zoo.network.fast.native import Kernels, compiled

__all__ = ["kernels_for"]

REPAID_PIXELS = 1 << 24
"""Pixels of a phase's images, each epoch anew, from which on the library is used.

A compiler takes 2 s, once on a machine. At 64 pixels an image of MobileNetV3 then takes 0.15 ms
less and one of EfficientNet-Lite0 0.5 ms less, so this many (4,096 of them) repay it at once or
soon after. The rule asks for no kept library: what a run computes does not depend on the runs
before it.
"""


def kernels_for(job: Job, phase: Phase, device: Device, observer: Observer) -> Kernels | None:
    """Returns the library for a phase's depthwise convolutions; None where torch computes them."""
    config, side = job.config, job.preprocessing.image_size
    num_images = phase.epochs * config.repeats * len(job.data.splits["train"].images)
    if (
        device.torch_device.type != "cpu"
        or config.precision not in ("auto", "fp32")
        or not config.channels_last
        or num_images * side * side < REPAID_PIXELS
        or not accelerated(job.model)
    ):
        return None
    compilation = compiled(cache_folder())
    if compilation.seconds:
        observer.noted(
            f"compiled zoo's own code for depthwise convolutions in {compilation.seconds:.1f} s; "
            "it is kept"
        )
    elif compilation.reason:
        observer.noted(f"depthwise convolutions are torch's own: {compilation.reason}")
    return compilation.kernels
