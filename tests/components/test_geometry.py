from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from building import build
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from zoo.errors import UsageError
from zoo_torch import geometry
from zoo_torch._transforms import TRANSFORMS
from zoo_torch.drawing import power

COMPONENTS = {component.name: component for component in TRANSFORMS}


def test_flip_mirrors_the_share_that_is_asked_for():
    images_BCHW = torch.rand(100, 1, 3, 4)
    random_BN = torch.arange(100)[:, None] / 100
    out = build(COMPONENTS["flip"], p=0.3)(images_BCHW, random_BN)
    expected = images_BCHW.numpy().copy()
    expected[:30] = expected[:30, :, :, ::-1]
    assert np.array_equal(out.numpy(), expected)


@pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6)])
def test_shifted_is_numpys_mirrored_crop(height, width):
    offsets = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]
    images_BCHW = torch.rand(len(offsets), 2, height, width)
    down_B, right_B = torch.tensor(offsets).T
    out = geometry.shifted(images_BCHW, down_B, right_B)
    for image, (down, right), moved in zip(images_BCHW, offsets, out, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
        crop = padded[:, 3 - down : 3 - down + height, 3 - right : 3 - right + width]
        assert np.array_equal(moved.numpy(), crop)


def test_shift_reaches_every_offset_up_to_its_fraction_and_no_more():
    transform = build(COMPONENTS["shift"])
    random_BN = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))
    random_BN[0], random_BN[1] = 0.0, 1 - 2**-24
    marked = torch.zeros(3000, 1, 16, 16)
    marked[:, :, 8, 8] = 1
    places = transform(marked, random_BN).flatten(1).argmax(1)
    offsets = torch.stack((places // 16 - 8, places % 16 - 8), 1)
    seen, counts = offsets.unique(dim=0, return_counts=True)
    assert seen.tolist() == [[down, right] for down in range(-2, 3) for right in range(-2, 3)]
    assert counts.min() > 3000 / 25 * 0.6


def test_rotated_by_a_right_angle_is_rot90():
    images_BCHW = torch.rand(3, 2, 8, 8)
    out = geometry.rotated(images_BCHW, torch.tensor([1.0, -1.0, 0.0]))
    expected = [images_BCHW[0].rot90(1, (1, 2)), images_BCHW[1].rot90(-1, (1, 2)), images_BCHW[2]]
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-25.0, 8.0])
def test_rotated_is_pillows_rotation(degrees):
    y, x = np.mgrid[0:40, 0:40] / 40
    image = (0.5 + 0.5 * np.sin(5 * x + 3 * y)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))
    half_tangent_B = torch.tensor([math.tan(math.radians(degrees) / 2)])
    out = geometry.rotated(torch.from_numpy(image)[None, None], half_tangent_B)[0, 0].numpy()
    middle = slice(10, 30)  # Pillow has black where we mirror
    np.testing.assert_allclose(out[middle, middle], expected[middle, middle], atol=2e-3)


def test_rotate_stays_within_its_degrees():
    transform = build(COMPONENTS["rotate"], degrees=30.0)
    marked = torch.zeros(2, 1, 101, 101)
    marked[:, :, 50, 95:98] = 1
    out = transform(marked, torch.tensor([[0.0], [1 - 2**-24]]))
    for image, sign in zip(out, (1, -1), strict=True):
        row, column = divmod(image.flatten().argmax().item(), 101)
        angle = math.degrees(math.atan2(row - 50, column - 50))
        assert angle == pytest.approx(sign * 30, abs=1)


def test_vflip_mirrors_upside_down():
    images_BCHW = torch.rand(100, 1, 3, 4)
    random_BN = torch.arange(100)[:, None] / 100
    out = build(COMPONENTS["vflip"], p=0.3)(images_BCHW, random_BN)
    expected = images_BCHW.numpy().copy()
    expected[:30] = expected[:30, :, ::-1]
    assert np.array_equal(out.numpy(), expected)


@pytest.mark.parametrize("box", [(0, 0, 20, 30), (3, 5, 9, 7), (19, 29, 1, 1), (2, 1, 18, 4)])
def test_cropped_is_torchvisions_resized_crop(box):
    images_BCHW = torch.rand(2, 3, 20, 30)
    out = geometry.cropped(images_BCHW, *(torch.full((2,), float(value)) for value in box))
    expected = reference.resized_crop(images_BCHW, *box, size=[20, 30], antialias=True)
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=0)


def boxes(transform, random_BN: torch.Tensor, height: int, width: int) -> np.ndarray:
    """Returns (top, left, height, width) of what a crop takes, read off ramps."""
    y_HW, x_HW = np.mgrid[0:height, 0:width] + 0.5
    ramps = torch.tensor(np.stack((y_HW / height, x_HW / width)), dtype=torch.float32)
    out = transform(ramps.expand(len(random_BN), -1, -1, -1), random_BN).double().numpy()
    found = []
    for side, line in ((height, out[:, 0, :, 0]), (width, out[:, 1, 0])):
        middle = side // 2
        length = (line[:, middle + 1] - line[:, middle - 1]) / 2 * side * side
        found.append((line[:, middle] * side - (middle + 0.5) * length / side, length))
    (top, tall), (left, wide) = found
    return np.stack((top, left, tall, wide), axis=1)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (30, 60)])
@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.3, 0.6), (0.75, 4 / 3)), ((0.08, 1.0), (0.75, 4 / 3))]
)
def test_crop_keeps_area_and_shape_in_range_and_inside(height, width, scale, ratio):
    transform = build(COMPONENTS["crop"], scale=scale, ratio=ratio)
    random_BN = torch.rand(500, 4, generator=torch.Generator().manual_seed(1))
    top, left, tall, wide = boxes(transform, random_BN, height, width).T
    area, shape = tall * wide / (height * width), wide / tall
    assert scale[0] - 1e-3 <= area.min() < scale[0] + 0.05
    fits = np.minimum(shape * height / width, width / height / shape)
    assert (area <= np.minimum(scale[1], fits) + 1e-3).all()
    assert ratio[0] - 0.02 <= shape.min() < shape.max() <= ratio[1] + 0.02
    assert min(top.min(), left.min()) >= -1e-2
    assert (top + tall).max() <= height + 1e-2
    assert (left + wide).max() <= width + 1e-2


def test_crop_draws_the_logarithm_of_the_ratio_evenly():
    transform = build(COMPONENTS["crop"], scale=(0.3, 0.6))
    random_BN = torch.rand(400, 4, generator=torch.Generator().manual_seed(2))
    _, _, tall, wide = boxes(transform, random_BN, 41, 41).T
    expected = 0.75 * (16 / 9) ** random_BN[:, 0].numpy()
    np.testing.assert_allclose(wide / tall, expected, rtol=1e-3)


def test_crop_of_one_number_goes_up_to_the_whole_image():
    random_BN = torch.rand(5, 4)
    images_BCHW = torch.rand(5, 3, 16, 16)
    one, two = (build(COMPONENTS["crop"], scale=scale) for scale in ((0.4,), (0.4, 1.0)))
    assert torch.equal(one(images_BCHW, random_BN), two(images_BCHW, random_BN))
    everything = build(COMPONENTS["crop"], scale=(1.0, 1.0), ratio=(1.0, 1.0))
    torch.testing.assert_close(everything(images_BCHW, random_BN), images_BCHW, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "given_arguments"),
    [
        ("crop", {"scale": (0.9, 0.1)}),
        ("crop", {"scale": (0.1, 0.2, 0.3)}),
        ("crop", {"ratio": (2.0,)}),
        ("crop", {"ratio": ()}),
        ("affine", {"scale": (1.1, 0.9)}),
    ],
)
def test_ranges_that_are_none_are_refused(name, given_arguments):
    with pytest.raises(UsageError, match="two numbers, the smaller first"):
        build(COMPONENTS[name], **given_arguments)


@settings(max_examples=50)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0, 1))
def test_power_is_even_in_the_logarithm(first, second, random):
    smallest, largest = sorted((first, second))
    expected = smallest * (largest / smallest) ** np.float32(random)
    bound = abs(math.log(largest / smallest)) ** 3 / 49152 + 2e-5
    out = power(torch.tensor([random]), smallest, largest).item()
    assert out == pytest.approx(expected, rel=1.1 * bound)


@pytest.mark.parametrize(
    ("degrees", "right", "down", "scale", "shear"),
    [
        (0, 0, 0, 1.0, (0, 0)),
        (20, 0, 0, 1.0, (0, 0)),
        (0, 4, -3, 1.0, (0, 0)),
        (0, 0, 0, 1.3, (0, 0)),
        (0, 0, 0, 1.0, (15, 0)),
        (0, 0, 0, 1.0, (0, -10)),
        (-25, 3, 2, 0.9, (8, 12)),
    ],
)
def test_affined_is_torchvisions_affine(degrees, right, down, scale, shear):
    y, x = np.mgrid[0:40, 0:48] / 40
    image = torch.tensor(0.5 + 0.5 * np.sin(5 * x + 3 * y), dtype=torch.float32)[None, None]
    out = geometry.affined(
        image,
        half_tangent_B=torch.tensor([math.tan(math.radians(degrees) / 2)]),
        scale_B=torch.tensor([scale]),
        down_B=torch.tensor([float(down)]),
        right_B=torch.tensor([float(right)]),
        slant_x_B=torch.tensor([math.tan(math.radians(shear[0]))]),
        slant_y_B=torch.tensor([math.tan(math.radians(shear[1]))]),
    )
    expected = reference.affine(
        image,
        angle=-degrees,  # its angles turn clockwise
        translate=[right, down],
        scale=scale,
        shear=list(map(float, shear)),
        interpolation=InterpolationMode.BILINEAR,
    )
    middle = (..., slice(12, 28), slice(12, 36))  # it has black where we mirror
    torch.testing.assert_close(out[middle], expected[middle], atol=2e-5, rtol=0)


def test_affine_draws_every_amount_by_its_own_number():
    transform = build(COMPONENTS["affine"], degrees=30.0, translate=0.2, scale=(0.5, 2), shear=20)
    still = torch.full((6, 6), 0.5)
    images_BCHW = torch.rand(1, 3, 20, 20).expand(6, -1, -1, -1)
    torch.testing.assert_close(transform(images_BCHW, still), images_BCHW, atol=5e-4, rtol=0)
    moved = transform(images_BCHW, still + 0.3 * torch.eye(6))
    for one, other in permutations((images_BCHW[0], *moved), 2):
        assert (one - other).abs().max() > 0.1
    right = reference.affine(  # spread(0.8) of 0.2 of 20 pixels
        images_BCHW[3], angle=0, translate=[2.4, 0], scale=1, shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )  # fmt: skip
    torch.testing.assert_close(moved[3][:, :, 4:-4], right[:, :, 4:-4], atol=5e-4, rtol=0)
