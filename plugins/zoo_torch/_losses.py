"""The losses as data. Imports no torch; the code is in :mod:`zoo_torch.losses`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["LOSSES"]


def _smoothing(default: float) -> Param:
    return Param(
        name="smoothing",
        default=default,
        minimum=0,
        below=1,
        summary="share of each target that is spread evenly over all classes",
    )


def _exponent(name: str, default: float, summary: str) -> Param:
    return Param(name=name, default=default, minimum=0, summary=summary)


LOSSES: tuple[Component, ...] = (
    Component(
        kind="loss",
        name="ce",
        aliases=("cross-entropy",),
        target="zoo_torch.losses:label_smoothing",
        summary="Cross-entropy of the softmax",
        params=(_smoothing(0.0),),
        shorthand=("smoothing",),
        tags=("softmax",),
    ),
    Component(
        kind="loss",
        name="label-smoothing",
        target="zoo_torch.losses:label_smoothing",
        summary="Cross-entropy with smoothed targets (Szegedy 2016)",
        params=(_smoothing(0.1),),
        shorthand=("smoothing",),
        tags=("softmax",),
    ),
    Component(
        kind="loss",
        name="focal",
        target="zoo_torch.losses:focal",
        summary="Focal loss of the softmax: easy samples count less (Lin 2017)",
        params=(
            _exponent("gamma", 2.0, "how much less an easy sample counts; 0 is cross-entropy"),
            Param(
                name="alpha",
                above=0,
                optional=True,
                summary="constant factor of the loss; to balance classes use class weights",
            ),
        ),
        shorthand=("gamma",),
        tags=("softmax",),
    ),
    Component(
        kind="loss",
        name="bce",
        target="zoo_torch.losses:binary_cross_entropy",
        summary="Binary cross-entropy, one class against all others (Wightman 2021)",
        params=(
            _smoothing(0.0),
            Param(
                name="sum_classes",
                type="bool",
                default=False,
                summary="add the classes up instead of taking their mean",
            ),
        ),
        shorthand=("smoothing",),
        tags=("sigmoid",),
    ),
    Component(
        kind="loss",
        name="asymmetric",
        aliases=("asl",),
        target="zoo_torch.losses:asymmetric",
        summary="Asymmetric loss, one class against all others (Ridnik 2021)",
        params=(
            _exponent("gamma_neg", 4.0, "focusing of the classes that are absent"),
            _exponent("gamma_pos", 1.0, "focusing of the class that is present"),
            Param(
                name="clip",
                default=0.05,
                minimum=0,
                below=1,
                summary="probability below which an absent class costs nothing",
            ),
        ),
        shorthand=("gamma_neg", "gamma_pos"),
        tags=("sigmoid",),
    ),
    Component(
        kind="loss",
        name="poly",
        aliases=("poly1",),
        target="zoo_torch.losses:poly",
        summary="Poly-1: cross-entropy plus epsilon (1 - p) (Leng 2022)",
        params=(
            Param(name="epsilon", default=1.0, minimum=-1, summary="weight of the added term"),
            _smoothing(0.0),
        ),
        shorthand=("epsilon",),
        tags=("softmax",),
    ),
)
