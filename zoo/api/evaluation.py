"""A trained run, used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo.api.settings import data_of, in_range, one_of, several
from zoo.registry import Registry

if TYPE_CHECKING:
    from zoo.evaluation.evaluated import Evaluation
    from zoo.evaluation.predict.records import Prediction
    from zoo.evaluation.trained import Trained

__all__ = ["evaluate", "load", "predict"]


def load(path: str | Path, *, registry: Registry | None = None) -> Trained:
    """Returns the best weights of a run as a classifier.

    Args:
        path: The run folder.
        registry: The components to choose from; by default all that are installed.

    Raises:
        CheckpointError: There are no usable weights, or the plugin of the model is missing.
    """
    from zoo.evaluation.trained import load_trained

    return load_trained(Path(path), registry=registry or Registry.installed())


def evaluate(
    run: str | PathLike[str],
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    metrics: str | Sequence[str] | None = None,
    engine: str = "auto",
    fresh: bool = False,
    resamples: int | None = None,
    registry: Registry | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    noted: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Returns how good a run is on a split, and keeps it in the run folder. ``zoo evaluate``.

    Args:
        run: The run folder.
        data: As ``--data``; by default what the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``; by default test where there is one.
        metrics: As ``--metric`` has them; by default a usual set.
        engine: What computes the network: ``auto``, ``torch``, ``folded``, ``onnx``, ``openvino``.
        fresh: Compute predictions although they are kept.
        resamples: Of the bootstrap; by default as many as are worth their time. 0: no intervals.
        registry: The components to choose from; by default all that are installed.
        progress: Told what is being done, how much of it is done, of how much.
        noted: Told which engine was chosen, and why.

    Raises:
        ZooError: Whatever is wrong with run, data or metrics.
    """
    from zoo.evaluation.evaluated import evaluate as measured

    if resamples is not None:
        in_range("resamples", resamples, 0, 1_000_000)  # more change no digit that is shown
    return measured(
        Path(run), data=data_of(data), split=split,
        metrics=None if metrics is None else several(metrics), engine=engine, fresh=fresh,
        resamples=resamples, registry=registry or Registry.installed(), progress=progress,
        noted=noted,
    )  # fmt: skip


def predict(
    runs: str | PathLike[str] | Sequence[str | PathLike[str]],
    paths: str | PathLike[str] | Iterable[str | PathLike[str]] = (),
    *,
    manifest: str | PathLike[str] | None = None,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    top_k: int = 0,
    probabilities: bool = False,
    threshold: float | None = None,
    tta: str | None = None,
    tta_views: int | None = None,
    engine: str = "auto",
    on_bad: Literal["row", "skip", "fail"] = "row",
    registry: Registry | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Prediction]:
    """Returns what runs say about images, in the order of the images. ``zoo predict``.

    Args:
        runs: A run folder, or several that answer together by the mean of their probabilities.
        paths: A file, a folder with all that is below, a pattern, a table of paths; or several.
        manifest: A table of paths, besides.
        data: A data set instead of paths, as ``--data`` takes it.
        split: Of that data set, or without one of the data that the first run was trained on.
        top_k: How many of the most probable classes are wanted.
        probabilities: Whether those of all classes are.
        threshold: Probability above which an image has a label, where it can have several; 0.5.
        tta: Average over views of each image: ``flip``, ``five-crop``, ``ten-crop``, a transform.
        tta_views: How many views, where that is a transform.
        engine: How networks are computed.
        on_bad: Images that cannot be read, or that a network gives NaN for: a prediction that has
            the error, none, or an error.
        registry: The components to choose from; by default all that are installed.
        progress: Told how many images are done, of how many.

    Raises:
        ZooError: Whatever is wrong with runs, images or options.
    """
    from zoo.evaluation.predict.session import Session

    one_of("on_bad", on_bad, ("row", "skip", "fail"))
    in_range("top_k", top_k, 0)
    if threshold is not None:
        in_range("threshold", threshold, 0, 1, whole=False)
    if tta_views is not None:
        in_range("tta_views", tta_views, 2, 1000)
    session = Session.open(
        several(runs), several(paths), registry=registry or Registry.installed(),
        manifest=manifest, data=data_of(data), split=split, top_k=top_k,
        probabilities=probabilities, threshold=threshold, tta=tta, tta_views=tta_views,
        engine=engine, on_bad=on_bad,
    )  # fmt: skip
    return [
        prediction
        for block in session.ask(on_bad=on_bad, progress=progress)
        for prediction in block
        if on_bad != "skip" or not prediction.error
    ]
