"""A trained run, described for people."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.api.settings import data_of
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.evaluation.report.making import Report

__all__ = ["report"]


def report(
    path: str | Path,
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    output: str | Path | None = None,
    explainer: str | None = "gradcam",
    engine: str = "auto",
    registry: Registry | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Report:
    """Writes a page about a run, its plots and a model card. ``zoo report``.

    Args:
        path: The run folder.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default test where there is one.
        output: Where the page goes; by default ``report.html`` in the run folder.
        explainer: Spec of an explainer for heat maps; None for no heat maps.
        engine: What computes the network: ``auto``, ``torch``, ``folded``, ``onnx``, ``openvino``.
        registry: The components to choose from; by default all that are installed.
        progress: Told what is being done, how much of it is done, of how much.

    Raises:
        UsageError: It is not a run folder, has no such split, or the output is a folder.
        DataError: The data cannot be used, and an earlier report has looked at it.
        CheckpointError: A file of it is damaged, or a newer zoo wrote it.
        MachineError: A file cannot be written.
    """
    from zoo.evaluation.report.making import make_report

    return make_report(
        Path(path), data=data_of(data), split=split,
        output=None if output is None else Path(output), explainer=explainer, engine=engine,
        registry=registry or Registry.installed(), progress=progress,
    )  # fmt: skip
