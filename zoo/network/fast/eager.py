"""Whether a call of a layer is one that zoo's own code for a training step was made for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["is_eager_float32", "is_training_step", "is_watched"]


def is_eager_float32(x: Tensor, weight: Tensor) -> bool:
    """Returns whether maps and a weight are plain float32 on the CPU, computed as Python says.

    Not traced, compiled, transformed (vmap) or under autocast.

    Args:
        x: What a layer is given, (B, C, H, W).
        weight: Its weight.
    """
    return (
        type(x) is Tensor
        and torch._C._get_tracing_state() is None  # first: a look at a shape would be traced
        and x.ndim == 4
        and x.device.type == "cpu"
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.layout == torch.strided
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def is_training_step(x: Tensor, weight: Tensor) -> bool:
    """Returns whether a call of a convolution is such a one, and its weight is trained."""
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and bool(torch.backends.mkldnn.enabled)
        and is_eager_float32(x, weight)
    )


def is_watched(module: nn.Module | None) -> bool:
    """Returns whether somebody looks at what a module is given or returns."""
    return module is not None and bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )
