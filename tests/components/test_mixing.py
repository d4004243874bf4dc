from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from building import build
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zoo.protocols import MixTransform
from zoo.registry import Registry, parse_choices
from zoo.registry import build as build_choice
from zoo_torch import mixing
from zoo_torch._mixing import MIXING
from zoo_torch.beta import SymmetricBeta, lower_half

COMPONENTS = {component.name: component for component in MIXING}
every_mixer = pytest.mark.parametrize("name", COMPONENTS)
EDGES = [0.0, 1e-12, 1e-6, 0.5 - 1e-9, 0.5, 0.5 + 1e-9, 1 - 1e-6, 1 - 2**-24, 1.0]


def batch(num: int, transform, shape=(3, 12, 12), seed=0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images_BCHW, partners_BCHW = torch.rand(2, num, *shape, generator=generator)
    random_BN = torch.rand(num, transform.num_random, generator=generator)
    return images_BCHW, partners_BCHW, random_BN


# ---- the distribution of the share ------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.one_of(st.floats(0.05, 10), st.sampled_from([0.05, 0.2, 1.0, 10.0])),
    st.lists(st.integers(0, 2**53).map(lambda bits: bits * 2.0**-53), max_size=20),
)
def test_quantiles_are_scipys(alpha, uniform):
    uniform_N = np.array(uniform + EDGES)
    expected = stats.beta.ppf(uniform_N, alpha, alpha)
    found = SymmetricBeta(alpha).quantile(uniform_N)
    np.testing.assert_allclose(found, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.8, 1.0, 3.7, 10.0])
def test_distribution_function_is_scipys(alpha):
    x_T = np.concatenate((np.logspace(-9, -0.31, 200), [0.5]))
    np.testing.assert_allclose(
        lower_half(x_T, alpha), stats.beta.cdf(x_T, alpha, alpha), rtol=1e-12
    )


def test_a_quantile_is_alike_in_every_batch_and_grows_with_the_probability():
    uniform_N = np.sort(np.random.default_rng(0).random(1001))
    beta = SymmetricBeta(0.3)
    whole = beta.quantile(uniform_N)
    assert (np.diff(whole) >= 0).all()
    assert np.array_equal(np.concatenate([beta.quantile(u[None]) for u in uniform_N]), whole)


# ---- what all mixers have in common -----------------------------------------------------------


@every_mixer
@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 28, 28), (3, 17, 31), (4, 2, 3), (1, 1, 1)])
def test_shapes_and_ranges(name, shape):
    transform = build(COMPONENTS[name])
    images_BCHW, partners_BCHW, random_BN = batch(16, transform, shape)
    before = images_BCHW.clone(), partners_BCHW.clone()
    assert isinstance(transform, MixTransform)
    for random in (random_BN, random_BN * 0, random_BN * 0 + 1):
        for ours, theirs in ((images_BCHW, partners_BCHW), (images_BCHW * 0 + 1,) * 2):
            out, share_B = transform.mix(ours, theirs, random)
            assert out.shape == images_BCHW.shape
            assert out.dtype == share_B.dtype == torch.float32
            assert share_B.shape == (16,)
            for value in (out, share_B):
                assert value.min() >= 0
                assert value.max() <= 1
    assert torch.equal(images_BCHW, before[0])
    assert torch.equal(partners_BCHW, before[1])


@every_mixer
def test_the_share_is_that_of_the_pixels(name):
    transform = build(COMPONENTS[name])
    _, _, random_BN = batch(200, transform)
    ones = torch.ones(200, 1, 24, 24)
    out, share_B = transform.mix(ones, ones * 0, random_BN)
    torch.testing.assert_close(out.mean((1, 2, 3)), share_B, atol=1e-6, rtol=0)
    assert share_B.min() < 0.5, "shares are not folded"


@every_mixer
def test_images_that_are_not_chosen_stay_bit_for_bit(name):
    transform = build(COMPONENTS[name], p=0.3)
    images_BCHW, partners_BCHW, random_BN = batch(10, transform)
    random_BN[:, 0] = torch.arange(10) / 10
    out, share_B = transform.mix(images_BCHW, partners_BCHW, random_BN)
    assert torch.equal(out[3:], images_BCHW[3:])
    assert (share_B[3:] == 1).all()
    assert (share_B[:3] < 1).all()


# ---- each against a reference -----------------------------------------------------------------


def test_mixup_is_the_weighted_mean_with_a_share_from_beta():
    transform = build(COMPONENTS["mixup"], alpha=0.4)
    images_BCHW, partners_BCHW, random_BN = batch(50, transform)
    out, share_B = transform.mix(images_BCHW, partners_BCHW, random_BN)
    share = stats.beta.ppf(random_BN[:, 1].double().numpy(), 0.4, 0.4)
    np.testing.assert_allclose(share_B, share, atol=2e-7)
    weight = share[:, None, None, None]
    expected = weight * images_BCHW.numpy() + (1 - weight) * partners_BCHW.numpy()
    np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 20)])
def test_cutmix_pastes_the_box_of_the_paper(height, width):
    transform = build(COMPONENTS["cutmix"], alpha=1.0)
    images_BCHW, partners_BCHW, random_BN = batch(300, transform, (2, height, width), seed=4)
    out, share_B = transform.mix(images_BCHW, partners_BCHW, random_BN)
    clipped = 0
    for image, partner, random, mixed, share in zip(
        images_BCHW, partners_BCHW, random_BN.double().tolist(), out, share_B, strict=True
    ):
        _, wanted, down, right = random  # Beta(1, 1) is uniform
        side = math.sqrt(1 - wanted)
        rows, columns = (
            [i for i in range(n) if (c - side / 2) * n <= i + 0.5 < (c + side / 2) * n]
            for n, c in ((height, down), (width, right))
        )
        expected = image.numpy().copy()
        for row in rows:
            expected[:, row, columns] = partner.numpy()[:, row, columns]
        assert np.array_equal(mixed.numpy(), expected)
        taken = len(rows) * len(columns)
        assert share == np.float32(height * width - taken) / np.float32(height * width)
        clipped += len(rows) < int(side * height) or len(columns) < int(side * width)
    assert clipped > 30, "boxes at the edge are among them"


def test_pasted_of_a_whole_and_of_no_box():
    images_BCHW, partners_BCHW = torch.rand(2, 3, 1, 8, 8)
    middle = torch.full((3,), 0.5)
    out, share_B = mixing.pasted(
        images_BCHW, partners_BCHW, torch.tensor([0.0, 1.0, 0.75]), middle, middle
    )
    assert torch.equal(out[0], partners_BCHW[0])
    assert torch.equal(out[1], images_BCHW[1])
    assert share_B.tolist() == [0.0, 1.0, 0.75]
    assert torch.equal(out[2, :, 2:6, 2:6], partners_BCHW[2, :, 2:6, 2:6])


def test_mixup_cutmix_is_one_or_the_other_for_each_sample():
    both = build(COMPONENTS["mixup-cutmix"], mixup_alpha=0.3, cutmix_alpha=0.7, p=0.9)
    images_BCHW, partners_BCHW, random_BN = batch(400, both)
    out, share_B = both.mix(images_BCHW, partners_BCHW, random_BN)
    mixup = build(COMPONENTS["mixup"], alpha=0.3, p=0.9)
    cutmix = build(COMPONENTS["cutmix"], alpha=0.7, p=0.9)
    blends = mixup.mix(images_BCHW, partners_BCHW, random_BN[:, [0, 2]])
    pastes = cutmix.mix(images_BCHW, partners_BCHW, random_BN[:, [0, 2, 3, 4]])
    first = random_BN[:, 1] < 0.5
    assert 150 < first.sum() < 250
    expected = torch.where(first[:, None, None, None], blends[0], pastes[0])
    assert torch.equal(out, expected)
    assert torch.equal(share_B, torch.where(first, blends[1], pastes[1]))


# ---- as users type them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("mixup", "torch/mixup", {"alpha": 0.2, "p": 1.0}),
        ("mixup-0.8", "torch/mixup", {"alpha": 0.8}),
        ("mixup-0.2-0.5", "torch/mixup", {"alpha": 0.2, "p": 0.5}),
        ("cutmix-1.0", "torch/cutmix", {"alpha": 1.0}),
        ("cutmix:p=0.5", "torch/cutmix", {"p": 0.5}),
        ("CutMix", "torch/cutmix", {}),
        ("mixup-cutmix", "torch/mixup-cutmix", {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}),
        ("mixcut-0.8-1", "torch/mixup-cutmix", {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}),
    ],
)
def test_strings(registry, text, name, arguments):
    flip, choice = parse_choices(registry, "transform", f"flip+{text}")
    assert (flip.entry.id, choice.entry.id) == ("torch/flip", name)
    assert {key: choice.arguments[key] for key in arguments} == arguments
    transform = build_choice(choice)
    out, share_B = transform.mix(*batch(4, transform))
    assert len(out) == len(share_B) == 4
