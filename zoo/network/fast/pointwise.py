"""1x1 convolutions on few pixels, as the matrix product that they are.

Squeeze-and-excitation layers and the last layer of MobileNets are 1x1 convolutions of one pixel; on
small images the last blocks of any network have maps of 2x2. oneDNN, which torch calls for a
convolution on the CPU, needs up to three times as long for them as the matrix product does, most of
it for the gradient of the weight. Output and gradients are the same sums in another order.

:func:`accelerate_pointwise` leaves the types of a network's modules, its parameters and its state
dict alone. Only eager float32 on the CPU is computed in this way; all else runs torch's own code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.network.fast.eager import is_eager_float32
from zoo.network.fast.stand_in import StandIn

__all__ = ["accelerate_pointwise", "pointwise_conv2d", "restore_pointwise"]


_MOST_PIXELS = 576
"""With more in a batch (its images times their pixels) the product is no faster."""


def pointwise_conv2d(x_BCHW: Tensor, weight_OC11: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """Returns the 1x1 convolution (B, O, H, W) with stride 1, as a matrix product.

    For every dtype and device; derivatives of any order are those of ``functional.linear``. In
    channels_last nothing is copied, and the output is in channels_last.

    How many times as long the convolution takes, forward and backward, in channels_last, two
    threads of an AMD EPYC (AVX512) that did nothing else and (one), torch 2.14.1, medians of 40;
    ``benchmarks/step.py --layers``:

    ===========  ==========================  ==========================  =============
    map          batch 64                    batch 16                    rewritten
    ===========  ==========================  ==========================  =============
    1x1          1.8 to 2.3 (1.9 to 2.3)     1.5 to 2.3                  yes
    2x2          1.2 to 1.6 (1.1 to 1.4)     1.4 to 2.2                  yes
    3x3          1.0 to 1.3 (1.0 to 1.2)     1.1 to 1.6                  yes
    4x4          0.9 to 1.2 (0.9 to 1.1)     1.0 to 1.4                  at batch 16
    7x7          0.9 to 1.0 (0.9 to 1.0)     0.9 to 1.3                  no
    ===========  ==========================  ==========================  =============

    Channels from 40 to 240, 80 to 480, 112 to 672, 160 to 960, 192 to 1152, 320 to 1280, 512 to
    2048 and back.

    Example:
        >>> pointwise_conv2d(torch.ones(2, 3, 1, 1), torch.ones(4, 3, 1, 1)).flatten().tolist()
        [3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    """
    product_BHWO = functional.linear(x_BCHW.permute(0, 2, 3, 1), weight_OC11.flatten(1), bias_O)
    return product_BHWO.permute(0, 3, 1, 2)


def _wins(x: Tensor, weight: Tensor, stride: tuple[int, ...]) -> bool:
    """Returns whether the matrix product is measured to be faster for a batch of maps.

    Without gradients the number of images has no part in it, so that an image's features are the
    same to the bit in any company.
    """
    num_images, _, height, width = x.shape
    if height == width == 1:
        return True
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and stride == (1, 1)
        and 0 < num_images * height * width <= _MOST_PIXELS
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.backends.cpu.get_cpu_capability() == "AVX512"  # where it was measured
    )


class _Accelerated(StandIn[nn.Conv2d]):
    """The matrix product where it wins, else the convolution."""

    __slots__ = ()

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        module = self.module
        if is_eager_float32(x, weight) and _wins(x, weight, module.stride):
            return pointwise_conv2d(x, weight, bias)
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
    """Has a network's 1x1 convolutions computed faster on few pixels; returns how many.

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
            setattr(module, "_conv_forward", _Accelerated(module, "_conv_forward"))  # noqa: B010
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
