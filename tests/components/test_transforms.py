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

import zoo_torch._transforms
import zoo_torchvision._transforms
from zoo.errors import UsageError
from zoo.plugin import Component, Param
from zoo.protocols import MixTransform
from zoo_torch import colors, geometry
from zoo_torch.drawing import power

COMPONENTS = {component.name: component for component in zoo_torch._transforms.TRANSFORMS}
WRAPPED = {component.name: component for component in zoo_torchvision._transforms.TRANSFORMS}
EVERY = {**COMPONENTS, **WRAPPED}
SHAPES = [(3, 12, 12), (1, 28, 28), (3, 17, 31), (3, 64, 64), (4, 2, 3), (3, 2, 3), (1, 1, 1)]
every_transform = pytest.mark.parametrize("name", EVERY)


def batch(num: int, transform, shape=(3, 12, 12), seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images_BCHW = torch.rand(num, *shape, generator=generator)
    return images_BCHW, torch.rand(num, transform.num_random, generator=generator)


def check(transform, images_BCHW: torch.Tensor, random_BN: torch.Tensor) -> None:
    before = images_BCHW.clone()
    out = transform(images_BCHW, random_BN)
    assert out.shape == images_BCHW.shape
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images_BCHW, before), "the images were changed in place"


@every_transform
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_type_and_range_are_kept(name, shape):
    if shape[0] == 4 and name in WRAPPED:
        pytest.skip("torchvision's take 1 or 3 channels")
    transform = build(EVERY[name])
    images_BCHW, random_BN = batch(8, transform, shape)
    # 1.0 is what the largest number below it becomes in float32.
    greatest = torch.ones_like(random_BN)
    chosen = torch.cat((greatest[:, :1] * 0, greatest[:, 1:]), dim=1)
    for random in (random_BN, random_BN * 0, greatest * (1 - 2**-24), greatest, chosen):
        check(transform, images_BCHW, random)
    check(transform, torch.ones_like(images_BCHW), random_BN)


@every_transform
def test_memory_format_and_random_type_do_not_matter(name):
    transform = build(EVERY[name])
    images_BCHW, random_BN = batch(8, transform)
    expected = transform(images_BCHW, random_BN)
    channels_last = images_BCHW.contiguous(memory_format=torch.channels_last)
    assert torch.equal(transform(channels_last, random_BN), expected)
    assert torch.equal(transform(images_BCHW, random_BN.double()), expected)


@every_transform
@pytest.mark.parametrize("shape", [(3, 13, 13), (1, 28, 28)], ids=str)
def test_a_sample_comes_out_alike_in_every_batch(name, shape):
    transform = build(EVERY[name])
    images_BCHW, random_BN = batch(11, transform, shape, seed=5)
    whole = transform(images_BCHW, random_BN)
    for size in (1, 3, 7):
        parts = zip(images_BCHW.split(size), random_BN.split(size), strict=True)
        assert torch.equal(torch.cat([transform(*part) for part in parts]), whole)
    assert torch.equal(transform(images_BCHW.flip(0), random_BN.flip(0)), whole.flip(0))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "none"])
def test_it_does_something_and_only_by_the_random_numbers(name):
    transform = build(EVERY[name])
    images_BCHW, random_BN = batch(32, transform)
    out = transform(images_BCHW, random_BN)
    assert not torch.equal(out, images_BCHW)
    torch.manual_seed(1)
    first = transform(images_BCHW, random_BN)
    torch.manual_seed(2)
    assert torch.equal(first, transform(images_BCHW, random_BN))
    assert not torch.equal(out, transform(images_BCHW, random_BN.flip(0)))


@every_transform
def test_it_leaves_the_generators_of_others_alone(name):
    transform = build(EVERY[name])
    images_BCHW, random_BN = batch(4, transform)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    transform(images_BCHW, random_BN)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def values(param: Param) -> st.SearchStrategy:
    if param.choices:
        return st.sampled_from(param.choices)
    low = param.minimum if param.minimum is not None else param.above
    high = 5 if param.maximum is None else min(param.maximum, 50)
    if param.type == "int":
        return st.integers(int(low), int(high))
    numbers = st.floats(low, high, exclude_min=param.minimum is None)
    if param.type == "float list":
        return st.tuples(numbers, numbers).map(sorted).map(tuple)
    return numbers


def arguments(component: Component) -> st.SearchStrategy:
    drawn = {param.name: values(param) for param in component.params}
    if {"smallest", "largest"} <= set(drawn):
        return st.fixed_dictionaries(drawn).filter(lambda a: a["smallest"] <= a["largest"])
    return st.fixed_dictionaries(drawn)


@every_transform
def test_every_argument_in_range_works(name):
    @settings(max_examples=20, deadline=None, database=None, derandomize=True)
    @given(arguments(EVERY[name]), st.integers(0, 99))
    def run(given_arguments, seed):
        transform = build(EVERY[name], **given_arguments)
        check(transform, *batch(4, transform, (3, 9, 14), seed))

    run()


def test_none_of_them_mixes():
    assert not any(isinstance(build(component), MixTransform) for component in EVERY.values())


def test_none_needs_no_randomness():
    transform = build(COMPONENTS["none"])
    images_BCHW, random_BN = batch(3, transform)
    assert transform.num_random == 0
    assert torch.equal(transform(images_BCHW, random_BN), images_BCHW)


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


def test_light_is_flip_then_shift():
    light, flip, shift = (build(COMPONENTS[name]) for name in ("light", "flip", "shift"))
    images_BCHW, random_BN = batch(16, light)
    assert light.num_random == 3
    expected = shift(flip(images_BCHW, random_BN[:, :1]), random_BN[:, 1:])
    assert torch.equal(light(images_BCHW, random_BN), expected)


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


def test_erase_greys_one_rectangle_of_the_drawn_size():
    transform = build(COMPONENTS["erase"], p=0.5, smallest=0.25, largest=0.5, value=0.75)
    images_BCHW = torch.zeros(400, 3, 20, 40)
    random_BN = torch.rand(400, 5, generator=torch.Generator().manual_seed(3))
    out = transform(images_BCHW, random_BN)
    for sample, random in zip(out, random_BN, strict=True):
        assert torch.equal(sample[0], sample[2])
        rows, columns = (sample[0].any(dim).nonzero().flatten() for dim in (1, 0))
        if random[0] >= 0.5:
            assert len(rows) == 0
            continue
        block = sample[0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (block == 0.75).all()
        assert abs(block.shape[0] - (0.25 + 0.25 * random[1]) * 20) <= 1
        assert abs(block.shape[1] - (0.25 + 0.25 * random[2]) * 40) <= 1


def test_erase_refuses_a_range_that_is_empty():
    with pytest.raises(UsageError, match="smallest"):
        build(COMPONENTS["erase"], smallest=0.6, largest=0.5)


def test_color_scales_about_grey_and_adds():
    images_BCHW = torch.linspace(0, 1, 11).view(1, 1, 1, 11).repeat(2, 1, 1, 1)
    transform = build(COMPONENTS["color"], brightness=0.1, contrast=0.5)
    out = transform(images_BCHW, torch.tensor([[0.0, 1.0], [0.5, 0.0]]))
    x = np.linspace(0, 1, 11)
    np.testing.assert_allclose(out[0, 0, 0], ((x - 0.5) * 1.5 + 0.4).clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(out[1, 0, 0], (x - 0.5) * 0.5 + 0.5, atol=1e-6)


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


@settings(max_examples=50, deadline=None)
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


@settings(max_examples=40, deadline=None)
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


def test_standard_is_crop_flip_and_jitter():
    whole = build(COMPONENTS["standard"], p=0.4, area=0.6, strength=0.3)
    parts = (
        build(COMPONENTS["crop"], scale=(0.6, 1.0)),
        build(COMPONENTS["flip"], p=0.4),
        build(COMPONENTS["jitter"], brightness=0.3, contrast=0.3, saturation=0.3, hue=0.0),
    )
    images_BCHW, random_BN = batch(16, whole)
    expected, used = images_BCHW, 0
    for part in parts:
        expected = part(expected, random_BN[:, used : used + part.num_random])
        used += part.num_random
    assert whole.num_random == used
    assert torch.equal(whole(images_BCHW, random_BN), expected)
