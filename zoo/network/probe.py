"""Whether a network takes images of a size, found out before anything is trained.

For the factories of models: architectures have their own ideas of sizes (patches, windows,
strides), and say so in many ways. B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.errors import UsageError, in_words

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["build_for_size", "output_shape", "size_that_works"]

_REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, ArithmeticError, KeyError)
"""What networks raise for a size that they cannot take, while built or while run."""


def build_for_size(
    create: Callable[[int], nn.Module],
    *,
    name: str,
    num_classes: int,
    channels: int,
    image_size: int,
    own_size: int,
) -> nn.Module:
    """Returns the network that ``create`` builds for a size, proved to take images of that size.

    Args:
        create: Builds the network for an image size in pixels.
        name: What messages call it.
        num_classes: How many logits it must return.
        channels: Of the images.
        image_size: Side of the square images, pixels.
        own_size: The size it was designed for, pixels.

    Raises:
        UsageError: It refuses the size; the message has a size that works. Or it is no classifier.
    """
    try:
        model = create(image_size)
        shape = output_shape(model, channels=channels, image_size=image_size)
    except _REFUSALS as error:
        works = size_that_works(create, channels=channels, image_size=image_size, own_size=own_size)
        if works is None:  # then the size is not what is wrong
            raise
        raise UsageError(
            f"{name} does not take images of {image_size} x {image_size} pixels",
            found=in_words(error, kind=False),
            hint=f"--img-size {works}",
        ) from error
    if shape != (1, num_classes):
        raise UsageError(
            f"{name} is no classifier: for an image it returns {shape or 'no tensor'}",
            found=f"logits of shape {(1, num_classes)} are needed",
            hint="choose a model with a classification head",
        )
    return model


def output_shape(model: nn.Module, *, channels: int, image_size: int) -> tuple[int, ...]:
    """Returns the shape of what a network returns for one image; empty if that is no tensor.

    One image is really computed: for the networks that people train on small machines that is
    faster than working out shapes alone. Training modes and weights are left as they were.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(1, channels, image_size, image_size, device=device))
    finally:
        for module, mode in modes:
            module.training = mode
    return tuple(output.shape) if isinstance(output, Tensor) else ()


def size_that_works(
    create: Callable[[int], nn.Module], *, channels: int, image_size: int, own_size: int
) -> int | None:
    """Returns a size near the asked one that the network takes; None if none does."""
    above = -(-image_size // 32) * 32
    for_patches_of_14 = -(-image_size // 14) * 14
    nearest = (above, above - 32, above + 32, for_patches_of_14, 28, 64, 96, 128, 224, own_size)
    # Shapes alone do not do for every network, and say too much of some: of one in half precision.
    tries = [(size, ("meta", "cpu")) for size in dict.fromkeys(nearest)]
    for size, devices in (*tries, (own_size, ("cpu",))):
        if size < 8 or size == image_size or size > 4 * max(own_size, 224):
            continue
        try:
            for device in devices:
                with torch.device(device), torch.no_grad():
                    create(size).eval()(torch.zeros(1, channels, size, size))
        except Exception:  # refused in whatever way: the next one
            continue
        return size
    return None
