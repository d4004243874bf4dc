"""Which batch norms get the output of which convolution, seen in a forward pass.

A pair is found by watching and not by the order of attributes: the norm is given the very tensor
that the convolution returned, unchanged. :mod:`zoo.network.inference.folding` and
:mod:`zoo.network.fast.held_norms` make one layer of the two.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Pair", "adjacent_pairs", "is_constant_norm"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A convolution and the batch norm that gets its output."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d | nn.SyncBatchNorm


def adjacent_pairs(
    model: nn.Module,
    images_NCHW: Tensor,
    *,
    seen: Callable[[nn.Conv2d, Tensor, Tensor], None] = lambda convolution, given, returned: None,
) -> list[Pair]:
    """Returns the pairs of convolution and batch norm that a forward pass in evaluation shows.

    Both are called once in the pass, and nothing was written into the tensor between them.

    Args:
        model: The network. It is not changed.
        images_NCHW: A few images, on its device.
        seen: Told of each call of a convolution whose weight is used as it stands: its maps before
            and after.
    """
    returned: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    given: list[tuple[nn.Module, nn.Conv2d | None]] = []
    calls: dict[nn.Module, int] = {}

    def convolved(module: nn.Module, args: tuple[object, ...], output: object) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            if len(args) == 1 and isinstance(args[0], Tensor):
                seen(module, args[0], output)
            # Held, so that no other tensor gets its id while the pass lasts.
            returned[id(output)] = (module, output, output._version)

    def normed(module: nn.Module, args: tuple[object, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        tensor = args[0] if len(args) == 1 else None
        convolution, _, version = returned.get(id(tensor), (None, None, None))
        same = isinstance(tensor, Tensor) and tensor._version == version
        given.append((module, convolution if same else None))

    # Taken before the hooks are there: a module with hooks of its own is left alone.
    convolutions = [m for m in model.modules() if _foldable(m)]
    norms = [m for m in model.modules() if is_constant_norm(m)]
    hooks = [
        *(module.register_forward_hook(convolved) for module in convolutions),
        *(module.register_forward_pre_hook(normed) for module in norms),
    ]
    try:
        # Not in inference mode: tensors count their versions only outside it.
        with torch.inference_mode(mode=False), torch.no_grad():
            model(images_NCHW.clone())
    finally:
        for hook in hooks:
            hook.remove()
    fed = [convolution for _, convolution in given]
    return [
        Pair(convolution=convolution, norm=norm)
        for norm, convolution in given
        if convolution is not None
        and isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
        and calls[norm] == calls[convolution] == fed.count(convolution) == 1
    ]


def is_constant_norm(module: nn.Module) -> bool:
    """Returns whether a module scales and shifts by constants in evaluation, with no hook on it."""
    cls = type(module)
    known = cls in (nn.BatchNorm2d, nn.SyncBatchNorm) or (
        cls.__name__ in ("BatchNormAct2d", "SyncBatchNormAct") and cls.__module__[:5] == "timm."
    )
    return known and not _hooked(module) and module.running_mean is not None


def _foldable(module: nn.Module) -> bool:
    """Whether a module is a convolution with its weight as it stands, and no hook."""
    cls = type(module)
    # Standardised and reparametrised convolutions compute their weight; they are other classes.
    # timm's SAME convolution is told by name, so that a network from elsewhere needs no timm.
    plain = cls is nn.Conv2d or (cls.__name__ == "Conv2dSame" and cls.__module__[:5] == "timm.")
    return plain and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
