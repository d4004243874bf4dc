"""A trained run for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.evaluation.exporting import Export

__all__ = ["export"]


def export(
    run: str | Path,
    *,
    to: str = "onnx",
    output: str | Path | None = None,
    force: bool = False,
    registry: Registry | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Export:
    """Writes a run's best weights in another format, and proves that they are the same.

    ``zoo export``. What was written is opened again and compared with the network on validation
    images of the run: logits may be 1e-4 of the largest apart.

    Args:
        run: The run folder.
        to: Spec of an exporter: ``onnx``, ``pt2``, ``safetensors``, or a plugin's.
        output: The folder that is made; by default ``exports/<exporter>`` in the run folder.
        force: Replace an earlier export that is there.
        registry: The components to choose from; by default all that are installed.
        progress: Told what is being done, how many of the steps are done, of how many.

    Raises:
        UsageError: There is something already, or there is no such exporter.
        CheckpointError: The run has no weights that can be used.
        PluginError: The exporter's package is missing, it cannot write this network, or what it
            wrote gives other logits. Then nothing is left.
        MachineError: It cannot be written.
        RefusedError: ``force`` would replace what is no export.
    """
    from zoo.evaluation.exporting import export as exported

    return exported(
        Path(run), to=to, output=None if output is None else Path(output), force=force,
        registry=registry or Registry.installed(), progress=progress,
    )  # fmt: skip
