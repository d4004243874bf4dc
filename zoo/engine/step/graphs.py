"""What a compiled network returns, kept where its next pass does not write.

torch.compile can replay the passes of a network as CUDA graphs (``reduce-overhead``,
``max-autotune``). Logits and gradients then lie in memory that belongs to the graph, and the next
pass writes to it: torch wants to be told when one begins, and a copy of what is needed after that.
A gradient is no exception, since autograd takes the first one as it comes instead of copying it
(pytorch/pytorch#169545). So it is a copy that the parts of a batch are added to.

Written by torch's documentation ("CUDAGraph Trees") and its code; not run on a GPU so far.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["GRAPH_MODES", "begin_pass", "is_compiled", "keep_gradients"]

GRAPH_MODES = ("reduce-overhead", "max-autotune")
"""The modes of torch.compile that replay CUDA graphs."""


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile computes a network, which may be shared among processes."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module
    return module._compiled_call_impl is not None


def begin_pass() -> None:
    """Tells torch that a forward pass of a compiled network begins: memory of the last is free.

    From the first call on torch goes by these alone, so each pass needs its own.
    """
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch


def keep_gradients(parameters: Iterable[Tensor]) -> None:
    """Puts copies in the place of the gradients, which the next pass does not overwrite."""
    with torch.inference_mode(False), torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()
