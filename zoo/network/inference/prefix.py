"""The part of a network before its head, as a module of its own."""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn

__all__ = ["headless", "prefix_of"]


def prefix_of(model: nn.Module, head: str) -> nn.Module:
    """Returns a module that maps images to what the head is given, mostly features_BF.

    It is the network with nothing in the head's place. That is the same as
    :func:`zoo.network.head.head_input` where the head was proved to be last
    (:func:`zoo.network.head.proves_out`), and only there.

    The module has its own structure and shares parameters and buffers with the network, so it
    costs no memory and must not be trained. Hooks on the network are copied with it.

    Args:
        model: The network; it is not changed. Its training modes are copied.
        head: The name of the head's module.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        >>> prefix_of(network, "1")
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Identity()
        )
    """
    tensors = chain(model.parameters(), model.buffers())
    return headless(copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}), head)


def headless(model: nn.Module, head: str) -> nn.Module:
    """Returns a network, which is changed, with nothing in the place of its head."""
    if not head:
        return nn.Identity()
    model.set_submodule(head, nn.Identity())
    return model
