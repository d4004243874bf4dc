"""How many threads a small rest of a network is trained with: one.

A step of a head on kept features takes a fraction of a millisecond, and threads that share it wait
for each other longer than that: at once where another process uses the machine (6,000 features of
1,280 numbers on two busy cores, an epoch: 0.34 s with one thread, 7 to 9 s with two).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

__all__ = ["is_small", "one_thread", "threads_for"]

_SMALL = 2**22
# Multiplications of a forward pass: a third of a millisecond on one core.


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes with one thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(module: nn.Module, *, batch_size: int, whole: bool) -> AbstractContextManager[None]:
    """Computes with one thread inside the block where a batch is small work.

    A function of the module and the batch alone, so a resumed run computes with as many.

    Args:
        module: What is computed. Each parameter is taken to be used once for each sample.
        batch_size: Samples at once.
        whole: Whether it is a whole network, whose parameters are used many times.
    """
    return one_thread() if not whole and is_small(module, batch_size=batch_size) else nullcontext()


def is_small(module: nn.Module, *, batch_size: int) -> bool:
    """Returns whether a batch is small work for a module that uses each parameter once."""
    return batch_size * sum(p.numel() for p in module.parameters()) <= _SMALL
