"""Another classifier in the place of a network's own.

B batch, C channels, H height, W width, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import PluginError, UsageError, in_words
from zoo.network.head import head_input
from zoo.network.modes import evaluation_mode

__all__ = ["replace_head"]


@torch.no_grad()
def replace_head(
    model: nn.Module,
    *,
    head: tuple[str, ...],
    images_BCHW: Tensor,
    build: Callable[[int], nn.Module],
) -> tuple[str, ...]:
    """Puts a new module where the network's head is, and returns its name.

    What the network does before its head (pooling, norms, dropout) stays. From then on ``zoo_head``
    names the whole new module, so that it is the head whatever it is made of.

    Args:
        model: The network. Unchanged when this raises.
        head: Names of its head's modules.
        images_BCHW: Two images or more, on the network's device.
        build: Makes the new head of the number of features, F. It maps features_BF to logits_BK.

    Raises:
        UsageError: The network has several heads, or what it gives to its head is no features_BF.
    """
    kind = type(model).__name__
    if len(head) != 1:
        raise UsageError(
            f"--head: {kind} has {len(head)} heads and takes the mean of them",
            found=", ".join(head),
            hint="leave --head out, or choose a network with one head",
        )
    (name,) = head
    if not name:
        raise UsageError(
            f"--head: {kind} is nothing but a head, so there is none to replace",
            hint="leave --head out",
        )
    features_BF = _features(model, name, images_BCHW)
    old = model.get_submodule(name)
    new = build(features_BF.shape[1]).train(old.training)
    model.set_submodule(name, new)
    try:
        _features(model, name, images_BCHW)
    except Exception as error:  # of a stranger's code that looks into its own head
        model.set_submodule(name, old)
        raise UsageError(
            f"--head: {kind} cannot do with another module in the place of its head {name!r}",
            found=in_words(error),
            hint="leave --head out, or choose another network",
        ) from error
    model.zoo_head = name  # type: ignore[assignment]  # a plain attribute, which find_head reads
    return head


def _features(model: nn.Module, name: str, images_BCHW: Tensor) -> Tensor:
    """Returns what the head is given, which is a row of numbers for each image.

    Raises:
        UsageError: It is not.
    """
    kind = type(model).__name__
    try:
        with evaluation_mode(model):
            found = head_input(model, name, images_BCHW)
    except PluginError as error:
        raise UsageError(
            f"--head: {error.what}, so another one cannot stand in its place",
            hint="leave --head out, or choose another network",
        ) from error
    if found.ndim != 2 or len(found) != len(images_BCHW):
        raise UsageError(
            f"--head: {kind} gives its head {name!r} {tuple(found.shape)} for {len(images_BCHW)} "
            "images, not a row of features for each",
            hint="leave --head out, or choose a network that pools before its head",
        )
    return found
