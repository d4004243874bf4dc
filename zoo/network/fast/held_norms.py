"""Batch norms whose statistics are held, computed within the convolutions before them.

A network with pretrained statistics is fine-tuned with them held (``--norm hold``). A batch norm is
then a scale and a shift of each channel, and the convolution before it can make both:

    norm(conv(x; w, b))  =  conv(x; w s, (b - mean) s + shift)      s = gain / sqrt(variance + eps)

What is scaled is the weight and not its output, which in most layers is many times as large: of the
norm no pass over the maps is left, forward or backward. The gradients of weight, gain and shift are
those of the right side, no further from the exact ones than torch's.

:func:`fold_held_norms` leaves the types of a network's modules, its parameters and its state dict
alone. Only eager float32 on the CPU that is differentiated is computed in this way; evaluation, and
norms that train, run torch's own code.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from zoo.network.fast.eager import is_eager_float32
from zoo.network.fast.proof import lone_pairs, proves_out
from zoo.network.modes import evaluation_mode
from zoo.network.pairs import Pair

__all__ = ["fold_held_norms", "folded_pairs", "restore_held_norms"]

_Forward: TypeAlias = Callable[[Tensor], Tensor]

_MARK = "_zoo_normed_by"
"""Attribute of a tensor that was scaled and shifted already: the norm whose work that was."""


def fold_held_norms(model: nn.Module, images_NCHW: Tensor, *, enabled: bool = True) -> int:
    """Has held batch norms computed within their convolutions; returns how many it can be.

    Whether a norm is held is looked at in each pass. The network can be copied, pickled and run in
    any mode; :func:`restore_held_norms` takes the change back.

    Args:
        model: The network, changed in place. Left alone where the change would alter its outputs,
            as where something besides its norm is given what a convolution returns.
        images_NCHW: A few images, on the network's device.
        enabled: False leaves the network alone and returns 0.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> fold_held_norms(network, torch.rand(2, 3, 8, 8)), restore_held_norms(network)
        (1, 1)
    """
    if not enabled or images_NCHW.device.type != "cpu":
        return 0
    restore_held_norms(model)
    with evaluation_mode(model), torch.inference_mode(mode=False):
        pairs = lone_pairs(model, images_NCHW)
        for pair in pairs:
            convolution, norm = pair.convolution, pair.norm
            # In the object's attributes: the class keeps its method, which is called from there.
            vars(convolution)["forward"] = _Scaled(pair, vars(convolution).get("forward"))
            vars(norm)["forward"] = _Done(norm)
        if pairs and not proves_out(model, images_NCHW):
            restore_held_norms(model)
            return 0
    return len(pairs)


def folded_pairs(model: nn.Module) -> list[Pair]:
    """Returns the convolutions and norms that :func:`fold_held_norms` has changed."""
    forwards = (vars(module).get("forward") for module in model.modules())
    return [forward.pair for forward in forwards if isinstance(forward, _Scaled)]


def restore_held_norms(model: nn.Module) -> int:
    """Undoes :func:`fold_held_norms`; returns how many norms it gave back."""
    restored = 0
    for module in model.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, _Done):
            delattr(module, "forward")
            restored += 1
        elif isinstance(forward, _Scaled):
            delattr(module, "forward")
            if forward.before is not None:
                vars(module)["forward"] = forward.before
    return restored


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Stands in for ``forward`` of a convolution: makes its norm's scale and shift, too.

    An object and not a closure, so that a network with it can be copied and pickled.

    Args:
        pair: The convolution and its norm.
        before: What stood in for the method before; None for the method of the class.
    """

    pair: Pair
    before: _Forward | None

    def __call__(self, x: Tensor) -> Tensor:
        convolution, norm = self.pair.convolution, self.pair.norm
        if not _is_held_step(x, convolution, norm):
            return self._convolved(x)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale_C = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale_C = norm.weight * scale_C
        shift_C = norm.running_mean if convolution.bias is None else (
            norm.running_mean - convolution.bias
        )  # fmt: skip
        shift_C = (
            -shift_C * scale_C
            if norm.bias is None
            else torch.addcmul(norm.bias, shift_C, scale_C, value=-1)
        )
        attributes = vars(convolution)
        # An attribute of the object is found before a parameter of that name, by the class's own
        # code too, whatever it makes of them (SAME padding, a weight gradient of zoo's).
        attributes["weight"] = convolution.weight * scale_C[:, None, None, None]
        attributes["bias"] = shift_C
        try:
            output = self._convolved(x)
        finally:
            del attributes["weight"], attributes["bias"]
        setattr(output, _MARK, norm)
        return output

    def _convolved(self, x: Tensor) -> Tensor:
        if self.before is not None:
            return self.before(x)
        convolution = self.pair.convolution
        output: Tensor = type(convolution).forward(convolution, x)
        return output


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """Stands in for ``forward`` of a norm: what is left of it when its convolution did its work."""

    norm: nn.BatchNorm2d | nn.SyncBatchNorm

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        if getattr(x, _MARK, None) is not norm:
            cls: type[nn.Module] = type(norm)
            own: Tensor = cls.forward(norm, x)
            return own
        for name in ("drop", "act"):  # timm's norms have them inside, in this order
            part = getattr(norm, name, None)
            x = part(x) if isinstance(part, nn.Module) else x
        return x


def _is_held_step(
    x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d | nn.SyncBatchNorm
) -> bool:
    """Returns whether a call is differentiated, its norm held and the weight smaller than the map.

    A weight is scaled once and a map of the batch is passed over, so the smaller one decides:
    ResNet-50 at 32 pixels, batch 16, two threads: a step took 126 ms with torch's norms, 159 with
    every weight scaled and 127 with those that are no larger than the map; mobilenetv3_large at 64
    pixels, batch 64: 129, 113 and 115 (AMD EPYC with AVX512, torch 2.14.1, medians of 15).
    """
    weight, gain, shift = convolution.weight, norm.weight, norm.bias
    return (
        not norm.training
        and torch.is_grad_enabled()
        and any(one is not None and one.requires_grad for one in (x, weight, gain, shift))
        and is_eager_float32(x, weight)
        and weight[0].numel() * math.prod(convolution.stride) <= len(x) * x.shape[2] * x.shape[3]
    )
