"""What a differentiated pass of a network shows: who uses what, and that a change alters nothing.

N samples, C channels, H W rows and columns.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

__all__ = ["differentiated", "gradient_users", "proves_out"]

_TOLERANCE = 1e-4  # share of the largest output; rounding makes about 1e-6


def differentiated(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    """Returns a network's outputs, with the graph that made them."""
    with torch.enable_grad():
        # A copy: a network may write into what it is given, and a leaf is not written into.
        output: Tensor = model(images_NCHW.detach().requires_grad_().clone())
    return output


def gradient_users(output: Tensor) -> Counter[Node]:
    """Returns to how many others each operation of a graph gives its result, as gradients go."""
    users: Counter[Node] = Counter()
    waiting, seen = [output.grad_fn], {output.grad_fn}
    while waiting:
        node = waiting.pop()
        for before, _ in node.next_functions if node is not None else ():
            if before is not None:
                users[before] += 1
                if before not in seen:
                    seen.add(before)
                    waiting.append(before)
    return users


def proves_out(model: nn.Module, images_NCHW: Tensor) -> bool:
    """Returns whether a differentiated pass gives what a plain one gives."""
    with torch.no_grad():
        plain: Tensor = model(images_NCHW.clone())
    found = differentiated(model, images_NCHW).detach()
    return bool((found - plain).abs().max() <= _TOLERANCE * plain.abs().max())
