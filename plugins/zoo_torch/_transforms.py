"""The batch transforms as data. Imports no torch.

The code is in :mod:`zoo_torch.geometry`, :mod:`zoo_torch.colors` and :mod:`zoo_torch.transforms`.
"""

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


def _strength(name: str, default: float, maximum: float, summary: str) -> Param:
    return Param(name=name, default=default, minimum=0, maximum=maximum, summary=summary)


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
        target="zoo_torch.geometry:Flip",
        summary="Mirror left and right",
        aliases=("hflip", "flip-horizontal", "horizontal-flip", "random-horizontal-flip"),
        params=(_probability(0.5),),
        shorthand=("p",),
    ),
    Component(
        kind="transform",
        name="vflip",
        target="zoo_torch.geometry:VerticalFlip",
        summary="Turn upside down",
        aliases=("flip-vertical", "vertical-flip", "random-vertical-flip"),
        params=(_probability(0.5),),
        shorthand=("p",),
    ),
    Component(
        kind="transform",
        name="crop",
        target="zoo_torch.geometry:Crop",
        summary="Cut out a box of random area and shape, enlarge it (Szegedy 2014)",
        aliases=("random-resized-crop", "resized-crop", "rrc"),
        params=(
            Param(
                name="scale",
                type="float list",
                default=(0.08, 1.0),
                above=0,
                maximum=1,
                summary="smallest and largest area as a share of the image's; one is the smallest",
            ),
            Param(
                name="ratio",
                type="float list",
                default=(0.75, 1.3333),
                minimum=0.1,
                maximum=10,
                summary="smallest and largest width over height",
            ),
        ),
        shorthand=("scale",),
    ),
    Component(
        kind="transform",
        name="shift",
        target="zoo_torch.geometry:Shift",
        summary="Move by whole pixels, edges mirrored inwards (a padded random crop)",
        aliases=("random-crop", "translate"),
        params=(_FRACTION,),
        shorthand=("fraction",),
    ),
    Component(
        kind="transform",
        name="light",
        target="zoo_torch.transforms:light",
        summary="flip, then shift",
        params=(
            Param(name="p", default=0.5, minimum=0, maximum=1, summary="share that is mirrored"),
            _FRACTION,
        ),
    ),
    Component(
        kind="transform",
        name="standard",
        target="zoo_torch.transforms:standard",
        summary="crop, flip and jitter at moderate strength, as fine-tuning scripts have them",
        params=(
            Param(name="p", default=0.5, minimum=0, maximum=1, summary="share that is mirrored"),
            Param(
                name="area",
                default=0.5,
                above=0,
                maximum=1,
                summary="smallest crop as a share of the image's area",
            ),
            _strength("strength", 0.4, 1, "of the jitter of brightness, contrast and saturation"),
        ),
    ),
    Component(
        kind="transform",
        name="rotate",
        target="zoo_torch.geometry:Rotate",
        summary="Turn about the centre, edges mirrored inwards",
        aliases=("rotation", "random-rotation"),
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
        name="affine",
        target="zoo_torch.geometry:Affine",
        summary="Turn, move, scale and shear, edges mirrored inwards",
        aliases=("random-affine",),
        params=(
            _strength("degrees", 10.0, 90, "largest angle, to either side"),
            _strength("translate", 0.1, 0.5, "largest shift as a share of the side"),
            Param(
                name="scale",
                type="float list",
                default=(0.9, 1.1),
                minimum=0.1,
                maximum=10,
                summary="smallest and largest factor",
            ),
            _strength("shear", 5.0, 45, "largest angle of the shear"),
        ),
        shorthand=("degrees", "translate"),
    ),
    Component(
        kind="transform",
        name="erase",
        target="zoo_torch.transforms:Erase",
        summary="Grey out a rectangle (Zhong 2020)",
        aliases=("erasing", "random-erasing", "random-erase"),
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
        target="zoo_torch.colors:Color",
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
    Component(
        kind="transform",
        name="jitter",
        target="zoo_torch.colors:Jitter",
        summary="Change brightness, contrast, saturation and hue in random order (ColorJitter)",
        aliases=("color-jitter", "colour-jitter", "colorjitter"),
        params=(
            _strength("brightness", 0.4, 5, "x of the factor, from 1 - x (at least 0) to 1 + x"),
            _strength("contrast", 0.4, 5, "the same for the contrast"),
            _strength("saturation", 0.4, 5, "the same for the saturation"),
            _strength("hue", 0.1, 0.5, "largest turn as a share of the colour circle"),
            _probability(1.0),
        ),
        shorthand=("brightness", "contrast", "saturation", "hue"),
    ),
    Component(
        kind="transform",
        name="grayscale",
        target="zoo_torch.colors:Grayscale",
        summary="Take the colour out",
        aliases=("greyscale", "random-grayscale"),
        params=(_probability(0.1),),
        shorthand=("p",),
    ),
)
