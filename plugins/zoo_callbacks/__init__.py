"""Built-in plugin ``callbacks``: where the numbers of a run go besides its folder's metrics.jsonl.

All of them use the same names: train/loss, train/accuracy, val/loss, val/accuracy, lr,
images_per_second, by epoch of the run from 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import Component, Param, hookimpl

_ESSENTIAL = Param(
    name="essential",
    type="bool",
    default=False,
    summary="stop the run when it fails, rather than going on without it",
)


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the file first, then the three services."""
    yield Component(
        kind="callback",
        name="csv",
        target="zoo_callbacks.csv_file:CsvFile",
        summary="metrics.csv in the run folder, one row an epoch",
        tags=("file",),
        params=(_ESSENTIAL,),
    )
    yield Component(
        kind="callback",
        name="tensorboard",
        target="zoo_callbacks.tensorboard:TensorBoard",
        summary="TensorBoard: curves, images, histograms on request; tensorboard --logdir RUN",
        tags=("file", "images", "histograms"),
        params=(
            Param(name="histograms", type="bool", default=False,
                  summary="histograms of weights and gradients after each epoch"),
            Param(name="images", type="bool", default=True,
                  summary="training images as the network sees them, once a phase"),
            Param(name="every", type="int", default=10, minimum=0,
                  summary="steps between points of loss and rate within epochs; 0 for none"),
            _ESSENTIAL,
        ),
        requires=("tensorboard",),
    )  # fmt: skip
    yield Component(
        kind="callback",
        name="mlflow",
        target="zoo_callbacks.mlflow:mlflow_run",
        summary="MLflow: parameters, metrics, artefacts; in the run folder or MLFLOW_TRACKING_URI",
        tags=("service", "file"),
        params=(
            Param(name="experiment", type="str", default="zoo", summary="experiment of the run"),
            _ESSENTIAL,
        ),
        requires=("mlflow",),
    )
    yield Component(
        kind="callback",
        name="wandb",
        target="zoo_callbacks.wandb:wandb_run",
        summary="Weights & Biases: options and metrics; WANDB_MODE or ZOO_OFFLINE keep it offline",
        aliases=("weights-and-biases",),
        tags=("service",),
        params=(
            Param(name="project", type="str", optional=True,
                  summary="project of the run; none takes WANDB_PROJECT, or else zoo"),
            _ESSENTIAL,
        ),
        requires=("wandb",),
    )  # fmt: skip
