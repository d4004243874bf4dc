"""Each check of explainers, projectors and reviewers catches one that is wrong in just that way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject

from zoo.testing import explainers, projectors, reviewers

# ---- explainers -------------------------------------------------------------------------------


def saliency(model, images_BCHW, classes_B, change=lambda heat, classes: heat):
    """The size of the gradient of a class' logit, each image from 0 to 1."""
    trains = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval()
    with torch.enable_grad():
        images_BCHW = images_BCHW.detach().clone().requires_grad_()
        score = model(images_BCHW)[torch.arange(len(classes_B)), classes_B].sum()
        heat = torch.autograd.grad(score, images_BCHW)[0].abs().amax(1)
    for parameter, before in zip(model.parameters(), trains, strict=True):
        parameter.requires_grad_(before)
    for module, before in zip(model.modules(), modes, strict=True):
        module.training = before
    return change(heat / heat.amax((1, 2), True).clamp(min=1e-9), classes_B)


def changed(change):
    return lambda: lambda *given: saliency(*given, change=change)


def by_the_first(model, images_BCHW, classes_B):
    return saliency(model, images_BCHW, classes_B[:1].expand(len(images_BCHW)))


def of_the_mean(model, images_BCHW, classes_B):
    heat = saliency(model, images_BCHW, classes_B)
    return (heat + heat.mean(0)) / 2


def class_blind(model, images_BCHW, classes_B):
    return saliency(model, images_BCHW, torch.zeros_like(classes_B))


def constant(model, images_BCHW, classes_B):
    ramp = torch.linspace(0, 1, images_BCHW[0, 0].numel()).view(images_BCHW.shape[2:])
    return ramp.expand(len(images_BCHW), -1, -1) / (1 + classes_B.float()[:, None, None])


def leaving_gradients(model, images_BCHW, classes_B):
    with torch.enable_grad():
        model(images_BCHW.clone().requires_grad_()).sum().backward()
    return saliency(model, images_BCHW, classes_B)


def evaluating(model, images_BCHW, classes_B):
    model.eval()
    return saliency(model, images_BCHW, classes_B)


def noisy(heat, classes):
    return (heat * (0.5 + 0.5 * torch.rand_like(heat))).clamp(0, 1)


WRONG_EXPLAINERS = [
    (changed(lambda heat, c: heat[:, ::4, ::4]),
     {"heat-of-the-images-size": "heat is torch.float32 (2, 7, 7)"}),
    (changed(lambda heat, c: heat.double()), {"heat-of-the-images-size": "heat is torch.float64"}),
    (changed(lambda heat, c: heat * 2), {"heat-in-range": "must be within 0..1"}),
    (changed(lambda heat, c: heat * 0 + 0.5 + 0.0001 * heat), {
        "heat-in-range": "the same everywhere", "depends-on-the-class": "",
        "depends-on-the-image": ""}),
    (lambda: class_blind, {"depends-on-the-class": "three classes have the same heat"}),
    (lambda: constant, {"depends-on-the-image": "two images have the same heat"}),
    (changed(noisy), {"deterministic": "global generator of torch", "images-are-independent": ""}),
    (lambda: of_the_mean, {"images-are-independent": "alone an image's heat is off by"}),
    (lambda: by_the_first, {"images-are-independent": "alone"}),
    (lambda: leaving_gradients, {"leaves-the-network-alone": "the gradient of head.weight"}),
    (lambda: evaluating, {"leaves-the-network-alone": "which of them train"}),
]  # fmt: skip


def test_right_explainers_pass():
    made = subject("explainer", lambda: saliency)
    assert failing(explainers.CHECKS, made) == {}
    assert skipped(explainers.CHECKS, made) == set()
    blind = subject("explainer", lambda: class_blind, tags=("class-blind",))
    assert failing(explainers.CHECKS, blind) == {}
    assert skipped(explainers.CHECKS, blind) == {"depends-on-the-class"}


@pytest.mark.parametrize(
    ("target", "caught"), WRONG_EXPLAINERS, ids=map(str, range(len(WRONG_EXPLAINERS)))
)
def test_a_wrong_explainer_is_caught(target, caught):
    assert_caught(explainers.CHECKS, subject("explainer", target), caught)


# ---- projectors -------------------------------------------------------------------------------


def shadow(change=lambda points, rows: points, least=0):
    """Embeddings seen from a direction that the seed draws."""

    def build(*, seed):
        def project(rows_ND):
            assert len(rows_ND) >= least, f"{least} images are needed"
            axes_D2 = np.random.default_rng(seed).normal(size=(rows_ND.shape[1], 2))
            return change((rows_ND @ axes_D2).astype(np.float32), rows_ND)

        return project

    return build


def scaled(points, rows):
    with np.errstate(all="ignore"):
        return (points - points.mean(0)) / points.std(0)


def centred(points, rows):
    rows -= rows.mean(0)
    return points


WRONG_PROJECTORS = [
    (shadow(lambda p, r: p[:, :1]), {
        "points-on-a-plane": "it makes float32 (40, 1)", "three-images": "",
        "more-features-than-images": "", "equal-embeddings": "", "deterministic-by-seed": ""}),
    (shadow(lambda p, r: p * 0), {"points-on-a-plane": "one coordinate in common"}),
    (shadow(lambda p, r: p[: r.shape[1]]), {
        "points-on-a-plane": "float32 (16, 2), not float32 (40, 2)", "equal-embeddings": "",
        "deterministic-by-seed": ""}),
    (shadow(lambda p, r: p if r.shape[1] <= len(r) * 10 else p.astype(float)),
     {"more-features-than-images": "of 12 rows of 300 it makes float64"}),
    (shadow(least=4), {"three-images": "4 images are needed"}),
    (shadow(scaled), {"equal-embeddings": "not finite"}),
    (shadow(lambda p, r: p + np.random.rand(*p.shape).astype(np.float32)),
     {"deterministic-by-seed": "global generator of NumPy"}),
    (lambda: lambda rows: shadow()(seed=np.random.SeedSequence().entropy)(rows),
     {"deterministic-by-seed": "built twice with seed 5"}),
    (shadow(centred), {"inputs-are-left-alone": "wrote into the embeddings",
                       "deterministic-by-seed": ""}),
]  # fmt: skip


def test_a_right_projector_passes():
    assert failing(projectors.CHECKS, subject("projector", shadow())) == {}


@pytest.mark.parametrize(
    ("target", "caught"), WRONG_PROJECTORS, ids=map(str, range(len(WRONG_PROJECTORS)))
)
def test_a_wrong_projector_is_caught(target, caught):
    assert_caught(projectors.CHECKS, subject("projector", target), caught)


# ---- reviewers --------------------------------------------------------------------------------


def doubt(change=lambda suspicion, p, labels: suspicion):
    """One minus the probability of the label."""

    def review(probabilities_NK, labels_N):
        own_N = probabilities_NK[np.arange(len(labels_N)), labels_N]
        return change((1 - own_N).astype(np.float32), probabilities_NK, labels_N)

    return lambda: review


def writing(suspicion, p, labels):
    p[:] = 0
    return suspicion


def writing_labels(suspicion, p, labels):
    labels.sort()
    return suspicion


REVIEWED = (
    "suspicion-of-each-image", "within-0-and-1", "wrong-labels-first", "right-labels-are-none",
    "deterministic", "order-does-not-matter",
)  # fmt: skip
WRONG_REVIEWERS = [
    (doubt(lambda s, p, y: s.astype(float)), dict.fromkeys(REVIEWED, "float64")),
    (doubt(lambda s, p, y: s[: max(1, len(s) // 2)] if len(s) == 7 else s),
     {"suspicion-of-each-image": "of 7 images it makes float32 (3,)"}),
    (doubt(lambda s, p, y: s * 1.5), {"within-0-and-1": "not within 0..1"}),
    (doubt(lambda s, p, y: s * 0), {"wrong-labels-first": "no candidate"}),
    (doubt(lambda s, p, y: (1 - s) * 0.4), {"wrong-labels-first": "another one"}),
    (doubt(lambda s, p, y: s ** np.float32(0.1)), {"right-labels-are-none": "has suspicion 0.7"}),
    (doubt(lambda s, p, y: s * (1 - 0.1 * np.random.rand(len(s)).astype(np.float32))),
     {"deterministic": "global generator of NumPy", "order-does-not-matter": ""}),
    (doubt(lambda s, p, y: s * np.linspace(0.9, 1, len(s), dtype=np.float32)),
     {"order-does-not-matter": "in another order"}),
    (doubt(writing), {"inputs-are-left-alone": "wrote into the probabilities",
                      "deterministic": "", "order-does-not-matter": ""}),
    (doubt(writing_labels), {"inputs-are-left-alone": "wrote into the labels",
                             "deterministic": "", "order-does-not-matter": ""}),
]  # fmt: skip


def test_a_right_reviewer_passes():
    assert failing(reviewers.CHECKS, subject("reviewer", doubt())) == {}


@pytest.mark.parametrize(
    ("target", "caught"), WRONG_REVIEWERS, ids=map(str, range(len(WRONG_REVIEWERS)))
)
def test_a_wrong_reviewer_is_caught(target, caught):
    assert_caught(reviewers.CHECKS, subject("reviewer", target), caught)


# ---- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "table"),
    [(explainers, WRONG_EXPLAINERS), (projectors, WRONG_PROJECTORS), (reviewers, WRONG_REVIEWERS)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_check_can_fail(module, table):
    assert_each_can_fail(module.CHECKS, table)
