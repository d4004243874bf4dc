"""The metrics as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.plugin import Component, Param

__all__ = ["METRICS"]

_AVERAGE = Param(
    name="average",
    type="str",
    default="macro",
    optional=True,
    choices=("macro", "micro", "weighted"),
    summary="over classes evenly, over decisions, over classes by their images; none: one a class",
)
_VARIANTS = {
    "micro": "all decisions counted together",
    "weighted": "classes weighed by their images",
}


def _averaged(
    name: str, target: str, summary: str, *, tags: tuple[str, ...], aliases: tuple[str, ...] = ()
) -> Iterator[Component]:
    """Yields a metric that is averaged over classes, and its averages as names of their own."""
    yield Component(
        kind="metric", name=name, target=target, summary=f"{summary}, mean over the classes",
        aliases=(*aliases, f"{name}-macro"), tags=(*tags, "multi-label"), params=(_AVERAGE,),
        shorthand=("average",),
    )  # fmt: skip
    for average, how in _VARIANTS.items():
        yield Component(
            kind="metric", name=f"{name}-{average}", target=target, summary=f"{summary}, {how}",
            aliases=tuple(f"{alias}-{average}" for alias in aliases),
            tags=(*tags, "multi-label"), preset={"average": average},
        )  # fmt: skip


_K = Param(name="k", type="int", default=5, minimum=1, summary="guesses that count")

METRICS: tuple[Component, ...] = (
    Component(
        kind="metric",
        name="accuracy",
        aliases=("acc", "top1"),
        target="zoo_torchmetrics.labels:accuracy",
        summary="Share of images that are right (all of their labels, where they have several)",
        tags=("labels", "multi-label"),
    ),
    Component(
        kind="metric",
        name="top5",
        target="zoo_torchmetrics.probabilities:top_k",
        summary="Share of images whose class is among the five most probable",
        tags=("ranking",),
        preset={"k": 5},
    ),
    Component(
        kind="metric",
        name="top-k",
        aliases=("topk", "top"),
        target="zoo_torchmetrics.probabilities:top_k",
        summary="Share of images whose class is among the k most probable: top-3",
        tags=("ranking",),
        params=(_K,),
        shorthand=("k",),
    ),
    Component(
        kind="metric",
        name="balanced-accuracy",
        aliases=("bacc",),
        target="zoo_torchmetrics.labels:balanced_accuracy",
        summary="Mean over the classes of the share of their images that are right",
        tags=("labels", "multi-label"),
    ),
    *_averaged(
        "precision", "zoo_torchmetrics.labels:precision",
        "Share of the images called a class that are of it", tags=("labels",),
    ),
    *_averaged(
        "recall", "zoo_torchmetrics.labels:recall",
        "Share of a class's images that are called it", tags=("labels",),
        aliases=("sensitivity",),
    ),
    *_averaged(
        "f1", "zoo_torchmetrics.labels:f1", "Harmonic mean of precision and recall",
        tags=("labels",),
    ),
    *_averaged(
        "specificity", "zoo_torchmetrics.labels:specificity",
        "Share of the images not of a class that are not called it", tags=("labels",),
    ),
    Component(
        kind="metric",
        name="kappa",
        aliases=("cohen-kappa",),
        target="zoo_torchmetrics.labels:kappa",
        summary="Agreement beyond chance (Cohen 1960)",
        tags=("labels",),
        params=(
            Param(name="weights", type="str", optional=True, choices=("linear", "quadratic"),
                  summary="how much an error counts, by the distance of the class indices"),
        ),
    ),
    Component(
        kind="metric",
        name="kappa-quadratic",
        aliases=("qwk",),
        target="zoo_torchmetrics.labels:kappa",
        summary="Cohen's kappa for ordered classes: errors by their squared distance (Cohen 1968)",
        tags=("labels",),
        preset={"weights": "quadratic"},
    ),
    Component(
        kind="metric",
        name="mcc",
        aliases=("matthews",),
        target="zoo_torchmetrics.labels:mcc",
        summary="Correlation of predicted and true classes (Matthews 1975, Gorodkin 2004)",
        tags=("labels",),
    ),
    *_averaged(
        "auroc", "zoo_torchmetrics.ranking:auroc",
        "Chance that an image of a class scores above one of another", tags=("ranking",),
        aliases=("auc", "roc-auc"),
    ),
    *_averaged(
        "average-precision", "zoo_torchmetrics.ranking:average_precision",
        "Area under precision over recall", tags=("ranking",), aliases=("ap", "map"),
    ),
    Component(
        kind="metric",
        name="nll",
        aliases=("cross-entropy", "log-loss"),
        target="zoo_torchmetrics.probabilities:nll",
        summary="Negative log-likelihood: cross-entropy of the labels, in nats",
        tags=("probabilities", "multi-label", "lower"),
    ),
    Component(
        kind="metric",
        name="brier",
        target="zoo_torchmetrics.probabilities:brier",
        summary="Squared error of the probabilities, summed over the classes (Brier 1950)",
        tags=("probabilities", "multi-label", "lower"),
    ),
    Component(
        kind="metric",
        name="ece",
        target="zoo_torchmetrics.probabilities:ece",
        summary="Expected calibration error: confidence against accuracy (Guo 2017)",
        tags=("probabilities", "multi-label", "lower"),
        params=(
            Param(name="bins", type="int", default=15, minimum=1, maximum=1000,
                  summary="bins of equal width in 0..1"),
        ),
        shorthand=("bins",),
    ),
)  # fmt: skip
