"""From gradients to a step: rates, penalties, clipping, the optimizer, the average after it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.engine.step.bare import bare_step
from zoo.engine.step.clipping import clip_gradients
from zoo.engine.step.penalties import penalised, penalty
from zoo.engine.step.sharpness import climbed
from zoo.errors import NonFiniteError
from zoo.network.nonfinite import first_non_finite, non_finite_at_rest
from zoo.network.statistics import statistics_held

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.device import Device
    from zoo.engine.feeds import Batch
    from zoo.engine.step.averaging import WeightAverage

__all__ = ["Update", "check_finite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Makes optimizer steps.

    Args:
        optimizer: Over the parameters that train. Each group has a ``base_lr``.
        model: The whole network.
        head: Names of its head's modules, which adaptive clipping leaves alone.
        device: Where it computes.
        config: Clipping and penalties.
        average: Follows the weights after each step; None without one.
    """

    optimizer: torch.optim.Optimizer
    model: nn.Module
    head: Collection[str]
    device: Device
    config: RunConfig
    average: WeightAverage | None = None

    def start(self, factor: float) -> None:
        """Sets the learning rates to this share of their base, and forgets the last gradient."""
        self.set_rates(factor)
        self.forget()

    def set_rates(self, factor: float) -> None:
        """Sets the learning rates to this share of their base."""
        for group in self.optimizer.param_groups:
            base: float = group.setdefault("base_lr", group["lr"])  # where an optimizer dropped it
            group["lr"] = base * factor

    def forget(self) -> None:
        """Forgets the gradient.

        torch's own way to do so asks its compiler and its profiler first: 40 microseconds, a
        twentieth of a step on kept features.
        """
        optimizer = self.optimizer
        if type(optimizer).zero_grad is not torch.optim.Optimizer.zero_grad:
            optimizer.zero_grad(set_to_none=True)
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of a loss."""
        # Optimizers that look at curvature (adahessian) differentiate the gradient once more.
        second_order = bool(getattr(self.optimizer, "is_second_order", False))
        self.device.backward(loss, create_graph=second_order)

    def penalise(self) -> None:
        """Adds the gradient of the L1 and L2 penalties of the weights that train."""
        if self.config.l1 or self.config.l2:
            weights = penalised(self.model)
            self.backward(penalty(weights, l1=self.config.l1, l2=self.config.l2))

    @contextmanager
    def climbed(self) -> Iterator[None]:
        """Moves the weights to where the loss is worst nearby, for a second gradient (SAM)."""
        with (
            climbed(self.model.parameters(), rho=self.config.sam),
            statistics_held(self.model),
        ):
            self.forget()
            yield

    @property
    def is_bare(self) -> bool:
        """Whether a gradient becomes a step as it is, and nothing follows the weights."""
        config = self.config
        changed = config.clip_value or config.clip_agc or config.clip_norm or config.sam
        return not (changed or config.l1 or config.l2 or self.average)

    def make(self) -> None:
        """Clips the gradient, makes the step, and lets the average follow."""
        config, accelerator = self.config, self.device.accelerator
        if config.clip_value or config.clip_agc:
            accelerator.unscale_gradients(self.optimizer)
            clip_gradients(
                self.model, head=self.head, largest_value=config.clip_value,
                adaptive_share=config.clip_agc,
            )  # fmt: skip
        if config.clip_norm:
            accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        bare_step(self.optimizer)
        if self.average is not None:
            self.average.update()


def check_weights(model: nn.Module, trained: Sequence[str], *, update: Update) -> None:
    """Looks whether the last step left the weights finite: a network of NaN answers, too.

    Args:
        model: The whole network.
        trained: Names of the modules that train.
        update: Made the step.

    Raises:
        NonFiniteError: They are not. The message names the learning rate and the first such tensor.
    """
    for name in trained:
        if found := non_finite_at_rest(model.get_submodule(name), prefix=name):
            rate = update.optimizer.param_groups[0]["lr"]
            raise NonFiniteError(
                "the last step made weights that are not finite",
                found=f"learning rate {rate:.3g}; {found}",
                kept="what was saved before",
                hint=f"--lr {rate / 10:.1g}, or --clip-norm 1",
            )


def check_finite(
    module: nn.Module,
    batches: Sequence[Batch],
    answers: Sequence[tuple[Tensor, Tensor]],
    masses: Sequence[Tensor | None],
    *,
    step: int,
    update: Update,
) -> float:
    """Returns the loss of a step, the mean of its whole batch, once it is known to be finite.

    Args:
        module: What was trained.
        batches: The parts of the batch.
        answers: (loss, logits_BK) of each.
        masses: The divisor of the mean of each; None: the number of samples.
        step: Of the epoch, from 0.
        update: Will make the step.

    Raises:
        NonFiniteError: That of a part is not. The message names the step, the learning rate and
            the first layer with a value that is not finite.
    """
    total, divisor = 0.0, 0.0
    for batch, (loss, _), mass in zip(batches, answers, masses, strict=True):
        value = float(loss)
        if not math.isfinite(value):
            rate = update.optimizer.param_groups[0]["lr"]
            plain = update.device.accelerator.unwrap_model(module)
            with torch.compiler.set_stance("force_eager"), update.device.autocast():
                where = first_non_finite(plain, batch.inputs) or "the loss itself"
            raise NonFiniteError(
                f"the loss is {value} at step {step + 1} of the epoch; the step was not made",
                found=f"learning rate {rate:.3g}; not finite: {where}",
                hint=f"--lr {rate / 10:.1g}, or --clip-norm 1",
            )
        own = float(len(batch.target)) if mass is None else float(mass)
        total, divisor = total + value * own, divisor + own
    return total / divisor if divisor else 0.0  # where nothing counts the loss is 0
