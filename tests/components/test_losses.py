"""The losses against those of torch, torchvision and timm.

What every loss has to do, and the formulas in NumPy, are in tests/testing/test_builtins.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import timm.loss
import torch
from building import build
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from zoo_torch._losses import LOSSES

B, K = 12, 5


COMPONENTS = {component.name: component for component in LOSSES}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    logits_BK = 3 * torch.randn(B, K, generator=generator)
    target_B = torch.randint(0, K, (B,), generator=generator)
    target_B[:K] = torch.arange(K)
    shares_BK = torch.rand(B, K, generator=generator).softmax(1)
    return logits_BK, target_B, shares_BK


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_cross_entropy_is_torchs(batch, smoothing, weighted, soft):
    logits_BK, target_B, shares_BK = batch
    class_weight_K = torch.tensor([0.2, 1, 2, 0.7, 3]) if weighted else None
    target = shares_BK if soft else target_B
    expected = F.cross_entropy(
        logits_BK, target, weight=class_weight_K, label_smoothing=smoothing, reduction="mean"
    )
    for name in ("ce", "label-smoothing"):
        loss = build(
            COMPONENTS[name],
            {"class_weight_K": class_weight_K, "num_classes": K},
            smoothing=smoothing,
        )
        torch.testing.assert_close(loss(logits_BK, target), expected, atol=1e-6, rtol=1e-6)
        # One sample weight for all changes nothing.
        same = loss(logits_BK, target, torch.full((B,), 0.3))
        torch.testing.assert_close(same, expected, atol=1e-6, rtol=1e-6)


def test_defaults_of_the_two_cross_entropies(batch):
    logits_BK, target_B, _ = batch
    for name, smoothing in (("ce", 0.0), ("label-smoothing", 0.1)):
        expected = F.cross_entropy(logits_BK, target_B, label_smoothing=smoothing)
        torch.testing.assert_close(build(COMPONENTS[name])(logits_BK, target_B), expected)


def test_soft_class_weights_are_mixed_as_the_target(batch):
    logits_BK, _, shares_BK = batch
    class_weight_K = torch.tensor([0.2, 1, 2, 0.7, 3])
    loss = build(COMPONENTS["bce"], {"class_weight_K": class_weight_K})(logits_BK, shares_BK)
    x_BK, t_BK = logits_BK.double().numpy(), shares_BK.double().numpy()
    p_BK = 1 / (1 + np.exp(-x_BK))
    each_B = -(t_BK * np.log(p_BK) + (1 - t_BK) * np.log(1 - p_BK)).mean(1)
    counted_B = t_BK @ class_weight_K.double().numpy()
    expected = (each_B * counted_B).sum() / counted_B.sum()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_of_two_classes_is_torchvisions(gamma):
    score_B = torch.linspace(-6, 6, 25)
    target_B = torch.arange(25) % 2
    expected = sigmoid_focal_loss(
        score_B, target_B.float(), alpha=-1, gamma=gamma, reduction="mean"
    )
    logits_BK = torch.stack((torch.zeros(25), score_B), 1)
    loss = build(COMPONENTS["focal"], gamma=gamma)(logits_BK, target_B)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sum_classes", [False, True])
def test_bce_is_timms(batch, smoothing, sum_classes):
    logits_BK, target_B, _ = batch
    expected = timm.loss.BinaryCrossEntropy(smoothing=smoothing, sum_classes=sum_classes)
    loss = build(COMPONENTS["bce"], smoothing=smoothing, sum_classes=sum_classes)
    torch.testing.assert_close(loss(logits_BK, target_B), expected(logits_BK, target_B))


@pytest.mark.parametrize("clip", [0.0, 0.05, 0.2])
def test_asymmetric_is_timms(batch, clip):
    logits_BK, target_B, _ = batch
    reference = timm.loss.AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=1, clip=clip)
    one_hot_BK = F.one_hot(target_B, K).float()
    # One sample at a time, because releases of timm differ in whether they add up or average.
    each = [reference(logits_BK[i : i + 1], one_hot_BK[i : i + 1]) for i in range(B)]
    loss = build(COMPONENTS["asymmetric"], clip=clip)(logits_BK, target_B)
    torch.testing.assert_close(loss, torch.stack(each).mean(), atol=1e-6, rtol=1e-5)


def test_poly_and_focal_contain_cross_entropy(batch):
    logits_BK, target_B, _ = batch
    expected = F.cross_entropy(logits_BK, target_B)
    torch.testing.assert_close(
        build(COMPONENTS["poly"], epsilon=0.0)(logits_BK, target_B), expected
    )
    torch.testing.assert_close(build(COMPONENTS["focal"], gamma=0.0)(logits_BK, target_B), expected)
