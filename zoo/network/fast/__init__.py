"""Own code for layers of a training step on the CPU, where it is measured to be the faster one.

All of it leaves the types of a network's modules, its parameters and its state dict alone, computes
the same to the precision of float32, and is the same to the bit from run to run.

    depthwise.py    the weight gradient of depthwise convolutions: depthwise_gradient.py makes it,
                    depthwise_shapes.py says for which shapes
    pointwise.py    1x1 convolutions on few pixels, as matrix products
    held_norms.py   batch norms with held statistics, within the convolutions before them
    eager.py        the calls that this was made for
"""

from __future__ import annotations

from torch import nn

from zoo.network.fast.depthwise import accelerate_depthwise
from zoo.network.fast.held_norms import fold_held_norms
from zoo.network.fast.pointwise import accelerate_pointwise

__all__ = ["accelerate", "fold_held_norms"]


def accelerate(model: nn.Module, *, enabled: bool = True) -> None:
    """Has a network's convolutions computed by zoo's own code where that is faster.

    Args:
        model: The network, changed in place. Doing so twice is harmless.
        enabled: False leaves the network alone.
    """
    accelerate_depthwise(model, enabled=enabled)
    accelerate_pointwise(model, enabled=enabled)
