"""``--head``: a component in the place of a network's own classifier.

A run's weights fit the network with that head alone, so whoever builds a run's network again comes
through here: a resume, an evaluation, a teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from zoo.engine.assembly.choices import preprocessing_of
from zoo.errors import PluginError, UsageError, ZooError, in_words
from zoo.network.head import find_head
from zoo.network.probe import size_that_works
from zoo.network.replacing import replace_head
from zoo.registry import Choice
from zoo.registry.loading import build_as, failure
from zoo.runs.plain_files import table_of, text_of

__all__ = ["build_network", "recorded_head", "wrong_size"]


def build_network(
    model: Choice, head: Choice | None, *, num_classes: int, channels: int, image_size: int
) -> nn.Module:
    """Returns a network with random weights, with its own head or another one.

    The head is drawn after the rest, so the rest has the same weights whichever head it is.

    Args:
        model: The network.
        head: What takes the place of its head; None leaves that.
        num_classes: Outputs.
        channels: 3 for colour, 1 for grey.
        image_size: Side of the input, pixels.

    Raises:
        UsageError: The network has no head that another could take the place of.
        PluginError: What is built is no network, or no head of these classes.
    """
    network = _network(model, num_classes=num_classes, channels=channels, image_size=image_size)
    if head is None:
        return network
    own = torch.Generator().manual_seed(0)
    images_BCHW = torch.rand(2, channels, image_size, image_size, generator=own)
    try:
        replace_head(
            network, head=find_head(network, num_classes=num_classes), images_BCHW=images_BCHW,
            build=lambda num_features: _built(head, num_features, num_classes),
        )  # fmt: skip
    except ZooError:
        raise
    except Exception as error:
        raise wrong_size(
            model, error, num_classes=num_classes, channels=channels, image_size=image_size
        ) from error
    return network


def wrong_size(
    model: Choice, error: Exception, *, num_classes: int, channels: int, image_size: int
) -> ZooError:
    """Returns what to tell the user when a network fails on images of a size.

    Other sizes are tried: where none of them works, the size is not what is wrong.

    Args:
        model: The network.
        error: What it raised.
        num_classes: Its outputs.
        channels: Of the images.
        image_size: Their side, pixels.
    """
    works = size_that_works(
        lambda size: _network(
            model, num_classes=num_classes, channels=channels, image_size=size
        ),
        channels=channels, image_size=image_size, own_size=preprocessing_of(model, None).image_size,
    )  # fmt: skip
    size = f"{image_size}x{image_size} pixels in {channels} channels"
    if works is None:
        return failure(model.entry, f"failed on images of {size} and of other sizes", error)
    return UsageError(
        f"{model.entry.id} does not take {size}",
        found=in_words(error, kind=False), hint=f"--img-size {works}",
    )  # fmt: skip


def _network(model: Choice, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    network: nn.Module = build_as(
        model, "a torch.nn.Module", _is_module,
        num_classes=num_classes, channels=channels, image_size=image_size,
    )  # fmt: skip
    return network


def _is_module(made: object) -> bool:
    return isinstance(made, nn.Module)


@torch.no_grad()
def _built(choice: Choice, num_features: int, num_classes: int) -> nn.Module:
    """Returns a head, tried on two rows of features."""
    head: nn.Module = build_as(
        choice, "a torch.nn.Module", _is_module, num_features=num_features, num_classes=num_classes
    )
    asked = f"report it to the authors of {choice.entry.origin}, or choose another head"
    modes = head.training
    try:
        logits_BK: object = head.eval()(torch.zeros(2, num_features))
    except Exception as error:
        raise PluginError(
            f"the head {choice.entry.id} does not take 2 rows of {num_features} features",
            found=in_words(error), hint=asked,
        ) from error  # fmt: skip
    shape = tuple(getattr(logits_BK, "shape", ())) or type(logits_BK).__name__
    if shape != (2, num_classes):
        raise PluginError(
            f"the head {choice.entry.id} maps 2 rows of features to {shape}, not to "
            f"{(2, num_classes)}",
            hint=asked,
        )
    return head.train(modes)


def recorded_head(weights: Path | None) -> str | None:
    """Returns the spec of the head that a run's weights have besides their network; None without.

    Args:
        weights: A weights file or its folder. A run and an export have ``model.json`` beside it.
    """
    if weights is None:
        return None
    folder = weights if weights.is_dir() else weights.parent
    table = table_of(folder / "model.json")
    components = table.get("components", table) if isinstance(table, Mapping) else None
    head = components.get("head") if isinstance(components, Mapping) else None
    return (text_of(head.get("spec")) or None) if isinstance(head, Mapping) else None
