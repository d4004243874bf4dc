from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from building import build
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from zoo_torch import colors
from zoo_torch._transforms import TRANSFORMS

COMPONENTS = {component.name: component for component in TRANSFORMS}

# torchvision's weights of the channels have four digits and add up to 0.9999.
GREY = {"atol": 2e-4, "rtol": 0}


def test_greyed_is_pillows_grey():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    out = colors.greyed(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_allclose(out[0, 0] * 255, expected, atol=0.51)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7, 4.0])
@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation"])
def test_changes_are_torchvisions(change, factor, channels):
    ours = {
        "brightness": colors.brightened,
        "contrast": colors.contrasted,
        "saturation": colors.saturated,
    }
    images_BCHW = torch.rand(5, channels, 8, 9)
    expected = getattr(reference, f"adjust_{change}")(images_BCHW, factor)
    out = ours[change](images_BCHW, torch.full((5,), factor))
    torch.testing.assert_close(out, expected, atol=2e-4 * max(1, factor), rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_mean_of_the_contrast_is_the_same_in_any_order(channels):
    images_BCHW = torch.rand(4, channels, 31, 37)
    order = torch.randperm(31 * 37, generator=torch.Generator().manual_seed(0))
    shuffled = images_BCHW.flatten(2)[:, :, order].view(images_BCHW.shape)
    means, again = (colors.contrasted(i, torch.zeros(4)) for i in (images_BCHW, shuffled))
    assert torch.equal(means, again)
    if channels != 3:
        expected = images_BCHW.double().mean((1, 2, 3), keepdim=True).expand(images_BCHW.shape)
        torch.testing.assert_close(means.double(), expected, atol=1e-7, rtol=0)


@settings(max_examples=40)
@given(st.floats(-0.5, 0.5), st.integers(0, 2**31))
def test_hued_is_torchvisions_hue(turn, seed):
    generator = torch.Generator().manual_seed(seed)
    # A few levels, so that channels are often equal.
    images_BCHW = torch.randint(0, 4, (2, 3, 6, 6), generator=generator) / 3
    out = colors.hued(images_BCHW, torch.full((2,), turn))
    torch.testing.assert_close(out, reference.adjust_hue(images_BCHW, turn), atol=1e-5, rtol=0)
    assert torch.equal(out.amax(1), images_BCHW.amax(1))


def test_jittered_takes_each_order():
    images_BCHW = torch.rand(1, 3, 8, 8).expand(25, -1, -1, -1)
    factors = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.8, "hue": 0.2}
    out = colors.jittered(
        images_BCHW,
        torch.arange(-1, 24),
        **{f"{name}_B": torch.full((25,), factor) for name, factor in factors.items()},
    )
    assert torch.equal(out[0], images_BCHW[0])
    for result, order in zip(out[1:], permutations(factors), strict=True):
        expected = images_BCHW[0]
        for name in order:
            expected = getattr(reference, f"adjust_{name}")(expected, factors[name])
        torch.testing.assert_close(result, expected, atol=2e-3, rtol=0)
    assert len(out.flatten(1).unique(dim=0)) > 12


def test_jitter_draws_factors_as_torchvision_does():
    transform = build(COMPONENTS["jitter"], brightness=1.5, contrast=0, saturation=0, hue=0, p=0.5)
    images_BCHW = torch.full((5, 3, 2, 2), 0.25)
    random_BN = torch.zeros(5, 6)
    random_BN[:, 2] = torch.tensor([0.0, 0.5, 1.0, 0.2, 0.9])
    random_BN[4, 0] = 0.5  # not chosen
    out = transform(images_BCHW, random_BN)[:, 0, 0, 0]
    np.testing.assert_allclose(out, [0.0, 1.25 / 4, 2.5 / 4, 0.5 / 4, 0.25], atol=1e-6)


def test_grayscale_greys_the_share_that_is_asked_for():
    images_BCHW = torch.rand(10, 3, 4, 4)
    transform = build(COMPONENTS["grayscale"], p=0.3)
    out = transform(images_BCHW, torch.arange(10)[:, None] / 10)
    expected = reference.rgb_to_grayscale(images_BCHW[:3], num_output_channels=3)
    torch.testing.assert_close(out[:3], expected, **GREY)
    assert torch.equal(out[:3, 0], out[:3, 2])
    assert torch.equal(out[3:], images_BCHW[3:])


def test_color_scales_about_grey_and_adds():
    images_BCHW = torch.linspace(0, 1, 11).view(1, 1, 1, 11).repeat(2, 1, 1, 1)
    transform = build(COMPONENTS["color"], brightness=0.1, contrast=0.5)
    out = transform(images_BCHW, torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    x = np.linspace(0, 1, 11)
    np.testing.assert_allclose(out[0, 0, 0], ((x - 0.5) * 1.5 + 0.4).clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(out[1, 0, 0], (x - 0.5) * 0.5 + 0.5, atol=1e-6)
