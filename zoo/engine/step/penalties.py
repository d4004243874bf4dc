"""L1 and L2 penalties on weights, as a term of the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["penalised", "penalty"]


def penalised(model: nn.Module) -> list[Tensor]:
    """Returns the parameters that penalties are on: those that train and that are matrices.

    Biases, the parameters of norms and what the model names in ``no_weight_decay`` are spared, as
    they are by weight decay.
    """
    spared = set(getattr(model, "no_weight_decay", set)())
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.ndim > 1
        and not name.endswith(".bias")
        and name not in spared
    ]


def penalty(parameters: Sequence[Tensor], *, l1: float = 0.0, l2: float = 0.0) -> Tensor:
    """Returns ``l1 * sum(|w|) + l2 / 2 * sum(w**2)``, a scalar that can be differentiated.

    L1 is the lasso's term (Tibshirani 1996), with the gradient ``l1 * sign(w)`` and 0 at 0. The
    gradient of the L2 term is ``l2 * w``: with plain SGD it is the same as a weight decay of
    ``l2``. With momentum it passes through the momentum, and with an adaptive optimizer it is
    divided by the size of past gradients, which decoupled weight decay (AdamW, Loshchilov and
    Hutter 2019) avoids; there the two differ.

    Args:
        parameters: As :func:`penalised` returns them; none give 0.
        l1: Factor of the sum of sizes, at least 0.
        l2: Factor of half the sum of squares, at least 0.
    """
    if not parameters:
        return torch.zeros(())
    total = torch.zeros((), device=parameters[0].device)
    if l1:
        sizes = [parameter.abs().sum(dtype=torch.float32) for parameter in parameters]
        total = total + l1 * torch.stack(sizes).sum()
    if l2:
        squares = [parameter.float().square().sum() for parameter in parameters]
        total = total + l2 / 2 * torch.stack(squares).sum()
    return total
