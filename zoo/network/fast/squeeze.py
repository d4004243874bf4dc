"""Squeeze and excitation with fewer passes over its maps.

    y = x gate(mean(x)),    gate: a small network

torch makes the gradient of x of two parts, that of the product and that of the mean, each of them
a map, and adds them. Here one pass makes it (``native/squeeze.c``), and the gate and its gradients
are torch's own, by the modules that there are.

:func:`fuse_squeezes` leaves the types of a network's modules, its parameters and its state dict as
they are. Only eager training steps in float32 on the CPU, in channels_last, are computed so.

Squeeze and excitation is of Hu et al., "Squeeze-and-Excitation Networks", 2018.

Shapes: B batch, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.network.fast.eager import is_eager_float32, is_watched
from zoo.network.fast.native.kernels import Kernels
from zoo.network.fast.proof import proves_out
from zoo.network.fast.stand_in import StandIn
from zoo.network.modes import evaluation_mode

__all__ = ["fuse_squeezes", "restore_squeezes", "squeezed"]

_GATES: Mapping[str, tuple[str, ...]] = {
    "timm.models._efficientnet_blocks.SqueezeExcite": (
        "conv_reduce",
        "act1",
        "conv_expand",
        "gate",
    ),
    "timm.layers.squeeze_excite.SEModule": ("fc1", "bn", "act", "fc2", "gate"),
    "torchvision.ops.misc.SqueezeExcitation": ("fc1", "activation", "fc2", "scale_activation"),
}
# By the class: the modules that make the gate of the mean, in their order.


class _Shared:
    """What the gradients of the mean and of the product know of each other.

    Attributes:
        gate: What the product's leaves to the mean's: the gate, if it is not in its gradient yet.
        alone: Whether the product is all that the maps were used for. A gradient that is
            differentiated once more uses them, too.
    """

    __slots__ = ("alone", "gate")

    def __init__(self) -> None:
        self.gate: Tensor | None = None
        self.alone = True


def squeezed(x: Tensor, gate: Callable[[Tensor], Tensor], kernels: Kernels) -> Tensor:
    """Returns ``x * gate(x.mean((2, 3), keepdim=True))``, (B, C, H, W).

    Args:
        x: Float32 on the CPU, in channels_last.
        gate: Of means (B, C, 1, 1).
        kernels: The compiled library.
    """
    shared = _Shared()
    mean, same = _Mean.apply(x, shared, kernels)
    gate_BC11 = gate(mean)
    output: Tensor = (
        _Scaled.apply(same, gate_BC11, shared, kernels)
        if gate_BC11.shape == mean.shape and gate_BC11.dtype == x.dtype
        else same * gate_BC11
    )
    return output


class _Mean(torch.autograd.Function):
    """Returns the means of maps, and the maps for :class:`_Scaled` alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shared: _Shared, kernels: Kernels) -> tuple[Tensor, Tensor]:
        ctx.shared, ctx.kernels = shared, kernels
        return kernels.mean(x), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_mean, of_same = grads
        gate, ctx.shared.gate = ctx.shared.gate, None
        if gate is None:
            return of_same + of_mean / (of_same.shape[2] * of_same.shape[3]), None, None
        of_same = of_same.contiguous(memory_format=torch.channels_last)
        return ctx.kernels.of_maps(of_same, gate, of_mean.contiguous()), None, None


class _Scaled(torch.autograd.Function):
    """Returns maps times a gate. The gradient of the maps is finished by :class:`_Mean`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gate: Tensor, shared: _Shared, kernels: Kernels
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, gate)
        ctx.shared, ctx.kernels = shared, kernels
        return kernels.scaled(x, gate.contiguous())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, gate = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is asked for: torch has one
            ctx.shared.alone = False
        if not ctx.shared.alone:
            return grad * gate, (grad * x).sum((2, 3), keepdim=True), None, None
        grad = grad.contiguous(memory_format=torch.channels_last)
        ctx.shared.gate = gate.contiguous()
        return grad, ctx.kernels.of_gate(grad, x), None, None


class _Squeezed(StandIn[nn.Module]):
    """Stands in for ``forward`` of a squeeze and excitation.

    Args:
        module: It.
        kernels: The compiled library.
    """

    __slots__ = ("kernels",)

    def __init__(self, module: nn.Module, kernels: Kernels) -> None:
        super().__init__(module, "forward")
        self.kernels = kernels

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.module, self.kernels)

    def __call__(self, x: Tensor) -> Tensor:
        module = self.module
        layers = _layers(module)
        if not (
            torch.is_grad_enabled()
            and is_eager_float32(x, _weight(layers))
            and x.is_contiguous(memory_format=torch.channels_last)
            and x.numel() > 0
            and self.kernels.usable
            and not is_watched(getattr(module, "avgpool", None))
        ):
            own: Tensor = type(module).forward(module, x)
            return own

        def gate(mean: Tensor) -> Tensor:
            for layer in layers:
                mean = layer(mean)
            return mean

        return squeezed(x, gate, self.kernels)


def fuse_squeezes(model: nn.Module, images_NCHW: Tensor, kernels: Kernels) -> int:
    """Has squeezes and excitations pass over their maps less often; returns how many do.

    The network can be copied, pickled and run in any mode; :func:`restore_squeezes` takes the
    change back.

    Args:
        model: The network, changed in place. Left alone where the change would alter its outputs.
        images_NCHW: A few images, on the CPU.
        kernels: The compiled library.
    """
    restore_squeezes(model)
    found = [module for module in model.modules() if _is_known(module)] if kernels.usable else []
    for module in found:
        vars(module)["forward"] = _Squeezed(module, kernels)
    if found:
        with evaluation_mode(model), torch.inference_mode(mode=False):
            if not proves_out(model, images_NCHW):
                restore_squeezes(model)
                return 0
    return len(found)


def restore_squeezes(model: nn.Module) -> int:
    """Undoes :func:`fuse_squeezes`; returns how many modules it gave back."""
    restored = 0
    for module in model.modules():
        if isinstance(vars(module).get("forward"), _Squeezed):
            delattr(module, "forward")
            restored += 1
    return restored


def _name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _layers(module: nn.Module) -> list[nn.Module]:
    """Returns the modules that make the gate of the mean."""
    return [getattr(module, name) for name in _GATES[_name(module)]]


def _weight(layers: Sequence[nn.Module]) -> Tensor:
    weight = layers[0].weight
    assert isinstance(weight, Tensor)
    return weight


def _is_known(module: nn.Module) -> bool:
    """Whether a module is one of the classes that compute nothing else."""
    names = _GATES.get(_name(module), ())
    layers = [getattr(module, name, None) for name in names]
    return (
        bool(layers)
        and all(isinstance(layer, nn.Module) for layer in layers)
        and isinstance(getattr(layers[0], "weight", None), Tensor)
        and "forward" not in vars(module)
        and not getattr(module, "add_maxpool", False)
    )
