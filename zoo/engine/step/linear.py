"""The gradient of a linear head on kept features, in one call of zoo's own C.

A batch of 64 is 5 million operations there, and torch's calls around them take several times as
long. So where a loss says what it is as a formula (:class:`zoo.protocols.SoftmaxCost`), the rows
are read where they stand, and scores, loss and gradient are made at once. All else of a step
(clipping, penalties, the optimizer, averages) is what it is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules import module as torch_module

from zoo.engine.features.rows import ChosenRows
from zoo.network.fast.eager import is_watched

if TYPE_CHECKING:
    from zoo.engine.feeds import Batch
    from zoo.network.fast.native import LinearKernels
    from zoo.protocols import Loss, SoftmaxCost

__all__ = ["LinearStep", "is_linear", "is_of_cost"]

_HELD = vars(nn.Linear(1, 1)).keys()
_SIZES = (1.0, 1e4)
# Of made-up inputs: a score may be cut off where it is large.


@dataclass(frozen=True, slots=True)
class LinearStep:
    """Makes the gradient of a linear layer on the CPU, in float32.

    Args:
        module: The layer.
        cost: What a sample costs.
        kernels: The library.
    """

    module: nn.Linear
    cost: SoftmaxCost
    kernels: LinearKernels

    def takes(self, batches: Sequence[Batch]) -> bool:
        """Returns whether the parts of a batch are computed here: one part, with plain labels."""
        batch = batches[0]
        return (
            len(batches) == 1
            and batch.weights_B is None
            and batch.teacher_BK is None
            and self.reads(batch)
            and all(map(_is_to_be_given_a_gradient, self.module.parameters()))
        )

    def reads(self, batch: Batch) -> bool:
        """Returns whether the scores of a batch are computed here."""
        return (
            isinstance(batch.source, ChosenRows)
            and self._fits(batch.source, batch.target)
            and not is_watched(self.module)
            and _holds_nothing_else(self.module)
            and not torch_module._has_any_global_hook()  # type: ignore[no-untyped-call]  # torch
            and all(map(_is_plain, self.module.parameters()))
        )

    def scores(self, batch: Batch) -> Tensor:
        """Returns logits_BK."""
        chosen, module = batch.source, self.module
        assert isinstance(chosen, ChosenRows)
        return self.kernels.scores(chosen.rows_N, chosen.index_B, module.weight, module.bias)

    def gradient(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sets the gradient of a batch's mean loss, and returns (loss, logits_BK)."""
        chosen, module = batch.source, self.module
        assert isinstance(chosen, ChosenRows)
        made = self.kernels.gradient(
            self.cost, chosen.rows_N, chosen.index_B, batch.target, module.weight, module.bias
        )
        module.weight.grad = made.weight_KF
        if made.bias_K is not None:
            module.bias.grad = made.bias_K
        return made.loss, made.logits_BK

    def _fits(self, chosen: ChosenRows, target: Tensor) -> bool:
        """Whether the C, which is told no shapes but the weight's, reads what is there."""
        weight_KF, bias_K, index_B = self.module.weight, self.module.bias, chosen.index_B
        return (
            chosen.is_plain
            and weight_KF.ndim == 2
            and chosen.rows_N.shape[1] == weight_KF.shape[1]
            and (bias_K is None or bias_K.shape == weight_KF.shape[:1])
            and index_B.ndim == 1
            and index_B.shape == target.shape
            and all(
                one.dtype == torch.int64 and one.device.type == "cpu" and one.is_contiguous()
                for one in (index_B, target)
            )
        )


def _is_plain(parameter: Tensor) -> bool:
    """Whether the C can read a parameter."""
    return (
        parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
        and parameter.is_contiguous()
    )


def _is_to_be_given_a_gradient(parameter: Tensor) -> bool:
    """Whether a parameter trains, has no gradient to be added to, and nobody waits for one."""
    return (
        parameter.requires_grad
        and parameter.grad is None
        and not parameter._backward_hooks
        and not parameter._post_accumulate_grad_hooks
    )


def _holds_nothing_else(module: nn.Linear) -> bool:
    """Whether a module has no state of its own by which it could compute something else later."""
    held = vars(module)
    return "forward" not in held and (type(module) is nn.Linear or held.keys() <= _HELD)


@torch.no_grad()
def is_linear(module: nn.Module) -> bool:
    """Returns whether a module computes what a plain linear layer does, whatever its class.

    Bit for bit, of made-up weights and inputs, small and large.
    """
    weights = dict(module.named_parameters())
    own = {name for name in ("weight", "bias") if getattr(module, name, None) is not None}
    if not isinstance(module, nn.Linear) or weights.keys() != own or [*module.buffers()]:
        return False
    if not _holds_nothing_else(module):
        return False
    if any(one.dtype != torch.float32 for one in weights.values()):
        return False
    numbers = torch.Generator().manual_seed(0)
    made_up = {name: torch.randn(one.shape, generator=numbers) for name, one in weights.items()}
    x_BF = torch.randn(4, module.in_features, generator=numbers)
    x_BF *= torch.tensor(_SIZES).repeat(2)[:, None]
    try:
        found = functional_call(module, made_up, (x_BF,))
    except Exception:  # of a stranger's module: it is called as it is, and says why
        return False
    return torch.equal(found, functional.linear(x_BF, made_up["weight"], made_up.get("bias")))


def is_of_cost(loss: Loss, cost: SoftmaxCost, *, kernels: LinearKernels, num_classes: int) -> bool:
    """Returns whether a loss is what it says of itself: the same numbers and gradients, made up."""
    numbers = torch.Generator().manual_seed(0)
    target_B = torch.arange(2 * num_classes) % num_classes
    x_BF, weight_KF = (
        torch.randn(count, 8, generator=numbers, dtype=torch.float32)
        for count in (len(target_B), num_classes)
    )
    places_B = torch.arange(len(target_B))
    for size in _SIZES:
        made = kernels.gradient(cost, size * x_BF, places_B, target_B, weight_KF, None)
        with torch.enable_grad():
            leaf_KF = weight_KF.clone().requires_grad_()
            try:
                own = loss(functional.linear(size * x_BF, leaf_KF), target_B)
                (slope_KF,) = torch.autograd.grad(own, leaf_KF)
            except Exception:  # of a stranger's loss: it is called as it is, and says why
                return False
        largest = float(slope_KF.abs().max())
        if not (
            torch.allclose(made.loss, own.detach().float(), rtol=1e-4)
            and torch.allclose(made.weight_KF, slope_KF, rtol=1e-3, atol=1e-4 * largest)
        ):
            return False
    return True
