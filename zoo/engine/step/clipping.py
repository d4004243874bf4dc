"""Gradient clipping: by the norm of all, by value, and unit by unit against the weights (AGC)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn

from zoo.network.blocks import within

__all__ = ["clip_adaptively", "clip_gradients", "unit_norms"]


def unit_norms(tensor: Tensor) -> Tensor:
    """Returns the L2 norm of each output unit, shaped to be multiplied with the tensor.

    A unit is a row of a linear layer's weight and a filter of a convolution's (all dimensions but
    the first); a vector or a scalar is one unit.
    """
    within_unit = tuple(range(1, tensor.ndim)) or None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=within_unit, keepdim=tensor.ndim > 1)
    return norms


@torch.no_grad()
def clip_adaptively(
    parameters: Iterable[Tensor], *, share: float, smallest_norm: float = 1e-3
) -> None:
    """Scales down the gradient of each unit whose norm exceeds ``share`` of its weights' norm.

    Brock et al. 2021, "High-Performance Large-Scale Image Recognition Without Normalization",
    equation 3. The host waits for nothing.

    Args:
        parameters: Those without a gradient are left out. By the paper without the head.
        share: Largest norm of a unit's gradient, as a share of its weights' norm; 0.01 there.
        smallest_norm: What smaller norms of weights count as, so that zeros can learn.
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        largest = unit_norms(parameter.detach()).clamp_(min=smallest_norm).mul_(share)
        norms = unit_norms(gradient)
        # 1e-6 keeps a gradient of zero from being divided by zero; it is not clipped anyway.
        scale = torch.where(norms < largest, 1.0, largest / norms.clamp(min=1e-6))
        gradient.mul_(scale)


def clip_gradients(
    model: nn.Module,
    *,
    head: Collection[str],
    largest_norm: float = 0.0,
    largest_value: float = 0.0,
    adaptive_share: float = 0.0,
) -> None:
    """Clips the gradients of a network in place, in each way that is not 0.

    Adaptively first, then each entry, then the norm of all, so that each bound that was asked for
    holds in the end. Gradients that a scaler of mixed precision has scaled are to be unscaled
    before (``accelerator.unscale_gradients()``).

    Args:
        model: The network.
        head: Names of its head modules, which adaptive clipping leaves alone.
        largest_norm: Of the gradients of all parameters together.
        largest_value: Of the size of each entry.
        adaptive_share: As :func:`clip_adaptively` has it.
    """
    if adaptive_share:
        clip_adaptively(
            (p for name, p in model.named_parameters() if not within(name, head)),
            share=adaptive_share,
        )
    if largest_value:
        nn.utils.clip_grad_value_(model.parameters(), largest_value)
    if largest_norm:
        nn.utils.clip_grad_norm_(model.parameters(), largest_norm)
