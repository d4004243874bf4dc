"""What a further process of an experiment does: it trains the runs that it is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo.api.training import run_settings
from zoo.config import RunConfig
from zoo.experiments.processes import serve
from zoo.garbage import collected_rarely
from zoo.registry import Registry
from zoo.registry.notices import RegistryWarning

if TYPE_CHECKING:
    from zoo.engine.assembly.sources import Sources
    from zoo.engine.events import RunResult

__all__ = ["go_on", "main", "prepare"]


@collected_rarely()
def main(setup: Mapping[str, Any]) -> None:
    """Trains runs until standard input ends.

    Args:
        setup: ``number``, from 1, of this process; ``listener``, the ``module:class`` of an
            observer that is made for each of its runs, or nothing; ``first``, a configuration
            much like those to come.
    """
    from zoo.engine.assembly.sources import Sources

    warnings.filterwarnings("ignore", category=RegistryWarning)  # the first process has told them
    registry, sources = Registry.installed(), Sources.once()
    first = RunConfig.from_mapping(setup["first"])
    # While the first run's features are computed.
    serve(
        _trainer(setup, registry, sources),
        prepare=lambda: prepare(first, registry=registry, sources=sources),
    )


def go_on(setup: Mapping[str, Any], *, registry: Registry, sources: Sources) -> None:
    """Trains runs until standard input ends, in a copy of a process that has all prepared.

    Args:
        setup: As for :func:`main`.
        registry: The components there are.
        sources: Where data and networks come from.
    """
    serve(_trainer(setup, registry, sources))


def prepare(first: RunConfig, *, registry: Registry, sources: Sources) -> None:
    """Imports and reads what runs need, and computes with one thread on the way.

    Args:
        first: A configuration much like those to come.
        registry: The components there are.
        sources: Keeps the data and the network.
    """
    from zoo.engine.assembly.job import assemble
    from zoo.engine.device import compute_threads

    one = first.changed(threads=1)
    import_module("zoo.engine.run")
    with suppress(Exception), compute_threads(one):  # the first run that it hits says it
        assemble(one, registry, sources=sources)


def _trainer(
    setup: Mapping[str, Any], registry: Registry, sources: Sources
) -> Callable[[RunConfig], RunResult]:
    """Returns what trains a run in this process."""
    module, _, name = setup["listener"].partition(":")

    def train(config: RunConfig) -> RunResult:
        from zoo.engine.device import own_device

        return run_settings(
            config.changed(device=own_device(config.device, number=setup["number"])),
            registry=registry, sources=sources,
            observer=getattr(import_module(module), name)() if module else None,
        )  # fmt: skip

    return train
