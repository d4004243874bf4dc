"""The heads as data. Imports no torch; the code is in :mod:`zoo_torch.heads`."""

from __future__ import annotations

from zoo.plugin import Component, Param

__all__ = ["HEADS"]

HEADS: tuple[Component, ...] = (
    Component(
        kind="head",
        name="linear",
        target="zoo_torch.heads:linear",
        summary="A linear layer with bias, as most networks end",
        tags=("linear",),
    ),
    Component(
        kind="head",
        name="mlp",
        target="zoo_torch.heads:MLPHead",
        summary="Hidden layers with ReLU, norm and dropout; fastai's head (Howard & Gugger 2020)",
        params=(
            Param(
                name="hidden",
                type="int list",
                default=(512,),
                minimum=1,
                maximum=65536,
                summary="units of each hidden layer",
            ),
            Param(
                name="dropout",
                default=0.5,
                minimum=0,
                below=1,
                summary="of the last hidden layer's units; half as much before that",
            ),
            Param(
                name="norm",
                type="str",
                default="batch",
                choices=("batch", "layer", "off"),
                summary="of the features and of each hidden layer",
            ),
        ),
        shorthand=("hidden", "dropout"),
        tags=("hidden layers",),
    ),
    Component(
        kind="head",
        name="norm-linear",
        target="zoo_torch.heads:NormLinear",
        summary="Features normalised, then a linear layer: the probe of MAE (He et al. 2022)",
        params=(
            Param(
                name="norm",
                type="str",
                default="batch",
                choices=("batch", "layer"),
                summary="each feature over images, or each image over features; no affine map",
            ),
        ),
        tags=("linear",),
    ),
    Component(
        kind="head",
        name="cosine",
        target="zoo_torch.heads:CosineHead",
        summary="Cosine of features and class weights, times a scale (Gidaris & Komodakis 2018)",
        params=(
            Param(
                name="scale",
                default=10.0,
                above=0,
                maximum=1000,
                summary="what the cosine is multiplied by, at the start where it is learned",
            ),
            Param(
                name="learned",
                type="bool",
                default=True,
                summary="learn the scale; a fixed one is as in Chen et al. 2019",
            ),
        ),
        shorthand=("scale",),
        tags=("few-shot",),
    ),
)
