"""What a further process of an experiment does: it trains the runs that it is told."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    from zoo.engine.events import RunResult

__all__ = ["main"]


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

    def prepare() -> None:
        """Imports and reads what the runs need, while the first one's features are computed."""
        from zoo.engine.assembly.job import assemble

        with suppress(Exception):  # the first run that it hits says it
            assemble(RunConfig.from_mapping(setup["first"]), registry, sources=sources)

    def train(config: RunConfig) -> RunResult:
        from zoo.engine.device import own_device

        module, _, name = setup["listener"].partition(":")
        return run_settings(
            config.changed(device=own_device(config.device, number=setup["number"])),
            registry=registry, sources=sources,
            observer=getattr(import_module(module), name)() if module else None,
        )  # fmt: skip

    serve(train, prepare=prepare)
