"""Steps of Adam on a linear head, many in one call of zoo's own C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from zoo.engine.features.rows import ChosenRows
from zoo.engine.step.bare import is_plain_adam
from zoo.network.fast.native import AdamSteps, Tuned

if TYPE_CHECKING:
    from zoo.engine.feeds import Batch
    from zoo.engine.step.linear import LinearStep
    from zoo.engine.step.update import Update

__all__ = ["LinearAdam"]


@dataclass(frozen=True, slots=True)
class LinearAdam:
    """A linear layer, and torch's Adam or AdamW over it. The state is the optimizer's own.

    Args:
        linear: The layer.
        optimizer: Over its weight and bias, and nothing else.
        groups: The group of each.
    """

    linear: LinearStep
    optimizer: torch.optim.Optimizer
    groups: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, linear: LinearStep, update: Update) -> LinearAdam | None:
        """Returns it; None where the optimizer is another, or does more between two steps."""
        optimizer, owned = update.optimizer, list(linear.module.parameters())
        if not update.is_bare or not is_plain_adam(optimizer):
            return None
        held = [(p, group) for group in optimizer.param_groups for p in group["params"]]
        groups = tuple(group for one in owned for p, group in held if p is one)
        alike = {(*g["betas"], g["eps"], g["decoupled_weight_decay"]) for g in groups}
        if len(held) != len(owned) or len(groups) != len(owned) or len(alike) != 1:
            return None
        made = cls(linear, optimizer, groups)
        return made if made._is_whole() else None

    def rates(self) -> tuple[float, float]:
        """Returns the learning rates of weight and bias as they are."""
        return self.groups[0]["lr"], self.groups[-1]["lr"]

    def make(
        self, batch: Batch, counts: Sequence[int], rates: Sequence[tuple[float, float]]
    ) -> tuple[Tensor, Tensor]:
        """Makes steps, and returns the mean loss of each and logits_SK of all their samples.

        The gradient of the last one is left where torch leaves it. It ends before a step whose loss
        is not finite; the losses are fewer then.

        Args:
            batch: The samples of all steps, one behind the other.
            counts: How many each has.
            rates: Learning rates of weight and bias at each.
        """
        linear, chosen, states = self.linear, batch.source, self._states()
        assert isinstance(chosen, ChosenRows)
        (beta1, beta2), first = self.groups[0]["betas"], self.groups[0]
        owned = list(linear.module.parameters())
        tuned = [
            Tuned(
                p.detach(), torch.empty_like(p), state["exp_avg"], state["exp_avg_sq"],
                group["weight_decay"],
            )
            for p, state, group in zip(owned, states, self.groups, strict=True)
        ]  # fmt: skip
        steps = AdamSteps(
            weight=tuned[0], bias=tuned[1] if len(tuned) > 1 else None, betas=(beta1, beta2),
            epsilon=first["eps"], decoupled=first["decoupled_weight_decay"],
            before=int(states[0]["step"]), counts=counts, rates=rates,
        )  # fmt: skip
        losses, logits_SK = linear.kernels.make(
            linear.cost, steps, chosen.rows_N, chosen.index_B, batch.target
        )
        for p, state, one in zip(owned, states, tuned, strict=True):
            state["step"] += len(losses)
            increment_version(p)  # the C wrote to it
            p.grad = one.gradient
        return losses, logits_SK

    def _is_whole(self) -> bool:
        """Whether the states are of one step, and laid out as the parameters are."""
        states = self._states()
        slots = [
            (p, slot)
            for p, state in zip(self.linear.module.parameters(), states, strict=True)
            for slot in (state["exp_avg"], state["exp_avg_sq"])
        ]
        return len({float(state["step"]) for state in states}) == 1 and all(
            slot.is_contiguous() and (slot.shape, slot.dtype) == (p.shape, p.dtype)
            for p, slot in slots
        )

    def _states(self) -> list[dict[str, Any]]:
        """Returns the state of weight and bias, laid out as torch does it before its first step."""
        for parameter in self.linear.module.parameters():
            state = self.optimizer.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        return [self.optimizer.state[one] for one in self.linear.module.parameters()]
