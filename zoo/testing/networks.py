"""A model's network for its checks: built for images that it takes, run, trained for a step.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import UsageError, in_words
from zoo.network.head import find_head
from zoo.protocols import Preprocessing
from zoo.registry import load_target
from zoo.registry.loading import call
from zoo.testing.requiring import require, seeded
from zoo.testing.subject import Subject

__all__ = [
    "CLASSES",
    "asked",
    "built",
    "built_for",
    "changed",
    "head_of",
    "logits",
    "own_size",
    "random_images",
    "step",
    "tensors",
]

CLASSES = 7

_SIZES = (32, 64, 96)
"""Sides of images that are tried before the one that the model was designed for, pixels."""


def asked(subject: Subject, method: str) -> Any:
    """Returns what an optional method of a model factory says, as the core asks it; else None."""
    function = getattr(load_target(subject.entry), method, None)
    if function is None:
        return None
    defaults = {param.name: param.default for param in subject.component.params}
    known = {**subject.component.preset, **defaults, **subject.example.arguments}
    return call(subject.entry, function, {}, known)


def own_size(subject: Subject) -> int:
    """Returns the side of the images that the model was designed for, pixels."""
    told = asked(subject, "preprocessing")
    return told.image_size if isinstance(told, Preprocessing) else Preprocessing().image_size


def random_images(count: int, size: int, *, channels: int = 3, seed: int = 1) -> Tensor:
    """Returns images_BCHW in 0..1, the same for the same arguments."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, size, size, generator=generator)


def built_for(
    subject: Subject, size: int, *, num_classes: int = CLASSES, channels: int = 3, seed: int = 0
) -> nn.Module:
    """Returns the network for images of one size, random weights, in evaluation mode."""
    with seeded(seed):
        network = subject.build(num_classes=num_classes, channels=channels, image_size=size)
    require(
        isinstance(network, nn.Module),
        f"the factory returns {type(network).__name__}, not a torch.nn.Module",
    )
    built: nn.Module = network.eval()
    return built


def built(subject: Subject, *, count: int = 2, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Returns the network and images_BCHW of the smallest size of a few that it takes.

    Raises:
        AssertionError: It takes none of them. The message has the last refusal.
    """
    last: Exception | None = None
    tried: list[int] = []
    sizes = [*_SIZES, own_size(subject)]
    while sizes:
        size = sizes.pop(0)
        if size in tried:
            continue
        tried.append(size)
        try:
            network = built_for(subject, size, seed=seed)
            images_BCHW = random_images(count, size)
            logits(network, images_BCHW)
        except UsageError as error:  # it may say what works
            last = error
            if (works := re.search(r"--img-size (\d+)", error.hint)) is not None:
                sizes.insert(0, int(works[1]))
            continue
        except Exception as error:  # refused in some other way: `shapes` has a word on that
            last = error
            continue
        return network, images_BCHW
    assert last is not None  # a size was tried
    raise AssertionError(
        f"it takes images of none of these sizes: {', '.join(map(str, tried))}. "
        f"The last says: {in_words(last, kind=False)}"
    ) from last


def logits(network: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Returns what a network gives without gradients, in the modes that it is in.

    Raises:
        AssertionError: It is not one tensor.
    """
    with torch.no_grad():
        returned: Any = network(images_BCHW)
    require(
        isinstance(returned, Tensor),
        f"the network returns {type(returned).__name__}, not one tensor of logits_BK",
    )
    found: Tensor = returned
    return found


def step(network: nn.Module, images_BCHW: Tensor, *, lr: float = 0.1) -> None:
    """Trains what takes a gradient by one step of SGD, in the modes that the network is in."""
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    optimizer.zero_grad()
    target_B = torch.arange(len(images_BCHW)) % CLASSES
    with seeded(5):
        loss = F.cross_entropy(network(images_BCHW).float(), target_B)
    torch.autograd.backward(loss)
    optimizer.step()


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Returns copies of all parameters and buffers, those that no state dict has too."""
    named: Iterable[tuple[str, Tensor]] = (*network.named_parameters(), *network.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of tensors that differ in a bit."""
    return [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]


def head_of(network: nn.Module, *, num_classes: int = CLASSES) -> tuple[str, ...]:
    """Returns the names of the head's modules."""
    return find_head(network, num_classes=num_classes)
