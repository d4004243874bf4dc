"""A network as in evaluation, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluation_mode"]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Puts every module in evaluation mode, and each back in its own mode afterwards.

    A network that torch compiles is computed as Python has it meanwhile: compiled code calls the
    hooks that there were when it was made (torch 2.14), and takes long to make for a pass or two.
    """
    modes = [(module, module.training) for module in model.modules()]
    compiled = [(m, m._compiled_call_impl) for m, _ in modes if m._compiled_call_impl is not None]
    model.eval()
    for module, _ in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
        for module, mode in modes:
            module.training = mode
