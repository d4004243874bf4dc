"""The batch transforms as data. Imports no torch; the code is in :mod:`zoo_torch.transforms`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["TRANSFORMS"]


def _probability(default: float) -> Param:
    return Param(
        name="p", default=default, minimum=0, maximum=1, summary="share of the images it acts on"
    )


_FRACTION = Param(
    name="fraction",
    default=0.125,
    minimum=0,
    maximum=0.5,
    summary="largest shift as a share of the side",
)

TRANSFORMS: tuple[Component, ...] = (
    Component(
        kind="transform",
        name="none",
        target="zoo_torch.transforms:Keep",
        summary="Leave images as they are",
    ),
    Component(
        kind="transform",
        name="flip",
        target="zoo_torch.transforms:Flip",
        summary="Mirror left and right",
        params=(_probability(0.5),),
        shorthand=("p",),
    ),
    Component(
        kind="transform",
        name="shift",
        target="zoo_torch.transforms:Shift",
        summary="Move by whole pixels, edges mirrored inwards (a padded random crop)",
        params=(_FRACTION,),
        shorthand=("fraction",),
    ),
    Component(
        kind="transform",
        name="light",
        target="zoo_torch.transforms:light",
        summary="flip, then shift",
        params=(_probability(0.5), _FRACTION),
    ),
    Component(
        kind="transform",
        name="rotate",
        target="zoo_torch.transforms:Rotate",
        summary="Turn about the centre, edges mirrored inwards",
        params=(
            Param(
                name="degrees",
                default=10.0,
                minimum=0,
                maximum=90,
                summary="largest angle, to either side",
            ),
        ),
        shorthand=("degrees",),
    ),
    Component(
        kind="transform",
        name="erase",
        target="zoo_torch.transforms:Erase",
        summary="Grey out a rectangle (Zhong 2020)",
        params=(
            _probability(0.5),
            Param(
                name="smallest",
                default=0.15,
                minimum=0,
                maximum=1,
                summary="shortest side of the rectangle as a share of the image's",
            ),
            Param(
                name="largest",
                default=0.5,
                minimum=0,
                maximum=1,
                summary="longest side of the rectangle as a share of the image's",
            ),
            Param(name="value", default=0.5, minimum=0, maximum=1, summary="grey, 0 is black"),
        ),
        shorthand=("p",),
    ),
    Component(
        kind="transform",
        name="color",
        target="zoo_torch.transforms:Color",
        summary="Change brightness and contrast",
        params=(
            Param(
                name="brightness",
                default=0.2,
                minimum=0,
                maximum=1,
                summary="largest amount added or taken away",
            ),
            Param(
                name="contrast",
                default=0.2,
                minimum=0,
                maximum=1,
                summary="largest change of the contrast about mid-grey, as a share",
            ),
        ),
        shorthand=("brightness", "contrast"),
    ),
)
