"""Sharpness-aware minimisation: the gradient is taken where the loss is worst nearby.

Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization"; the
adaptive form is Kwon et al. 2021, "ASAM". Works with any optimizer, which only sees the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["climb", "climbed", "descend"]


@torch.no_grad()
def climb(
    parameters: Iterable[Tensor], *, rho: float, adaptive: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """Moves the weights by ``rho`` along the gradient, and returns what :func:`descend` needs.

    ``w + rho * g / ||g||``; adaptive ``w + rho * w**2 * g / || |w| * g ||``, so that the step does
    not change when a layer is scaled up and the next one down. The norm is over all parameters.
    A loss scale of mixed precision cancels. The host waits for nothing.

    Args:
        parameters: Those without a gradient stay.
        rho: Length of the step; 0.05 in the paper, about 0.5 when adaptive.
        adaptive: Whether to measure in units of each weight's size.

    Returns:
        Each parameter that was moved, with a copy of its weights.
    """
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    if not moved:
        return []
    gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
    copies = [parameter.detach().clone() for parameter in moved]
    if adaptive:
        sizes = torch._foreach_abs(copies)
        gradients = list(torch._foreach_mul(gradients, sizes))
    scale = rho / (torch.nn.utils.get_total_norm(gradients) + 1e-12)
    if adaptive:
        gradients = list(torch._foreach_mul(gradients, sizes))
    torch._foreach_add_(moved, torch._foreach_mul(gradients, scale))
    return list(zip(moved, copies, strict=True))


@torch.no_grad()
def descend(moved: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Puts the exact weights back. Subtracting the step again would round."""
    for parameter, copy in moved:
        parameter.copy_(copy)


@contextmanager
def climbed(parameters: Iterable[Tensor], *, rho: float, adaptive: bool = False) -> Iterator[None]:
    """Has the weights moved as :func:`climb` moves them inside the block, and put back after it.

    Inside, the gradients are set to zero and computed again on the same batch, with the same
    dropout and with the statistics of batch norms held
    (:func:`zoo.network.statistics.statistics_held`). Then the optimizer makes its step.
    """
    moved = climb(parameters, rho=rho, adaptive=adaptive)
    try:
        yield
    finally:
        descend(moved)
