"""Why a trained run says what it says: heat maps, embeddings, labels to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.api.settings import data_of, in_range, several
from zoo.registry import Registry, parse_choice

if TYPE_CHECKING:
    from zoo.evaluation.interpretation.embeddings import Embeddings
    from zoo.evaluation.interpretation.explained import Explanations
    from zoo.evaluation.interpretation.review import Review

__all__ = ["embed", "heatmap", "review"]


def heatmap(
    path: str | Path,
    paths: Sequence[str | PathLike[str]] = (),
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    explainer: str = "gradcam",
    class_name: str | None = None,
    count: int | None = 16,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Explanations:
    """Returns images with the heat of the places that speak for a class. ``zoo heatmap``.

    Args:
        path: The run folder.
        paths: Files, folders, patterns, tables of paths; without any, images of a split.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default test, or else val.
        explainer: Spec of an explainer.
        class_name: The class to explain; by default the most probable one of each image.
        count: At most so many images, evenly spread over them all; None for all.
        registry: The components to choose from; by default all that are installed.
        progress: Told how many images are done, of how many.

    Raises:
        UsageError: The network has no layer with height and width, or there is no such class.
        DataError: The images cannot be used.
        CheckpointError: The run has no weights that can be used.
        PluginError: The explainer's package is not installed.
    """
    from zoo.evaluation.interpretation.explained import explained
    from zoo.evaluation.interpretation.subjects import subjects

    registry = registry or Registry.installed()
    if count is not None:
        in_range("count", count, 1)
    parse_choice(registry, "explainer", explainer)  # before the data is read
    return explained(
        subjects(Path(path), several(paths), data=data_of(data), split=split, registry=registry),
        explainer=explainer, class_name=class_name, count=count, registry=registry,
        progress=progress,
    )  # fmt: skip


def embed(
    path: str | Path,
    paths: Sequence[str | PathLike[str]] = (),
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    registry: Registry | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Embeddings:
    """Returns what the network makes of images just before its head. ``zoo embed``.

    Args:
        path: The run folder.
        paths: Files, folders, patterns, tables of paths; without any, images of a split.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default test, or else val.
        registry: The components to choose from; by default all that are installed.
        progress: Told how many images are done, of how many.

    Raises:
        DataError: The images cannot be used.
        CheckpointError: The run has no weights that can be used.
        PluginError: The network does not call its head once, with one tensor.
    """
    from zoo.evaluation.interpretation.embeddings import embed as embedded
    from zoo.evaluation.interpretation.subjects import subjects

    registry = registry or Registry.installed()
    chosen = subjects(
        Path(path), several(paths), data=data_of(data), split=split, registry=registry
    )
    return embedded(chosen, progress=progress)


def review(
    path: str | Path | Sequence[str | Path],
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    reviewer: str = "confident-learning",
    registry: Registry | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Review:
    """Returns images whose label may be wrong, the most suspicious first. ``zoo review``.

    What a run says about images that it was trained on is optimistic: it has learned their labels.

    Args:
        path: A run folder, several, or the folder of a cross-validation.
        data: As ``--data``; by default what each run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default all of a single run, and of
            several what each was validated on: of a cross-validation that is every image, judged by
            a run that has not seen it.
        reviewer: Spec of a reviewer.
        registry: The components to choose from; by default all that are installed.
        progress: Told what is being done.

    Raises:
        UsageError: An image can have several labels, there is no such split, or runs have different
            classes.
        DataError: The data cannot be used, or has no labels.
        CheckpointError: A run has no weights that can be used.
    """
    from zoo.evaluation.examined import examine
    from zoo.evaluation.interpretation.review import review as reviewed
    from zoo.evaluation.interpretation.subjects import runs_of

    registry = registry or Registry.installed()
    parse_choice(registry, "reviewer", reviewer)  # before anything is computed
    runs = runs_of([path] if isinstance(path, str | Path) else path)
    if data is None and split is None:
        split = "val" if len(runs) > 1 else "all"
    return reviewed(
        [
            examine(run, data=data_of(data), split=split, registry=registry, progress=progress)
            for run in runs
        ],
        reviewer=reviewer, registry=registry,
    )  # fmt: skip
