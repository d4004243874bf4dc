"""1x1 convolutions on maps of one pixel, as the matrix product that they are.

Squeeze-and-excitation layers, and the last layer of MobileNets, are such convolutions. oneDNN,
which torch calls for a convolution on the CPU, needs two to three times as long for them as the
matrix product does. Output and gradients are the same sums in another order.

:func:`accelerate_pointwise` leaves the types of a network's modules, its parameters and its state
dict alone. Only eager float32 on the CPU is computed in this way; all else runs torch's own code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["accelerate_pointwise", "pointwise_conv2d", "restore_pointwise"]


def pointwise_conv2d(x_BC11: Tensor, weight_OC11: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Returns the 1x1 convolution (B, O, 1, 1) of maps of one pixel, as a matrix product.

    For every dtype and device; derivatives of any order are those of ``functional.linear``.

    How many times as long the convolution takes, forward and (forward and backward), in
    channels_last, batch 64, medians of 7 of processor time, one thread of an AMD EPYC (AVX512) that
    was also at other work, torch 2.14.1; ``benchmarks/step.py --layers``:

    ============  ============  ============================
    channels      map           convolution / matrix product
    ============  ============  ============================
    960 to 1280   1x1           2.9 (2.7)
    960 to 240    1x1           2.0 (2.1)
    72 to 24      1x1           4.5 (3.0)
    16 to 8       1x1           4.5 (3.0)
    160 to 960    2x2           1.1 (1.1), not rewritten
    112 to 672    4x4           1.2 (0.9), not rewritten
    40 to 240     8x8           0.9 (0.9), not rewritten
    16 to 16      32x32         0.6 (0.6), not rewritten
    ============  ============  ============================

    Example:
        >>> pointwise_conv2d(torch.ones(2, 3, 1, 1), torch.ones(4, 3, 1, 1)).flatten().tolist()
        [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    """
    return functional.linear(x_BC11.flatten(1), weight_OC11.flatten(1), bias_O)[:, :, None, None]


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Returns whether a call is eager float32 on the CPU, on a map of one pixel."""
    return (
        type(x) is Tensor
        and torch._C._get_tracing_state() is None  # first: a look at a shape would be traced
        and x.ndim == 4
        and x.shape[2] == x.shape[3] == 1
        and x.device.type == "cpu"
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.layout == torch.strided
        and not x.is_mkldnn
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Accelerated:
    """Stands in for ``_conv_forward`` of one module. An object, so that it can be copied."""

    module: nn.Conv2d

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _is_plain(x, weight):
            return pointwise_conv2d(x, weight, bias)
        module = self.module
        own: Tensor = type(module)._conv_forward(module, x, weight, bias)
        return own


def _is_eligible(module: nn.Module) -> bool:
    """Returns whether a module is a 1x1 convolution of torch's own kind."""
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == 1
        and module.kernel_size == (1, 1)
        and module.padding in ((0, 0), "valid", "same")
        and type(module).forward is nn.Conv2d.forward
        and type(module)._conv_forward is nn.Conv2d._conv_forward
    )


def accelerate_pointwise(model: nn.Module, *, enabled: bool = True) -> int:
    """Has a network's 1x1 convolutions computed faster on maps of one pixel; returns how many.

    Types, parameters, buffers and state dict stay as they are. The network can be copied, pickled
    and run in any mode; :func:`restore_pointwise` takes the change back.

    Args:
        model: The network, changed in place. Doing so twice is harmless.
        enabled: False leaves the network alone and returns 0.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3))
        >>> accelerate_pointwise(network), restore_pointwise(network)
        (1, 1)
    """
    changed = 0
    for module in model.modules() if enabled else ():
        if _is_eligible(module) and "_conv_forward" not in vars(module):
            assert isinstance(module, nn.Conv2d)
            # setattr: the type checker does not let methods be assigned to.
            setattr(module, "_conv_forward", _Accelerated(module))  # noqa: B010  # see above
            changed += 1
    return changed


def restore_pointwise(model: nn.Module) -> int:
    """Undoes :func:`accelerate_pointwise`; returns how many convolutions it gave back."""
    restored = 0
    for module in model.modules():
        if isinstance(vars(module).get("_conv_forward"), _Accelerated):
            delattr(module, "_conv_forward")
            restored += 1
    return restored
