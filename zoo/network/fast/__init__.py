"""Own code for layers of a training step on the CPU, where it is measured to be the faster one.

All of it leaves the types of a network's modules, its parameters and its state dict alone, computes
the same to the precision of float32, and is the same to the bit from run to run.

    depthwise.py          depthwise convolutions: depthwise_gradient.py makes the gradient of the
                          weight, depthwise_shapes.py says for which shapes
    pointwise.py          1x1 convolutions on few pixels, as matrix products
    held_norms.py         batch norms with held statistics, within the convolutions before them
    blocks.py             depthwise convolutions and the norms and activations around them, one step
                          each: surroundings.py finds them, depthwise_block.py is the step, native/
                          the C that computes it
    squeeze.py            squeezes and excitations, with fewer passes over their maps
    eager.py, proof.py    the calls that this was made for, and that it alters nothing
"""

from __future__ import annotations

from torch import Tensor, nn

from zoo.network.fast.blocks import fuse_blocks, restore_blocks
from zoo.network.fast.depthwise import accelerate_depthwise, accelerated, restore_depthwise
from zoo.network.fast.held_norms import fold_held_norms, folded_pairs, restore_held_norms
from zoo.network.fast.native import Kernels
from zoo.network.fast.pointwise import accelerate_pointwise
from zoo.network.fast.proof import lone_pairs
from zoo.network.fast.squeeze import fuse_squeezes, restore_squeezes

__all__ = ["accelerate", "fuse", "restore"]


def accelerate(model: nn.Module, *, enabled: bool = True) -> None:
    """Has a network's convolutions computed by zoo's own code where that is faster.

    Args:
        model: The network, changed in place. Doing so twice is harmless.
        enabled: False leaves the network alone.
    """
    accelerate_depthwise(model, enabled=enabled)
    accelerate_pointwise(model, enabled=enabled)


def fuse(
    model: nn.Module,
    images_NCHW: Tensor,
    *,
    held: bool,
    kernels: Kernels | None = None,
    enabled: bool = True,
) -> None:
    """Has layers of a training step that follow each other computed together.

    Args:
        model: A network that :func:`accelerate` changed; changed in place.
        images_NCHW: A few images, on the network's device. On others than the CPU nothing is done.
        held: Whether batch norms hold their statistics.
        kernels: The library for depthwise blocks, and for squeezes and excitations; None leaves
            those as they are.
        enabled: False leaves the network alone.
    """
    if not enabled or images_NCHW.device.type != "cpu":
        return
    restore_blocks(model)
    if held:
        fold_held_norms(model, images_NCHW)
    if kernels is not None:
        fuse_blocks(
            model, images_NCHW, kernels,
            convolutions=accelerated(model), held=held,
            pairs=folded_pairs(model) if held else lone_pairs(model, images_NCHW),
        )  # fmt: skip
        fuse_squeezes(model, images_NCHW, kernels)


def restore(model: nn.Module) -> None:
    """Undoes what stands between a network's layers, and in its depthwise convolutions."""
    restore_squeezes(model)
    restore_blocks(model)
    restore_held_norms(model)
    restore_depthwise(model)
