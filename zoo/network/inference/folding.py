"""A copy of a network that computes the same with less: batch norms within convolutions, products.

In evaluation a batch norm is a scale and a shift per channel, both constant, and so can be part of
the convolution whose output it is given. A pair is found by watching a forward pass and not by the
order of attributes: the norm is given the very tensor that the convolution returned, unchanged.

A convolution of a map of one pixel is a matrix product of the images with the one tap that lies on
it. Runtimes compute it image by image, and read the weight again for each: for squeezes and
excitations and the last layer of mobilenetv3_large that was a sixth of OpenVINO's pass over images
of 64 pixels (one thread, AMD EPYC).

N samples, C channels, H W rows and columns, K classes, O channels of an output.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.network.fast import restore
from zoo.network.fast.pointwise import pointwise_conv2d
from zoo.network.fast.stand_in import StandIn
from zoo.network.inference.prefix import headless
from zoo.network.pairs import Pair, adjacent_pairs

__all__ = ["folded_copy"]


def folded_copy(
    model: nn.Module, images_NCHW: Tensor, *, head: str | None = None
) -> tuple[nn.Module, int]:
    """Returns a copy for inference, and how many batch norms were folded into convolutions.

    The copy is for images of this size. It is on the CPU, in evaluation mode and channels_last, its
    tensors are its own, and what :mod:`zoo.network.fast` put into a training step between layers is
    out of it. It is right if each pair's
    convolution feeds nothing but its norm, which a pass cannot tell: compare the outputs before
    use.

    Args:
        model: The network, on any device. It is not changed.
        images_NCHW: A few images, on any device.
        head: Name of the head, whose place is empty in the copy.
    """
    # On the CPU: not every device has the float64 that folding computes in.
    twin = copy.deepcopy(model).cpu().requires_grad_(False).eval()
    restore(twin)
    if head is not None:
        twin = headless(twin, head)
    taps: dict[nn.Conv2d, tuple[int, int] | None] = {}

    def seen(convolution: nn.Conv2d, given_NCHW: Tensor, returned_NOHW: Tensor) -> None:
        always = taps.get(convolution, (0, 0)) is not None
        tap = _only_tap(convolution, given_NCHW, returned_NOHW)
        taps[convolution] = tap if always else None

    pairs = adjacent_pairs(twin, images_NCHW.cpu(), seen=seen)
    for pair in pairs:
        _fold(pair)
    _replace(twin, {pair.norm: _beyond_scale(pair.norm) for pair in pairs})
    for convolution, tap in taps.items():
        if tap is not None:
            product = _Product(convolution, "_conv_forward", tap)
            # setattr: the type checker does not let methods be assigned to.
            setattr(convolution, "_conv_forward", product)  # noqa: B010
    return twin.eval().to(memory_format=torch.channels_last), len(pairs)


class _Product(StandIn[nn.Conv2d]):
    """A convolution of maps of one pixel, as the matrix product that it is."""

    __slots__ = ("_tap",)

    def __init__(self, module: nn.Conv2d, method: str, tap: tuple[int, int]) -> None:
        super().__init__(module, method)
        self._tap = tap

    def __call__(self, x_NC11: Tensor, weight_OCHW: Tensor, bias_O: Tensor | None) -> Tensor:
        # No look at a shape: it would be in what an exporter traces.
        row, column = self._tap
        return pointwise_conv2d(
            x_NC11, weight_OCHW[:, :, row : row + 1, column : column + 1], bias_O
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.module, self.method, self._tap)


def _only_tap(
    convolution: nn.Conv2d, given_NCHW: Tensor, returned_NOHW: Tensor
) -> tuple[int, int] | None:
    """Returns row and column of the tap that lies on a map of one pixel, if there is but one."""
    padding, dilation = convolution.padding, convolution.dilation
    if (
        type(convolution) is not nn.Conv2d
        or convolution.groups != 1
        or convolution.padding_mode != "zeros"
        or isinstance(padding, str)
        or given_NCHW.shape[2:] != (1, 1)
        or returned_NOHW.shape[2:] != (1, 1)
    ):
        return None
    row, column = padding[0] // dilation[0], padding[1] // dilation[1]
    lies = (row * dilation[0], column * dilation[1]) == tuple(padding)
    rows, columns = convolution.kernel_size
    return (row, column) if lies and row < rows and column < columns else None


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
