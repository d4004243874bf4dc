"""Every model and optimizer of timm (PyTorch Image Models, Ross Wightman), by its own name."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.plugin import Component, Param, fold, hookimpl
from zoo_timm._catalogue import model_names
from zoo_timm._optimizers import optimizer_components
from zoo_timm.aliases import ALIASES
from zoo_timm.named import NAMED

_PARAMS = (
    Param(
        name="drop_rate",
        optional=True,
        minimum=0.0,
        below=1.0,
        summary="dropout before the head; none keeps the architecture's own",
    ),
    Param(
        name="drop_path_rate",
        optional=True,
        minimum=0.0,
        below=1.0,
        summary="stochastic depth (Huang 2016); none keeps the architecture's own",
    ),
)


@hookimpl
def zoo_components() -> Iterator[Component]:
    """Yields the models that the installed timm lists, those with famous weights, optimizers."""
    yield from model_components()
    yield from named_components()
    yield from optimizer_components()


def model_components() -> Iterator[Component]:
    """Yields a component for each model of the installed timm. Imports neither timm nor torch."""
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
            target="zoo_timm.models:build",
            summary=f"timm, {family} family",
            aliases=tuple(aliases.get(name, ())),
            tags=(family,),
            params=_PARAMS,
            preset={"architecture": name},
        )


def named_components() -> Iterator[Component]:
    """Yields a component for each name that stands for an architecture with certain weights."""
    for named in NAMED:
        yield Component(
            kind="model",
            name=named.name,
            target="zoo_timm.models:build",
            summary=named.summary,
            aliases=(named.name.replace("-reg", "-registers"),) if "-reg" in named.name else (),
            tags=("backbone",),
            params=_PARAMS,
            preset={"architecture": named.architecture, "tag": named.tag},
            requires=("timm",),
        )
