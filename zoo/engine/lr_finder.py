"""The learning-rate finder: a job trained at rising rates, and left as it was.

Job + Phase -> Stage -> train_epoch at rising rates -> Curve. What the curve says is in
:mod:`zoo.engine.lr_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from zoo.engine.assembly.network import place
from zoo.engine.device import Device, torch_settings
from zoo.engine.events import Observer
from zoo.engine.features.spare import Spare
from zoo.engine.loop import train_epoch
from zoo.engine.lr_rules import Curve, Trace
from zoo.engine.meters import Meter
from zoo.engine.stage import Stage, image_feed
from zoo.engine.step.memory import is_out_of_memory
from zoo.engine.training import Accumulation
from zoo.errors import NonFiniteError, UsageError, printable
from zoo.network.fast import accelerate
from zoo.registry.loading import blamed

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.engine.assembly.phases import Phase

__all__ = ["find_rates", "phase_named"]


def phase_named(job: Job, name: str | None) -> Phase:
    """Returns a phase of the plan, the first one for None.

    Raises:
        UsageError: There is none of that name, or none at all.
    """
    if name is None and job.phases:
        return job.phases[0]
    for phase in job.phases:
        if phase.name == name:
            return phase
    raise UsageError(
        f"the plan has no phase {printable(name)}" if name else "the plan has no phases",
        found=", ".join(printable(phase.name) for phase in job.phases),
    )


def find_rates(
    job: Job,
    phase: Phase,
    *,
    rates: Sequence[float],
    device: Device,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Curve:
    """Returns the curve of a sweep on the job's training data, and leaves its network as it was.

    Every step is one of the real loop: the same batches, augmentation, loss and optimizer. A rate
    is what ``--lr`` would say; the rates of other groups keep their ratio to it.

    Args:
        job: What would be trained.
        phase: Which of its phases. It starts from the weights that the job has.
        rates: What to try, rising.
        device: Where it computes.
        progress: Told (what, how many are done, of how many). May raise to stop.
    """
    place(job.model, config=job.config, device=device.torch_device)
    accelerate(job.model, enabled=job.config.fast_convolutions)
    with (
        blamed(job.choices.all, unless=is_out_of_memory),
        torch_settings(job),
        _left_as_it_was(job.model),
    ):
        feeds = {
            name: image_feed(job, name, device=device, progress=progress)
            for name in ("train", "val")
        }
        with closing(Spare()) as spare:
            stage = Stage.open(
                job, phase, feeds, device=device, average=None,
                accumulation=Accumulation(job.config.accumulate), spare=spare,
                observer=Observer(), progress=progress,
            )  # fmt: skip
        return _sweep_stage(stage, rates=rates, lr=job.config.lr or 1.0, progress=progress)


def _sweep_stage(
    stage: Stage, *, rates: Sequence[float], lr: float, progress: Callable[[str, int, int], None]
) -> Curve:
    """Trains epoch after epoch until the rates are used up or the loss diverges."""
    device = stage.training.device
    trace = Trace()
    meter = Meter(device.torch_device, multi_label=stage.training.multi_label)
    fresh = {name: sums.clone() for name, sums in meter.state_dict().items()}

    def lr_factor(step: int, num_steps: int) -> float:
        return rates[len(trace)] / lr

    def step_ended(step: int, num_steps: int, loss: float | None, more: bool) -> None:
        loss, _ = meter.read(device.sum)  # the loop looks at the loss in some steps only
        meter.load_state_dict(fresh)
        stop = trace.add(rates[len(trace)], loss)
        progress("learning rates", len(trace), len(rates))
        if stop or len(trace) == len(rates):
            raise _Stopped

    run = partial(
        train_epoch, stage.training, first_step=0, meter=meter, lr_factor=lr_factor,
        step_ended=step_ended,
    )  # fmt: skip
    epoch = 0
    try:
        while True:
            run(epoch=epoch)
            epoch += 1
    except (_Stopped, NonFiniteError):
        return trace.curve(len(rates))


class _Stopped(Exception):
    """Ends a sweep."""


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Puts all back after the block, the network to the bit.

    Weights, buffers, modes, which parameters have gradients, and the random state.
    """
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [(module, module.training) for module in model.modules()]
    trains = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with torch.random.fork_rng():
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    tensor.copy_(tensors[name])
            for module, mode in modes:
                module.training = mode
            for parameter, trained in trains:
                parameter.requires_grad_(trained)
                parameter.grad = None
