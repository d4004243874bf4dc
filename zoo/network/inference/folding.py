"""Folds batch norms into the convolutions before them, in a copy of a network.

In evaluation a batch norm is a scale and a shift per channel, both constant, and so can be part of
the convolution whose output it is given. A pair is found by watching a forward pass and not by the
order of attributes: the norm is given the very tensor that the convolution returned, unchanged.

N samples, C channels, H W rows and columns, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.network.fast import restore
from zoo.network.pairs import Pair, adjacent_pairs

__all__ = ["folded_copy"]


def folded_copy(model: nn.Module, images_NCHW: Tensor) -> tuple[nn.Module, int]:
    """Returns a copy for inference, and how many batch norms were folded into convolutions.

    The copy is on the CPU, in evaluation mode and channels_last, its tensors are its own, and what
    :mod:`zoo.network.fast` put into a training step is out of it. It is right if each pair's
    convolution feeds nothing but its norm, which a pass cannot tell: compare the outputs before
    use.

    Args:
        model: The network, on any device. It is not changed.
        images_NCHW: A few images, on any device.
    """
    # On the CPU: not every device has the float64 that folding computes in.
    twin = copy.deepcopy(model).cpu().requires_grad_(False).eval()
    restore(twin)
    pairs = adjacent_pairs(twin, images_NCHW.cpu())
    for pair in pairs:
        _fold(pair)
    _replace(twin, {pair.norm: _beyond_scale(pair.norm) for pair in pairs})
    return twin.eval().to(memory_format=torch.channels_last), len(pairs)


@torch.no_grad()
def _fold(pair: Pair) -> None:
    """Puts a norm's scale and shift into its convolution: in float64, rounded once."""
    convolution, norm = pair.convolution, pair.norm
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale_C = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale_C *= norm.weight.double()
    shift_C = -mean.double() * scale_C
    if norm.bias is not None:
        shift_C += norm.bias.double()
    if convolution.bias is not None:
        shift_C += convolution.bias.double() * scale_C
    weight = convolution.weight
    scaled = (weight.double() * scale_C[:, None, None, None]).to(weight.dtype)
    convolution.weight = nn.Parameter(scaled, requires_grad=False)
    convolution.bias = nn.Parameter(shift_C.to(weight.dtype), requires_grad=False)


def _beyond_scale(norm: nn.Module) -> nn.Module:
    """Returns what a norm does besides: timm's have dropout, nothing here, and the activation."""
    activation = getattr(norm, "act", None)
    return activation if isinstance(activation, nn.Module) else nn.Identity()


def _replace(model: nn.Module, others: Mapping[nn.Module, nn.Module]) -> None:
    """Puts other modules in the place of some, wherever they stand."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and child in others:
                setattr(parent, name, others[child])
