"""Where a NaN or an infinity comes from: the first module, parameter or gradient that has one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from zoo.errors import printable
from zoo.network.statistics import statistics_held

__all__ = ["count_non_finite", "first_non_finite", "non_finite_at_rest"]


def count_non_finite(tensor: Tensor) -> str:
    """Returns ``3 NaN, 1 infinite of 640 values``, empty when all are finite.

    >>> count_non_finite(torch.tensor([1.0, float("nan"), float("-inf"), 0.0]))
    '1 NaN, 1 infinite of 4 values'
    """
    if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
        return ""
    kinds = ((int(tensor.isnan().sum()), "NaN"), (int(tensor.isinf().sum()), "infinite"))
    counted = ", ".join(f"{number} {kind}" for number, kind in kinds if number)
    return f"{counted} of {tensor.numel()} values"


@torch.no_grad()
def first_non_finite(model: nn.Module, inputs: Tensor) -> str:
    """Returns what is the first in a forward pass to be NaN or infinite, in words.

    The batch itself, else the output of the first module in the order of the pass (the innermost
    one, with its parameters if the fault is in them), else a parameter, a gradient or a buffer.
    Empty when all are finite. Leaves the network as it was.

    Args:
        model: The network, in the modes in which the fault was seen. Not a compiled one.
        inputs: The batch, as the network is given it.
    """
    if found := count_non_finite(inputs):
        return f"the input batch: {found}"
    return _in_the_pass(model, inputs) or non_finite_at_rest(model, gradients=True)


class _Found(Exception):
    """Ends the pass where the first bad output is."""


def _in_the_pass(model: nn.Module, inputs: Tensor) -> str:
    """Runs the network until an output is not finite."""
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, _: object, output: object) -> None:
        for tensor in _tensors(output):
            if found := count_non_finite(tensor):
                raise _Found(f"the output of {_called(names[module], module)}: {found}", module)

    handles = [module.register_forward_hook(look) for module in names]
    try:
        with statistics_held(model):
            model(inputs)
    except _Found as error:
        text, module = error.args
        own = [
            f"its {printable(name)} has {bad}"
            for name, parameter in module.named_parameters(recurse=False)
            if (bad := count_non_finite(parameter))
        ]
        return "; ".join([text, *own])
    finally:
        for handle in handles:
            handle.remove()
    return ""


def non_finite_at_rest(module: nn.Module, *, prefix: str = "", gradients: bool = False) -> str:
    """Returns which tensor is the first to be NaN or infinite, in words; empty if none is.

    Args:
        module: Its parameters are looked at, and its buffers after them.
        prefix: Name of the module in the network.
        gradients: Whether its gradients are looked at in between.
    """
    parameters = list(module.named_parameters(prefix=prefix))
    kinds: list[tuple[str, list[tuple[str, Tensor]]]] = [
        ("the parameter", [(name, p.detach()) for name, p in parameters]),
        (
            "the gradient of",
            [(name, p.grad) for name, p in parameters if gradients and p.grad is not None],
        ),
        ("the buffer", [(n, _unmasked(b)) for n, b in module.named_buffers(prefix=prefix)]),
    ]
    for kind, tensors in kinds:
        for name, tensor in tensors:
            if found := count_non_finite(tensor):
                return f"{kind} {printable(name)}: {found}"
    return ""


def _unmasked(buffer: Tensor) -> Tensor:
    """Returns a buffer without minus infinity, which is how an attention's mask says no."""
    if not buffer.is_floating_point():
        return buffer
    return buffer.masked_fill(buffer == -math.inf, 0)


def _called(name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    return f"{printable(name)} ({kind})" if name else f"the network ({kind})"


def _tensors(value: object) -> Iterator[Tensor]:
    """Yields the tensors in what a module returned."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
