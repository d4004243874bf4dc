"""Puts the fast gradient of :mod:`zoo.network.fast.depthwise_gradient` into a network.

:func:`accelerate_depthwise` leaves the types of a network's modules, its parameters and its state
dict alone. Only eager training steps in float32 on the CPU use the gradient, and only the shapes in
which it is known to be faster; all else runs torch's own code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.network.fast.blocks import block_of
from zoo.network.fast.depthwise_gradient import depthwise_conv2d
from zoo.network.fast.depthwise_shapes import Padding, Pair, wins
from zoo.network.fast.eager import is_training_step
from zoo.network.fast.stand_in import StandIn

__all__ = ["accelerate_depthwise", "accelerated", "restore_depthwise"]


def _same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Returns TensorFlow's SAME padding, (before, after), of one axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Accelerated(StandIn[nn.Conv2d]):
    """Our convolution where it wins, else the method."""

    __slots__ = ()

    def __call__(self, x: Tensor, *arguments: Tensor | None) -> Tensor:
        module = self.module
        # _conv_forward(input, weight, bias) is given them; Conv2dSame.forward(input) is not.
        weight, bias = arguments or (module.weight, module.bias)
        if weight is not None and is_training_step(x, weight):
            kernel, stride = (
                (weight.shape[2], weight.shape[3]),
                (module.stride[0], module.stride[1]),
            )
            padding = self._padding((x.shape[2], x.shape[3]), kernel, stride)
            block = block_of(module)
            if block is not None and block.takes(x):
                return block.convolved(x, weight, bias, stride=stride, padding=padding)
            if wins(
                batch=x.shape[0],
                channels=x.shape[1],
                size=(x.shape[2], x.shape[3]),
                kernel=kernel,
                stride=stride,
                padding=padding,
                capability=torch.backends.cpu.get_cpu_capability(),
            ):
                return depthwise_conv2d(x, weight, bias, stride=stride, padding=padding)
        own: Tensor = getattr(type(module), self.method)(module, x, *arguments)
        return own

    def _padding(self, size: Pair, kernel: Pair, stride: Pair) -> Padding:
        padding = self.module.padding
        if self.method == "forward" or padding == "same":
            top, bottom = _same_padding(size[0], kernel[0], stride[0])
            left, right = _same_padding(size[1], kernel[1], stride[1])
            return left, right, top, bottom
        if isinstance(padding, str):  # "valid"
            return 0, 0, 0, 0
        return padding[1], padding[1], padding[0], padding[0]


def _method(module: nn.Module) -> str | None:
    """Returns the name of the method to stand in for, None if the module is not eligible."""
    if not (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
        and module.padding_mode == "zeros"
        and set(module.dilation) == {1}
        and max(module.kernel_size) > 1
    ):
        return None
    cls = type(module)
    if cls.forward is nn.Conv2d.forward and cls._conv_forward is nn.Conv2d._conv_forward:
        return "_conv_forward"
    # timm's convolution with SAME padding by the size of its input, told by name so that a
    # network from elsewhere needs no timm.
    if cls.__name__ == "Conv2dSame" and cls.__module__.startswith("timm."):
        return "forward"
    return None


def accelerate_depthwise(model: nn.Module, *, enabled: bool = True) -> int:
    """Gives a network's depthwise convolutions our gradient; returns how many got it.

    Types, parameters, buffers and state dict stay as they are. The network can be copied, pickled
    and run in any mode; :func:`restore_depthwise` takes the change back, which scripting and
    tracing of the modules' Python code (``torch.jit.script``) need.

    Args:
        model: The network, changed in place. Doing so twice is harmless.
        enabled: False leaves the network alone and returns 0.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 4, 1))
        >>> accelerate_depthwise(network)
        1
        >>> restore_depthwise(network)
        1
    """
    changed = 0
    for module in model.modules() if enabled else ():
        method = _method(module)
        if method is not None and method not in vars(module):
            assert isinstance(module, nn.Conv2d)
            setattr(module, method, _Accelerated(module, method))
            changed += 1
    return changed


def accelerated(model: nn.Module) -> list[nn.Conv2d]:
    """Returns the depthwise convolutions that :func:`accelerate_depthwise` has changed."""
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and _method(module) in vars(module)
    ]


def restore_depthwise(model: nn.Module) -> int:
    """Undoes :func:`accelerate_depthwise`; returns how many convolutions it gave back."""
    restored = 0
    for module in model.modules():
        for name in ("_conv_forward", "forward"):
            if isinstance(vars(module).get(name), _Accelerated):
                delattr(module, name)
                restored += 1
    return restored
