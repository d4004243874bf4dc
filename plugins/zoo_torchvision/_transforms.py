"""torchvision's augmentations as data. Imports no torch.

The code is in :mod:`zoo_torchvision.transforms`.
"""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["TRANSFORMS"]

_HERE = "zoo_torchvision.transforms"
_P = Param(name="p", default=0.5, minimum=0, maximum=1, summary="share of the images it acts on")


def _whole(name: str, default: int, minimum: int, maximum: int, summary: str) -> Param:
    return Param(
        name=name, type="int", default=default, minimum=minimum, maximum=maximum, summary=summary
    )


def _share(name: str, default: float, summary: str) -> Param:
    return Param(name=name, default=default, minimum=0, maximum=1, summary=summary)


def _width(name: str, default: float) -> Param:
    return Param(
        name=name,
        default=default,
        above=0,
        maximum=50,
        summary=f"{name} standard deviation, pixels",
    )


_FILL = _share("fill", 0.0, "grey of what moves in from outside, 0 is black")


def _single(
    name: str,
    summary: str,
    *params: Param,
    alias: str | None = None,
    shorthand: tuple[str, ...] = ("p",),
) -> Component:
    return Component(
        kind="transform",
        name=name,
        target=f"{_HERE}:{name}",
        summary=summary,
        aliases=(alias or f"random-{name}",),
        params=(*params, _P),
        shorthand=shorthand,
    )


TRANSFORMS: tuple[Component, ...] = (
    Component(
        kind="transform",
        name="trivial",
        target=f"{_HERE}:trivial",
        summary="One operation an image at random strength (TrivialAugmentWide, Müller 2021)",
        aliases=(
            "trivialaugment",
            "trivial-augment",
            "trivialaugmentwide",
            "trivial-augment-wide",
            "ta-wide",
        ),
        tags=("policy",),
        params=(_whole("bins", 31, 2, 1000, "number of strengths"), _FILL),
    ),
    Component(
        kind="transform",
        name="randaugment",
        target=f"{_HERE}:randaugment",
        summary="Random operations an image, all at one strength (RandAugment, Cubuk 2019)",
        aliases=("rand-augment", "randaug", "ra"),
        tags=("policy",),
        params=(
            _whole("num_ops", 2, 0, 20, "operations for each image"),
            _whole("magnitude", 9, 0, 30, "their strength, of 30"),
            _FILL,
        ),
        shorthand=("num_ops", "magnitude"),
    ),
    Component(
        kind="transform",
        name="autoaugment",
        target=f"{_HERE}:autoaugment",
        summary="Operations found by search on a data set (AutoAugment, Cubuk 2018)",
        aliases=("auto-augment", "aa"),
        tags=("policy",),
        params=(
            Param(
                name="policy",
                type="str",
                default="imagenet",
                choices=("imagenet", "cifar10", "svhn"),
                summary="the data set it was found on",
            ),
            _FILL,
        ),
    ),
    Component(
        kind="transform",
        name="augmix",
        target=f"{_HERE}:augmix",
        summary="Blend an image with chains of operations on it (AugMix, Hendrycks 2019)",
        aliases=("aug-mix",),
        tags=("policy",),
        params=(
            _whole("severity", 3, 1, 10, "greatest strength, of 10"),
            _whole("width", 3, 1, 10, "chains"),
            _whole("depth", 0, 0, 10, "operations in a chain; 0 draws 1 to 3 for each"),
            Param(
                name="alpha",
                default=1.0,
                above=0,
                summary="of the beta and Dirichlet distributions that weigh the chains",
            ),
            _FILL,
        ),
        shorthand=("severity", "width"),
    ),
    _single(
        "blur",
        "Gaussian blur of random width",
        _width("smallest", 0.1),
        _width("largest", 2.0),
        alias="gaussian-blur",
    ),
    _single(
        "perspective",
        "View from the side",
        _share("distortion", 0.5, "how far corners move inwards, as a share of half the side"),
        _FILL,
        shorthand=("distortion", "p"),
    ),
    _single(
        "sharpness",
        "Sharpen (factor above 1) or blur (below 1)",
        Param(name="factor", default=2.0, minimum=0, maximum=100, summary="1 is the image"),
        alias="random-adjust-sharpness",
        shorthand=("factor", "p"),
    ),
    _single("autocontrast", "Stretch each channel to the full range"),
    _single("equalize", "Equalise each channel's histogram"),
    _single("invert", "Negative"),
    _single(
        "posterize",
        "Keep the upper bits of each value",
        _whole("bits", 4, 1, 8, "bits that stay"),
        shorthand=("bits", "p"),
    ),
    _single(
        "solarize",
        "Negative of the bright values",
        _share("threshold", 0.5, "where bright begins"),
        shorthand=("threshold", "p"),
    ),
)
