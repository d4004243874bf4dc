"""The learning-rate finder: train while the rate rises, and look where the loss falls.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3, in the form in
which fastai made it known: smoothed loss, a stop at four times the best, three rules that suggest.

Job + Phase -> Stage -> train_epoch at rising rates -> Curve -> suggestions
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.loop import Accumulation, train_epoch
from zoo.engine.meters import Meter
from zoo.engine.stage import Stage, image_feed
from zoo.errors import NonFiniteError, UsageError, printable
from zoo.network.depthwise import accelerate_depthwise

if TYPE_CHECKING:
    from zoo.engine.job import Job
    from zoo.engine.phases import Phase

__all__ = [
    "RULES",
    "Curve",
    "Trace",
    "find_rates",
    "minimum",
    "phase_named",
    "rising_rates",
    "steep",
    "suggestions",
    "sweep",
    "valley",
]

_MEMORY = 0.98  # share of the old loss in the smoothed one, as fastai has it
_DIVERGED = 4.0  # times the best smoothed loss; Smith stops by eye, fastai here
_FEWEST = 12  # points below which a curve says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """What a sweep saw, one entry a step.

    Args:
        rates: Learning rates, rising.
        losses: Mean loss of each step's batch.
        smoothed: Exponentially smoothed losses, corrected for their start.
        planned: Steps that were planned; fewer were made if the loss diverged.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    planned: int

    @property
    def diverged(self) -> bool:
        """Whether the sweep stopped early."""
        return len(self.rates) < self.planned


class Trace:
    """Takes the loss of each step of a sweep, and tells when to stop."""

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._losses: list[float] = []
        self._smoothed: list[float] = []
        self._running = 0.0

    def __len__(self) -> int:
        return len(self._rates)

    def add(self, rate: float, loss: float) -> bool:
        """Adds a step and returns whether the loss has diverged.

        A loss that is not finite is left out. The first smoothed loss that is over four times the
        best is kept, so that a drawing shows the wall.
        """
        if not math.isfinite(loss):
            return True
        self._running = _MEMORY * self._running + (1 - _MEMORY) * loss
        self._rates.append(rate)
        self._losses.append(loss)
        self._smoothed.append(self._running / (1 - _MEMORY ** len(self._rates)))
        return self._smoothed[-1] > _DIVERGED * min(self._smoothed)

    def curve(self, planned: int) -> Curve:
        """Returns what was seen."""
        return Curve(
            rates=tuple(self._rates), losses=tuple(self._losses), smoothed=tuple(self._smoothed),
            planned=planned,
        )  # fmt: skip


def rising_rates(
    num_steps: int, *, lowest: float = 1e-7, highest: float = 10.0
) -> tuple[float, ...]:
    """Returns rates from ``lowest`` on, each the same factor above the one before.

    >>> [round(rate, 4) for rate in rising_rates(4, lowest=0.001, highest=1.0)]
    [0.001, 0.01, 0.1, 1.0]
    """
    factor = highest / lowest
    return tuple(lowest * factor ** (step / max(1, num_steps - 1)) for step in range(num_steps))


def sweep(step: Callable[[float], float], *, rates: Sequence[float]) -> Curve:
    """Returns the curve of a sweep.

    Args:
        step: Makes one training step at a rate and returns its loss.
        rates: The rates, rising.
    """
    trace = Trace()
    for rate in rates:
        if trace.add(rate, step(rate)):
            break
    return trace.curve(len(rates))


# ---- rules ------------------------------------------------------------------------------------


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns the rate half-way through the longest fall of the loss.

    fastai's default (from ESRI): the longest falling subsequence, of whose length the point at one
    third and a sixth is taken.
    """
    length = [1] * len(losses)
    for i, loss in enumerate(losses):
        shorter = [length[j] for j in range(i) if losses[j] > loss]
        length[i] = max(shorter, default=0) + 1
    longest = max(length)
    end = length.index(longest)
    span = min(longest, end)
    return rates[end - span + int(span / 3) + int(span / 6)]


def steep(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns the rate at which the loss falls fastest per factor of the rate."""
    slopes = [
        (losses[i + 1] - losses[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(len(rates) - 1)
    ]
    return rates[slopes.index(min(slopes))]


def minimum(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Returns a tenth of the rate at which the loss is lowest: the edge is too far."""
    return rates[losses.index(min(losses))] / 10


RULES: Mapping[str, str] = {
    "valley": "half-way through the longest fall of the loss",
    "steep": "where the loss falls fastest",
    "minimum": "a tenth of the rate with the lowest loss",
}
"""The rules in words, the recommended one first."""


def suggestions(curve: Curve) -> dict[str, float]:
    """Returns the learning rate that each rule suggests.

    As in fastai, the first tenth of the planned steps and the last five count for nothing: there
    the smoothed loss is made of few values, or is on its way up the wall.

    Raises:
        UsageError: The curve is too short to say anything.
    """
    kept = slice(curve.planned // 10, -5)
    rates, losses = curve.rates[kept], curve.smoothed[kept]
    if len(rates) < _FEWEST:
        raise UsageError(
            f"the loss diverged after {len(curve.rates)} of {curve.planned} steps, too soon for a "
            "suggestion" if curve.diverged else f"{curve.planned} steps are too few",
            hint="more --steps, a larger --batch-size, or --clip-norm 1",
        )  # fmt: skip
    return {
        "valley": valley(rates, losses),
        "steep": steep(rates, losses),
        "minimum": minimum(rates, losses),
    }


# ---- a sweep of a job -------------------------------------------------------------------------


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
        f"the plan has no phase {printable(name)!r}" if name else "the plan has no phases",
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
    layout = torch.channels_last if job.config.channels_last else torch.contiguous_format
    job.model.to(device.torch_device).to(memory_format=layout)
    accelerate_depthwise(job.model, enabled=job.config.fast_depthwise)
    with _left_as_it_was(job.model, threads=job.config.threads):
        feeds = {
            name: image_feed(job, name, device=device, progress=progress)
            for name in ("train", "val")
        }
        stage = Stage.open(
            job, phase, feeds, device=device, average=None,
            accumulation=Accumulation(job.config.accumulate), observer=Observer(),
            progress=progress,
        )  # fmt: skip
        return _sweep_stage(stage, rates=rates, lr=job.config.lr or 1.0, progress=progress)


def _sweep_stage(
    stage: Stage, *, rates: Sequence[float], lr: float, progress: Callable[[str, int, int], None]
) -> Curve:
    """Trains epoch after epoch until the rates are used up or the loss diverges."""
    device = stage.training.device
    trace, meter = Trace(), Meter(device.torch_device)
    fresh = {name: sums.clone() for name, sums in meter.state_dict().items()}

    def lr_factor(step: int, num_steps: int) -> float:
        return rates[len(trace)] / lr

    def step_ended(step: int, num_steps: int, loss: float | None) -> None:
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
def _left_as_it_was(model: nn.Module, *, threads: int | None) -> Iterator[None]:
    """Computes with so many threads, and puts all back afterwards, the network to the bit.

    Weights, buffers, modes, which parameters have gradients, and the random state.
    """
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [(module, module.training) for module in model.modules()]
    trains = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    own_threads = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_num_threads(own_threads)
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    tensor.copy_(tensors[name])
            for module, mode in modes:
                module.training = mode
            for parameter, trained in trains:
                parameter.requires_grad_(trained)
                parameter.grad = None
