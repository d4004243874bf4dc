"""Built-in plugin ``interpretation``: heat maps, planes to look at embeddings on, label review.

The heat maps are those of the package ``grad-cam``: the extra ``interpret``. Principal
components and all reviewers need nothing besides NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import Component, Param, hookimpl

# name, method in zoo_interpretation.cams, aliases, tags, summary
_EXPLAINERS = (
    ("gradcam", "GradCAM", ("grad-cam",), ("gradient",),
     "Grad-CAM: channels weighted by their mean gradient (Selvaraju et al. 2017)"),
    ("gradcampp", "GradCAMPlusPlus", ("gradcam-plus-plus", "grad-cam-plus-plus"), ("gradient",),
     "Grad-CAM++: for several objects of a class (Chattopadhay et al. 2018)"),
    ("hirescam", "HiResCAM", (), ("gradient",),
     "HiResCAM: gradient times activation, place by place (Draelos & Carin 2020)"),
    ("layercam", "LayerCAM", (), ("gradient",),
     "LayerCAM: positive gradients, place by place; good for early layers (Jiang et al. 2021)"),
    ("xgradcam", "XGradCAM", (), ("gradient",),
     "XGrad-CAM: gradients weighted by normalised activations (Fu et al. 2020)"),
    ("eigencam", "EigenCAM", (), ("class-blind",),
     "Eigen-CAM: first principal component of the activations (Muhammad & Yeasin 2020)"),
    ("eigengradcam", "EigenGradCAM", (), ("gradient",),
     "Eigen-CAM of gradient times activation: tells classes apart"),
    ("scorecam", "ScoreCAM", (), ("slow",),
     "Score-CAM: one pass for each channel, no gradients (Wang et al. 2020)"),
)  # fmt: skip

_LAYER = Param(
    name="layer", type="str", optional=True,
    summary="module to explain at; none takes the last of 4 x 4 places or more",
)  # fmt: skip


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields explainers, projectors, then reviewers."""
    for name, method, aliases, tags, summary in _EXPLAINERS:
        yield Component(
            kind="explainer", name=name, target="zoo_interpretation.cams:cam", summary=summary,
            aliases=aliases, tags=tags, params=(_LAYER,), preset={"method": method},
            requires=("pytorch_grad_cam",),
        )  # fmt: skip
    yield Component(
        kind="projector", name="pca", target="zoo_interpretation.projectors:pca",
        summary="the two directions in which embeddings differ most (Pearson 1901)",
        aliases=("principal-components",), tags=("linear", "fast"),
    )  # fmt: skip
    yield Component(
        kind="projector", name="tsne", target="zoo_interpretation.projectors:tsne",
        summary="t-SNE: keeps neighbours together (van der Maaten & Hinton 2008)",
        aliases=("t-sne",), tags=("neighbours",), shorthand=("perplexity",), requires=("sklearn",),
        params=(
            Param(name="perplexity", default=30.0, minimum=1,
                  summary="about how many neighbours each image has"),
        ),
    )  # fmt: skip
    yield Component(
        kind="reviewer", name="confident-learning",
        target="zoo_interpretation.reviewers:confident_learning",
        summary="as many of each pair of classes as the noise that it estimates "
        "(Northcutt et al. 2021)",
        aliases=("cl",),
    )  # fmt: skip
    yield Component(
        kind="reviewer", name="self-confidence",
        target="zoo_interpretation.reviewers:self_confidence",
        summary="labels that the classifier finds improbable",
        params=(
            Param(name="below", default=0.5, minimum=0, maximum=1,
                  summary="labels less probable than that are candidates"),
        ),
        shorthand=("below",),
    )  # fmt: skip
    yield Component(
        kind="reviewer", name="margin", target="zoo_interpretation.reviewers:margin",
        summary="labels behind another class",
        params=(
            Param(name="above", default=0.0, minimum=-1, maximum=1,
                  summary="labels behind another class by more than that are candidates"),
        ),
        shorthand=("above",),
    )  # fmt: skip
