"""The loop: one epoch of training, one pass of evaluation. Reads top to bottom.

Shapes: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.data.batches import Part, cut, split_evenly
from zoo.data.randomness import Stream, key
from zoo.engine.device import Device
from zoo.engine.feeds import Batch, in_order, total_weight
from zoo.engine.linear_loop import train_linear
from zoo.engine.meters import Meter
from zoo.engine.scores import Collector, Measure, Scores
from zoo.engine.step.distillation import distillation_loss, multi_label_distillation_loss
from zoo.engine.step.graphs import begin_pass, is_compiled, keep_gradients
from zoo.engine.step.memory import (
    is_out_of_memory,
    next_accumulation,
    release_memory,
    smaller_parts_note,
)
from zoo.engine.step.update import check_finite
from zoo.engine.training import StepEnded, Training
from zoo.errors import MachineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from zoo.engine.feeds import Feed
    from zoo.engine.step.linear import LinearStep
    from zoo.protocols import Loss

__all__ = ["evaluate", "train_epoch"]


def train_epoch(
    training: Training,
    *,
    epoch: int,
    first_step: int,
    meter: Meter,
    lr_factor: Callable[[int, int], float],
    step_ended: StepEnded,
    at_once: int = 1,
) -> None:
    """Trains one epoch, from ``first_step`` on.

    Args:
        training: What, on what and how.
        epoch: 0 for the first epoch of the run; with the seed it decides order and augmentation.
        first_step: Steps of this epoch that were made before an interruption.
        meter: Sums loss and right answers.
        lr_factor: Share of the base learning rate at (step, steps of the epoch).
        step_ended: Told (step, steps of the epoch, loss if it was looked at, whether more steps
            were made already). May raise to stop.
        at_once: How many steps may be made before they are told of. It changes no number.

    Raises:
        NonFiniteError: The loss is NaN or infinite. The step is not made.
    """
    config, update = training.config, training.update
    plan = split_evenly(training.draws(epoch), config.batch_size)
    check_every = 1 if training.device.torch_device.type == "cpu" else 25  # a look waits for it
    step = first_step
    if training.linear is not None:
        step = train_linear(
            training, training.linear, plan, epoch=epoch, first_step=first_step, meter=meter,
            lr_factor=lr_factor, step_ended=step_ended, at_once=at_once,
        )  # fmt: skip
    while step < len(plan):
        for batches in _steps(training, plan[step:], epoch):
            update.start(lr_factor(step, len(plan)))
            answers = None
            try:
                answers = _gradient(training, batches, epoch=epoch, step=step)
                if config.sam:
                    with update.climbed():
                        _gradient(training, batches, epoch=epoch, step=step)
            except (RuntimeError, MemoryError) as error:
                if not config.auto_batch or not is_out_of_memory(error):
                    raise
                answers = None  # also when it was the second gradient that did not fit
            if answers is None:  # here the error is gone, and with it what held the tensors
                _cut_finer(training, len(plan[step]))
                break  # the same step again, and the rest of the epoch, in smaller parts
            masses = [
                training.mass(b.target, b.weights_B)
                if config.balance == "loss" or b.weights_B is not None else None
                for b in batches
            ]  # fmt: skip
            looked: float | None = None
            if step % check_every == 0 or step == len(plan) - 1:
                looked = check_finite(
                    training.module, batches, answers, masses, step=step, update=update
                )
            update.make()
            for (loss, logits_BK), batch, mass in zip(answers, batches, masses, strict=True):
                meter.add(loss, logits_BK, batch.target, mass)
            step += 1
            step_ended(step - 1, len(plan), looked, False)


def _steps(
    training: Training, plan: Sequence[NDArray[np.int64]], epoch: int
) -> Iterator[list[Batch]]:
    """Yields the batches, one a part, of each step."""
    device, num_parts = training.device, training.accumulation.num_parts
    steps = [
        cut(
            b, num_parts=num_parts, repeats=training.config.repeats, rank=device.rank,
            world=device.world,
        )
        for b in plan
    ]  # fmt: skip
    parts: list[Part] = [part for step in steps for part in step]
    batches = training.feed.batches(parts, epoch=epoch if training.augment else None)
    for step in steps:
        yield list(islice(batches, len(step)))


def _gradient(
    training: Training, batches: Sequence[Batch], *, epoch: int, step: int
) -> list[tuple[Tensor, Tensor]]:
    """Adds the gradient of a step's mean loss, and returns (loss, logits_BK) of each part."""
    config, device, update = training.config, training.device, training.update
    shares_P2 = _shares(training, batches) if len(batches) * device.world > 1 else None
    answers, compiled = [], is_compiled(training.module)
    for number, batch in enumerate(batches):
        device.seed(key(Stream.STEP, config.seed, epoch, step, number, device.rank))
        if training.linear is not None and training.linear.takes(batches):
            answers.append(training.linear.gradient(batch))
            continue
        last = number == len(batches) - 1
        with nullcontext() if last else device.unsynchronised(training.module):
            if compiled:
                begin_pass()
            with device.autocast():
                logits_BK = training.module(batch.inputs)
            loss = training.loss(logits_BK, batch.target, batch.weights_B)
            kept_BK = logits_BK.detach()  # the next part's pass may write to it
            answers.append((loss.detach(), kept_BK.clone() if compiled else kept_BK))
            if shares_P2 is not None:
                loss = loss * shares_P2[number, 0]
            if batch.teacher_BK is not None:
                imitate = (
                    multi_label_distillation_loss if training.multi_label else distillation_loss
                )
                taught = imitate(
                    logits_BK, batch.teacher_BK, temperature=config.distill_temperature,
                    sample_weight_B=batch.weights_B,
                )  # fmt: skip
                if shares_P2 is not None:
                    taught = taught * shares_P2[number, 1]
                loss = (1 - config.distill_weight) * loss + config.distill_weight * taught
            update.backward(loss)
            if compiled and not last:
                keep_gradients(training.module.parameters())
    update.penalise()
    return answers


def _shares(training: Training, batches: Sequence[Batch]) -> Tensor:
    """Returns shares_P2 of P parts in a step: in the mean of the loss, and in that of a teacher's.

    With them parts and processes add up to the gradient of the whole batch's mean. The loss has a
    divisor of its own, with the weights of classes in it; a teacher's has those of the samples.
    """
    masses_P2 = torch.stack(
        [
            torch.stack(
                (
                    training.mass(batch.target, batch.weights_B).to(batch.target.device),
                    total_weight(batch.target, batch.weights_B),
                )
            )
            for batch in batches
        ]
    )
    total_2 = training.device.sum(masses_P2.sum(0))
    return masses_P2 / torch.where(total_2 > 0, total_2, 1) * training.device.world


def _cut_finer(training: Training, batch_size: int) -> None:
    """Has batches computed in twice as many parts from here on.

    The attempt that failed may have moved batch-norm statistics; the step that follows is exact.

    Raises:
        MachineError: They cannot be cut finer.
    """
    release_memory()
    accumulation, device = training.accumulation, training.device
    norms_train = any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
        for m in training.module.modules()
    )
    more = next_accumulation(
        batch_size // device.world, accumulation.num_parts, smallest_part=1 + norms_train
    )
    if more is None or device.world > 1:  # other processes would have to cut at the same step
        raise MachineError(
            f"a batch of {batch_size} in {accumulation.num_parts} parts takes too much memory",
            hint=f"--accumulate {2 * accumulation.num_parts}, or a smaller --batch-size",
        )
    accumulation.num_parts = more
    training.noted(
        smaller_parts_note(training.config.batch_size, parts=more, norms_train=norms_train)
    )


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    feed: Feed,
    *,
    loss: Loss,
    mass: Callable[[Tensor, Tensor | None], Tensor],
    device: Device,
    multi_label: bool = False,
    measures: Sequence[Measure] = (),
    linear: LinearStep | None = None,
    between: Callable[[], None] = lambda: None,
) -> Scores:
    """Returns the loss of the whole split, accuracy and the metrics that are asked for.

    Each sample is seen once on any number of processes, and how they are batched changes nothing:
    ``mass``, the divisor of a batch's mean loss, is what the batch counts. ``linear`` is the module
    where that is a linear layer over kept features. ``between`` is called before each batch and
    may raise to stop.
    """
    module.eval()
    meter = Meter(device.torch_device, multi_label=multi_label)
    kept = Collector(measures, num_samples=len(feed), multi_label=multi_label)
    plan = in_order(len(feed), feed.at_once, rank=device.rank, world=device.world)
    compiled = is_compiled(module)
    if compiled:  # observers look at the last gradient after the epoch's validation
        keep_gradients(module.parameters())
    for part, batch in zip(plan, feed.batches(plan, epoch=None), strict=True):
        between()
        if compiled:
            begin_pass()
        if linear is not None and linear.reads(batch):
            logits_BK = linear.scores(batch)
        else:
            with device.autocast():
                logits_BK = module(batch.inputs)
        meter.add(loss(logits_BK, batch.target), logits_BK, batch.target, mass(batch.target, None))
        kept.add(part.draws_B, logits_BK, batch.target)
    return Scores(*meter.read(device.sum), kept.read(device))
