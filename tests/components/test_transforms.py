from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from building import build
from PIL import Image

import zoo_torch.transforms as transforms
from zoo.errors import UsageError
from zoo_torch._transforms import TRANSFORMS

COMPONENTS = {component.name: component for component in TRANSFORMS}
SHAPES = [(3, 12, 12), (1, 28, 28), (3, 17, 31), (3, 64, 64), (4, 2, 3), (1, 1, 1)]
every_transform = pytest.mark.parametrize("name", COMPONENTS)


def batch(num: int, transform, shape=(3, 12, 12), seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images_BCHW = torch.rand(num, *shape, generator=generator)
    return images_BCHW, torch.rand(num, transform.num_random, generator=generator)


@every_transform
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_type_and_range_are_kept(name, shape):
    transform = build(COMPONENTS[name])
    images_BCHW, random_BN = batch(8, transform, shape)
    before = images_BCHW.clone()
    for random in (random_BN, torch.zeros_like(random_BN), torch.full_like(random_BN, 1 - 2**-24)):
        out = transform(images_BCHW, random)
        assert out.shape == images_BCHW.shape
        assert out.dtype == torch.float32
        assert out.min() >= 0
        assert out.max() <= 1
    assert torch.equal(images_BCHW, before), "the images were changed in place"


@every_transform
def test_memory_format_and_random_type_do_not_matter(name):
    transform = build(COMPONENTS[name])
    images_BCHW, random_BN = batch(8, transform)
    expected = transform(images_BCHW, random_BN)
    channels_last = images_BCHW.contiguous(memory_format=torch.channels_last)
    assert torch.equal(transform(channels_last, random_BN), expected)
    assert torch.equal(transform(images_BCHW, random_BN.double()), expected)


@pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "none"])
def test_it_does_something_and_only_by_the_random_numbers(name):
    transform = build(COMPONENTS[name])
    images_BCHW, random_BN = batch(32, transform)
    out = transform(images_BCHW, random_BN)
    assert not torch.equal(out, images_BCHW)
    torch.manual_seed(1)
    first = transform(images_BCHW, random_BN)
    torch.manual_seed(2)
    assert torch.equal(first, transform(images_BCHW, random_BN))
    assert not torch.equal(out, transform(images_BCHW, random_BN.flip(0)))


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
    out = transforms.shifted(images_BCHW, down_B, right_B)
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
    out = transforms.rotated(images_BCHW, torch.tensor([1.0, -1.0, 0.0]))
    expected = [images_BCHW[0].rot90(1, (1, 2)), images_BCHW[1].rot90(-1, (1, 2)), images_BCHW[2]]
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("degrees", [-25.0, 8.0])
def test_rotated_is_pillows_rotation(degrees):
    y, x = np.mgrid[0:40, 0:40] / 40
    image = (0.5 + 0.5 * np.sin(5 * x + 3 * y)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))
    half_tangent_B = torch.tensor([math.tan(math.radians(degrees) / 2)])
    out = transforms.rotated(torch.from_numpy(image)[None, None], half_tangent_B)[0, 0].numpy()
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
