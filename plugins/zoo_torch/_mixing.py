"""The mixing transforms as data. Imports no torch; the code is in :mod:`zoo_torch.mixing`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["MIXING"]


def _alpha(default: float, *, name: str = "alpha", of: str = "the share") -> Param:
    return Param(
        name=name,
        default=default,
        minimum=0.05,
        maximum=10,
        summary=f"{of} is drawn from Beta(alpha, alpha): 1 is uniform, less mixes less",
    )


_P = Param(
    name="p", default=1.0, minimum=0, maximum=1, summary="share of the images that are mixed"
)

MIXING: tuple[Component, ...] = (
    Component(
        kind="transform",
        name="mixup",
        target="zoo_torch.mixing:Mixup",
        summary="Blend each image and its target with another's (Zhang 2018)",
        aliases=("mix-up",),
        tags=("mixing",),
        params=(_alpha(0.2), _P),
        shorthand=("alpha", "p"),
    ),
    Component(
        kind="transform",
        name="cutmix",
        target="zoo_torch.mixing:Cutmix",
        summary="Paste a box of another image, mix the targets by area (Yun 2019)",
        aliases=("cut-mix",),
        tags=("mixing",),
        params=(_alpha(1.0), _P),
        shorthand=("alpha", "p"),
    ),
    Component(
        kind="transform",
        name="mixup-cutmix",
        target="zoo_torch.mixing:MixupOrCutmix",
        summary="mixup for one half of the images, cutmix for the other",
        aliases=("mixcut", "mix-or-cut"),
        tags=("mixing",),
        params=(
            _alpha(0.2, name="mixup_alpha", of="the share of a blend"),
            _alpha(1.0, name="cutmix_alpha", of="the share of a box"),
            _P,
        ),
        shorthand=("mixup_alpha", "cutmix_alpha"),
    ),
)
