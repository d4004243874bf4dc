"""torchvision: every classification model by its own name, and augmentations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from zoo.plugin import Component, fold, hookimpl
from zoo_torchvision._catalogue import model_names
from zoo_torchvision._datasets import dataset_components
from zoo_torchvision._transforms import TRANSFORMS

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "maxvit": "maxvit_t",
        "shufflenet": "shufflenet_v2_x1_0",
        "shufflenetv2": "shufflenet_v2_x1_0",
        "shufflenet-v2": "shufflenet_v2_x1_0",
        "squeezenet": "squeezenet1_1",
    }
)
"""Short names for models that only torchvision has."""


@hookimpl
def zoo_components() -> Iterator[Component]:
    """Yields a component for each classification model of the installed torchvision."""
    models = tuple(model_names())
    canonical = {fold(name) for name, _ in models}
    aliases: dict[str, list[str]] = {}
    for alias, architecture in ALIASES.items():
        if fold(alias) not in canonical:
            aliases.setdefault(architecture, []).append(alias)
    for name, family in models:
        yield Component(
            kind="model",
            name=name,
            target="zoo_torchvision.models:build",
            summary=f"torchvision, {family} family",
            aliases=tuple(aliases.get(name, ())),
            tags=(family,),
            preset={"architecture": name},
        )
    yield from TRANSFORMS
    yield from dataset_components()
