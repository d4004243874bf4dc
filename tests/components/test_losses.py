from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import timm.loss
import torch
from building import build
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

import zoo_torch.losses as losses
from zoo_torch._losses import LOSSES

B, K = 12, 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One setting of one loss, with an independent reference for shares_BK in float64."""

    name: str
    arguments: dict
    reference: Callable[[np.ndarray, np.ndarray], np.ndarray]
    per_sample: Callable


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def reference_cross_entropy(x, t, smoothing=0.0):
    return -((t * (1 - smoothing) + smoothing / x.shape[1]) * log_softmax(x)).sum(1)


def reference_focal(x, t, gamma=2.0, alpha=1.0):
    p = np.exp(log_softmax(x))
    return -alpha * (t * (1 - p) ** gamma * np.log(p)).sum(1)


def reference_bce(x, t, smoothing=0.0, reduce=np.mean):
    t = t * (1 - smoothing) + smoothing / x.shape[1]
    p = 1 / (1 + np.exp(-x))
    return reduce(-(t * np.log(p) + (1 - t) * np.log(1 - p)), 1)


def reference_asymmetric(x, t, gamma_neg=4.0, gamma_pos=1.0, clip=0.05):
    p = 1 / (1 + np.exp(-x))
    shifted = np.maximum(p - clip, 0)
    present = t * (1 - p) ** gamma_pos * np.log(p)
    absent = (1 - t) * shifted**gamma_neg * np.log(1 - shifted)
    return -(present + absent).sum(1)


def reference_poly(x, t, epsilon=1.0, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / x.shape[1]
    return reference_cross_entropy(x, t) + epsilon * (1 - (t * np.exp(log_softmax(x))).sum(1))


FAMILIES = {
    "ce": (reference_cross_entropy, losses.cross_entropy_per_sample),
    "label-smoothing": (
        functools.partial(reference_cross_entropy, smoothing=0.1),
        losses.cross_entropy_per_sample,
    ),
    "focal": (reference_focal, losses.focal_per_sample),
    "bce": (reference_bce, losses.binary_cross_entropy_per_sample),
    "asymmetric": (reference_asymmetric, losses.asymmetric_per_sample),
    "poly": (reference_poly, losses.poly_per_sample),
}
SETTINGS = {
    "ce": [{}, {"smoothing": 0.3}],
    "label-smoothing": [{}, {"smoothing": 0.0}],
    "focal": [{}, {"gamma": 0.0}, {"gamma": 0.5, "alpha": 0.25}],
    "bce": [{}, {"smoothing": 0.1}],
    "asymmetric": [{}, {"gamma_neg": 2.0, "gamma_pos": 0.0, "clip": 0.0}, {"gamma_neg": 0.5}],
    "poly": [{}, {"epsilon": 2.0, "smoothing": 0.1}, {"epsilon": -1.0}],
}
CASES = [
    Case(
        name=name,
        arguments=arguments,
        reference=functools.partial(FAMILIES[name][0], **arguments),
        per_sample=functools.partial(FAMILIES[name][1], **arguments),
    )
    for name, settings in SETTINGS.items()
    for arguments in settings
]
COMPONENTS = {component.name: component for component in LOSSES}
every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.name}-{len(case.arguments)}-{case.arguments}"
)


def make(case: Case, class_weight_K=None):
    return build(COMPONENTS[case.name], {"class_weight_K": class_weight_K}, **case.arguments)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    logits_BK = 3 * torch.randn(B, K, generator=generator)
    target_B = torch.randint(0, K, (B,), generator=generator)
    target_B[:K] = torch.arange(K)
    shares_BK = torch.rand(B, K, generator=generator).softmax(1)
    return logits_BK, target_B, shares_BK


def test_every_loss_has_a_case():
    assert {case.name for case in CASES} == set(COMPONENTS)


@every_case
def test_equals_the_formula(case, batch):
    logits_BK, target_B, shares_BK = batch
    one_hot_BK = np.eye(K)[target_B.numpy()]
    x = logits_BK.double().numpy()
    for target, t in ((target_B, one_hot_BK), (shares_BK, shares_BK.double().numpy())):
        loss = make(case)(logits_BK, target)
        assert loss.dtype == torch.float32
        assert loss.shape == ()
        assert loss.item() == pytest.approx(case.reference(x, t).mean(), abs=1e-6, rel=1e-6)


@every_case
def test_whole_weights_act_like_repeated_samples(case, batch):
    logits_BK, target_B, shares_BK = batch
    weight_B = torch.tensor([0, 1, 2, 3] * 3)
    for target in (target_B, shares_BK):
        weighted = make(case)(logits_BK, target, weight_B.float())
        repeated = make(case)(
            logits_BK.repeat_interleave(weight_B, 0), target.repeat_interleave(weight_B, 0)
        )
        torch.testing.assert_close(weighted, repeated, atol=1e-6, rtol=1e-6)


def is_smoothed_cross_entropy(case: Case) -> bool:
    smoothing = case.arguments.get("smoothing", 0.1 if case.name == "label-smoothing" else 0)
    return case.name in ("ce", "label-smoothing") and smoothing > 0


# torch puts class weights inside the smoothed sum of cross-entropy: compared with torch below.
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not is_smoothed_cross_entropy(case)],
    ids=lambda case: f"{case.name}-{case.arguments}",
)
def test_class_weights_act_like_repeated_samples(case, batch):
    logits_BK, target_B, _ = batch
    class_weight_K = torch.tensor([0.0, 1, 2, 1, 3])
    times_B = class_weight_K[target_B].long()
    weighted = make(case, class_weight_K)(logits_BK, target_B)
    repeated = make(case)(
        logits_BK.repeat_interleave(times_B, 0), target_B.repeat_interleave(times_B)
    )
    torch.testing.assert_close(weighted, repeated, atol=1e-6, rtol=1e-6)


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
    per_sample = reference_bce(logits_BK.double().numpy(), shares_BK.double().numpy())
    counted = shares_BK.double().numpy() @ class_weight_K.double().numpy()
    assert loss.item() == pytest.approx((per_sample * counted).sum() / counted.sum(), abs=1e-6)


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


@every_case
def test_gradient_is_the_derivative(case, batch):
    logits_BK, target_B, shares_BK = batch
    x = logits_BK.double().requires_grad_()
    for target in (target_B, shares_BK.double()):
        assert torch.autograd.gradcheck(lambda x, t=target: case.per_sample(x, t), (x,))


@every_case
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float16, 6e4),
        (torch.bfloat16, 1e30),
        (torch.float32, 1e30),
        (torch.float32, 90.0),
        (torch.float16, 17.0),
        (torch.float32, 0.0),
    ],
    ids=str,
)
def test_extreme_logits_stay_finite(case, dtype, size):
    signs_BK = torch.cat((2 * torch.eye(K) - 1, 1 - 2 * torch.eye(K), torch.ones(1, K)))
    for target_class in range(K):
        logits_BK = (size * signs_BK).to(dtype).requires_grad_()
        target_B = torch.full((len(signs_BK),), target_class)
        shares_BK = torch.full((len(signs_BK), K), 1 / K)
        for target in (target_B, F.one_hot(target_B, K).float(), shares_BK):
            loss = make(case)(logits_BK, target)
            assert loss.dtype == torch.float32
            assert loss.isfinite()
            (gradient_BK,) = torch.autograd.grad(loss, logits_BK)
            assert gradient_BK.isfinite().all()


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(case, dtype, batch):
    logits_BK, target_B, shares_BK = batch
    logits_BK = logits_BK.to(dtype)
    for target in (target_B, shares_BK):
        assert torch.equal(make(case)(logits_BK, target), make(case)(logits_BK.float(), target))


@every_case
def test_a_batch_that_counts_nothing_costs_nothing(case, batch):
    logits_BK, target_B, shares_BK = batch
    for target in (target_B, shares_BK):
        x = logits_BK.clone().requires_grad_()
        loss = make(case)(x, target, torch.zeros(B))
        (gradient_BK,) = torch.autograd.grad(loss, x)
        assert loss.item() == 0
        assert not gradient_BK.any()


@every_case
def test_descent_lowers_it_to_the_right_class(case):
    logits_BK = torch.zeros(K, K, requires_grad=True)
    target_B = torch.arange(K)
    loss = make(case)
    first = loss(logits_BK, target_B).item()
    for _ in range(50):
        (gradient_BK,) = torch.autograd.grad(loss(logits_BK, target_B), logits_BK)
        with torch.no_grad():
            logits_BK -= 2.0 * gradient_BK
    assert loss(logits_BK, target_B).item() < first
    assert torch.equal(logits_BK.argmax(1), target_B)
