"""Squares: torchvision's geometry, one result for single images and stacks, any shape survives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import v2

from zoo.data.pixels.resize import (
    fill_colour,
    needed_sides,
    stack_to_bytes,
    to_bytes,
    write_squares,
)
from zoo.protocols import Preprocessing

MODES = {"nearest": 0, "bilinear": 2, "bicubic": 3}
"""Pillow's numbers of the filters."""


def photo(width, height):
    """A piece of a real photograph."""
    return Image.fromarray(load_sample_image("flower.jpg")[100 : 100 + height, 150 : 150 + width])


def bytes_of(image, **options):
    return to_bytes(image, Preprocessing(**options), 3)


def difference(found, expected):
    expected = np.asarray(expected).astype(int)
    return np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected)


@pytest.mark.parametrize("size", [(200, 150), (97, 211), (64, 64), (40, 50), (333, 90)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
@pytest.mark.parametrize("interpolation", MODES)
def test_crop_is_torchvisions_resize_and_centre_crop(size, fraction, interpolation):
    image = photo(*size)
    found = bytes_of(image, image_size=64, crop_fraction=fraction, interpolation=interpolation)
    expected = v2.Compose([
        v2.Resize(int(64 / fraction), interpolation=v2.InterpolationMode(interpolation)),
        v2.CenterCrop(64),
    ])(image)  # fmt: skip
    off = difference(found, expected)
    if interpolation == "nearest":
        # Where a sample falls between two pixels, the two libraries round differently.
        assert (off > 0).mean() < 0.15
    else:
        assert off.max() <= 2
        assert off.mean() < 0.3


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(200, 100), (30, 90), (64, 64)])
def test_squash_resizes_both_sides(size, interpolation):
    image = photo(*size)
    found = bytes_of(image, image_size=48, fit="squash", crop_fraction=0.5,
                     interpolation=interpolation)  # fmt: skip
    assert difference(found, image.resize((48, 48), MODES[interpolation])).max() <= 2


def test_pad_keeps_the_whole_image_in_the_middle_of_the_mean_colour():
    mean = (0.485, 0.456, 0.406)
    image = photo(200, 100)
    found = bytes_of(image, image_size=48, fit="pad", mean=mean, crop_fraction=0.5)
    assert difference(found[:, 12:36], image.resize((48, 24), 2)).max() <= 2
    for border in (found[:, :12], found[:, 36:]):
        assert border.permute(1, 2, 0).unique(dim=0).reshape(-1, 3).unique(dim=0).tolist() == [
            [124, 116, 104]
        ]
    upright = bytes_of(photo(100, 201), image_size=48, fit="pad", mean=mean)
    assert (upright[:, :, :12] == torch.tensor([124, 116, 104])[:, None, None]).all()
    grey = to_bytes(image, Preprocessing(image_size=48, fit="pad", mean=mean), 1)
    assert grey[0, 0].unique().tolist() == [round(255 * sum(mean) / 3)]


def test_the_border_is_near_zero_once_it_is_normalised():
    mean = (0.123, 0.5, 0.987)
    colour = np.array(fill_colour(mean, 3))
    assert np.abs(colour / 255 - mean).max() <= 0.5 / 255


@settings(max_examples=200)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    side=st.integers(1, 24),
    fit=st.sampled_from(["crop", "pad", "squash"]),
    fraction=st.sampled_from([1.0, 0.95, 0.875, 0.3]),
    interpolation=st.sampled_from(sorted(MODES)),
    channels=st.sampled_from([1, 3]),
    colour=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_stack_and_a_single_image_give_the_same_bits(
    height, width, side, fit, fraction, interpolation, channels, colour, seed
):
    preprocessing = Preprocessing(
        image_size=side, fit=fit, crop_fraction=fraction, interpolation=interpolation,
        mean=(0.2, 0.5, 0.7),
    )  # fmt: skip
    shape = (3, height, width, 3) if colour else (3, height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    stacked = stack_to_bytes(pixels, preprocessing, channels)
    assert stacked.shape == (3, channels, side, side)
    assert stacked.dtype == torch.uint8
    for index in range(3):
        single = to_bytes(Image.fromarray(pixels[index]), preprocessing, channels)
        assert torch.equal(single, stacked[index])


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (7, 3000)])
def test_extreme_shapes_stay_small_and_keep_their_colour(fit, size):
    found = bytes_of(Image.new("RGB", size, (10, 200, 30)), image_size=224, fit=fit, mean=(0, 0, 0))
    assert found.shape == (3, 224, 224)
    assert found[:, 111, 111].tolist() == [10, 200, 30]


def test_grey_is_pillows():
    image = photo(64, 64)
    found = to_bytes(image, Preprocessing(image_size=64), 1)
    np.testing.assert_array_equal(found[0].numpy(), np.asarray(image.convert("L")))


def test_an_image_of_the_right_size_is_not_touched():
    image = photo(64, 64)
    assert difference(bytes_of(image, image_size=64), image).max() == 0


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"image_size": 224, "crop_fraction": 0.875}, (256, 256)),
        ({"image_size": 224, "crop_fraction": 0.95}, (235, 235)),
        ({"image_size": 57, "crop_fraction": 0.57}, (100, 100)),
        ({"image_size": 64, "fit": "pad", "crop_fraction": 0.5}, (0, 64)),
        ({"image_size": 64, "fit": "squash", "crop_fraction": 0.5}, (64, 64)),
    ],
)
def test_needed_sides(options, sides):
    assert needed_sides(Preprocessing(**options)) == sides


@settings(max_examples=40)
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from([(28, 28), (40, 30), (30, 40), (64, 64), (200, 3)]),
                  st.sampled_from(["RGB", "L"])),
        min_size=1, max_size=9,
    ),
    fit=st.sampled_from(["crop", "pad", "squash"]),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
    channels=st.sampled_from([1, 3]),
)  # fmt: skip
def test_together_each_image_becomes_what_it_becomes_alone(kinds, fit, interpolation, channels):
    preprocessing = Preprocessing(image_size=64, fit=fit, interpolation=interpolation)
    images = {
        3 * place + 1: photo(*size).rotate(90 * place).convert(mode)
        for place, (size, mode) in enumerate(kinds)
    }
    squares = np.full((30, 64, 64, channels), 77, dtype=np.uint8)
    write_squares(images, squares, preprocessing)
    for row, square in enumerate(squares):
        if row in images:
            alone = to_bytes(images[row], preprocessing, channels)
            assert np.array_equal(square, alone.permute(1, 2, 0).numpy())
        else:
            assert (square == 77).all()  # nobody else's row
