from __future__ import annotations

import inspect
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from building import build, target_of
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from zoo.errors import UsageError
from zoo.plugin import fold
from zoo.registry import Registry, parse_choice, parse_choices
from zoo.registry import build as build_choice
from zoo_torch._mixing import MIXING
from zoo_torch._transforms import TRANSFORMS as OWN
from zoo_torchvision._transforms import TRANSFORMS
from zoo_torchvision.transforms import PerSample, Together

COMPONENTS = {component.name: component for component in TRANSFORMS}
POLICIES = {
    "trivial": v2.TrivialAugmentWide(),
    "randaugment": v2.RandAugment(2, 9),
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
    "augmix": v2.AugMix(),
}


def photos(num: int, *, channels: int = 3, side: int = 24, seed: int = 0) -> np.ndarray:
    """Returns smooth images with some noise, uint8 (N, H, W, C): not every value occurs."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = random.uniform(1, 6, (num, channels, 2, 1, 1))
    values = 110 + 60 * np.sin(waves[:, :, 0] * x + waves[:, :, 1] * y)
    values += random.normal(0, 8, values.shape)
    return values.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def as_tensor(pixels_BHWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 255


def as_pixels(images_BCHW: torch.Tensor) -> np.ndarray:
    pixels = images_BCHW * 255
    assert torch.allclose(pixels, pixels.round(), atol=1e-4, rtol=0), "not bytes"
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


# ---- the adapters -----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_torchvisions_with_a_seed_from_the_sample(name, channels):
    pixels = photos(20, channels=channels)
    transform = build(COMPONENTS[name])
    random_BN = torch.rand(20, 3, generator=torch.Generator().manual_seed(3))
    out = as_pixels(transform(as_tensor(pixels), random_BN))
    assert out.shape == pixels.shape
    changed = 0
    for before, after, (_, high, low) in zip(pixels, out, random_BN.tolist(), strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(high * 2**24) * 2**24 + int(low * 2**24))
            expected = POLICIES[name](torch.from_numpy(before).permute(2, 0, 1).contiguous())
        assert np.array_equal(after, expected.permute(1, 2, 0).numpy())
        changed += not np.array_equal(before, after)
    assert changed >= 10


def test_each_number_of_a_sample_seeds_it():
    transform = PerSample(lambda image_CHW: torch.randint_like(image_CHW, 256))
    images_BCHW = torch.zeros(3, 3, 8, 8)
    random_BN = torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3 + 2**-24], [0.1, 0.2 + 2**-24, 0.3]])
    out = transform(images_BCHW, random_BN)
    assert len(out.flatten(1).unique(dim=0)) == 3


def test_an_error_inside_still_puts_the_generator_back():
    def fail(image_CHW: torch.Tensor) -> torch.Tensor:
        torch.rand(5)
        raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        PerSample(fail)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_computes_with_one_thread_and_puts_the_number_back():
    seen = []
    outside = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        transform = PerSample(lambda image: seen.append(torch.get_num_threads()) or image)
        transform(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
        assert torch.get_num_threads() == 2
        transform.transform = None
        with pytest.raises(TypeError):
            transform(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(outside)
    assert seen == [1, 1]


@pytest.mark.parametrize("adapter", [PerSample, Together])
def test_only_the_chosen_ones_change_and_the_others_keep_every_bit(adapter):
    transform = adapter(lambda pixels: 255 - pixels, p=0.3)
    images_BCHW = torch.rand(10, 3, 4, 4)
    random_BN = torch.arange(10)[:, None].expand(10, transform.num_random) / 10
    out = transform(images_BCHW, random_BN)
    assert torch.equal(out[3:], images_BCHW[3:])
    torch.testing.assert_close(out[:3], 1 - images_BCHW[:3], atol=0.5 / 255 + 1e-6, rtol=0)
    nobody = adapter(lambda pixels: 255 - pixels, p=0.0)
    assert torch.equal(nobody(images_BCHW, random_BN), images_BCHW)


@pytest.mark.parametrize("adapter", [PerSample, Together])
def test_bytes_come_back_as_they_were(adapter):
    images_BCHW = as_tensor(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1))
    transform = adapter(lambda pixels: pixels, p=1.0)
    out = transform(images_BCHW, torch.zeros(1, transform.num_random))
    assert torch.equal(out, images_BCHW)


@pytest.mark.parametrize("name", COMPONENTS)
def test_other_numbers_of_channels_are_a_usage_error(name):
    transform = build(COMPONENTS[name])
    with pytest.raises(UsageError, match="1 or 3 channels"):
        transform(torch.rand(2, 4, 8, 8), torch.zeros(2, transform.num_random))


# ---- single ones against Pillow ---------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("autocontrast", {}, lambda image: ImageOps.autocontrast(image)),
        ("equalize", {}, ImageOps.equalize),
        ("invert", {}, ImageOps.invert),
        ("posterize", {"bits": 3}, lambda image: ImageOps.posterize(image, 3)),
        ("solarize", {"threshold": 100 / 255}, lambda image: ImageOps.solarize(image, 100)),
        ("sharpness", {"factor": 2.5}, lambda image: ImageEnhance.Sharpness(image).enhance(2.5)),
        ("sharpness", {"factor": 0.0}, lambda image: ImageEnhance.Sharpness(image).enhance(0.0)),
    ],
)
def test_singles_are_pillows(name, arguments, expected, channels):
    pixels = photos(6, channels=channels)
    transform = build(COMPONENTS[name], p=1.0, **arguments)
    out = as_pixels(transform(as_tensor(pixels), torch.zeros(6, transform.num_random)))
    for before, after in zip(pixels, out, strict=True):
        image = Image.fromarray(before.squeeze(-1) if channels == 1 else before)
        wanted = np.asarray(expected(image)).reshape(after.shape)
        # Rounding or cutting after the last product: one level.
        assert np.abs(after.astype(int) - wanted).max() <= (2 if name == "sharpness" else 1)
        assert not np.array_equal(after, before)


def test_blur_is_a_gaussian_of_the_drawn_width():
    point = np.zeros((40, 41, 41, 1), dtype=np.uint8)
    point[:, 20, 20] = 255
    random_BN = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    out = build(COMPONENTS["blur"], p=1.0, smallest=0.5, largest=3.0)(as_tensor(point), random_BN)
    centres = out[:, 0, 20, 20].numpy()
    distance = np.arange(-20, 21)
    widths = np.linspace(0.5, 3, 2501)
    shapes = np.exp(-(distance**2) / (2 * widths[:, None] ** 2))
    heights = (shapes[:, 20] / shapes.sum(1)) ** 2  # of the peak, for each width
    found = np.interp(-centres, -heights, widths)
    assert found.min() < 0.7
    assert found.max() > 2.8
    sharp = found < 1.5  # of a wide one, bytes say little
    for image, width in zip(out[torch.from_numpy(sharp)], found[sharp], strict=True):
        row = np.exp(-(distance**2) / (2 * width**2))
        expected = row[:, None] * row / row.sum() ** 2
        np.testing.assert_allclose(image[0], expected, atol=1.5 / 255)


def test_blur_refuses_a_range_that_is_empty():
    with pytest.raises(UsageError, match="smallest"):
        build(COMPONENTS["blur"], smallest=2.0, largest=1.0)


def test_perspective_without_distortion_is_the_image_and_fills_with_grey():
    images_BCHW = torch.ones(30, 3, 20, 20)
    random_BN = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    still = build(COMPONENTS["perspective"], distortion=0.0, p=1.0)
    assert torch.equal(still(images_BCHW, random_BN), images_BCHW)
    out = build(COMPONENTS["perspective"], distortion=0.8, p=1.0, fill=0.4)(images_BCHW, random_BN)
    corners = out[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert ((corners - 0.4).abs() < 0.01).any(1).sum() > 20
    # At the edge torchvision weighs the image by the covered share twice: m (m - 0.4) + 0.4.
    assert out.min() >= 0.36 - 1 / 255


def test_fill_reaches_the_policies():
    images_BCHW = torch.ones(200, 3, 16, 16)
    random_BN = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    for name in ("trivial", "randaugment", "autoaugment"):
        out = build(COMPONENTS[name], fill=0.6)(images_BCHW, random_BN)
        assert (out == 153 / 255).any(), name


# ---- the records, and what users type ---------------------------------------------------------


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.installed()


@pytest.mark.parametrize("component", TRANSFORMS, ids=lambda component: component.name)
def test_target_takes_what_is_declared_with_the_same_defaults(component):
    wanted = inspect.signature(target_of(component)).parameters
    assert {param.name: param.default for param in component.params} == {
        name: parameter.default for name, parameter in wanted.items()
    }
    assert component.summary
    for param in component.params:
        assert param.summary
        if param.type in ("int", "float"):
            assert param.minimum is None or param.default >= param.minimum
            assert param.maximum is None or param.default <= param.maximum


def test_names_and_aliases_are_unique_among_all_built_in_transforms(registry):
    names = Counter(
        fold(name)
        for entry in registry.entries("transform", hidden=True)
        if entry.plugin.builtin
        for name in (entry.component.name, *entry.component.aliases)
    )
    assert [name for name, times in names.items() if times > 1] == []
    assert {c.name for c in (*OWN, *MIXING, *TRANSFORMS)} <= set(names)


def test_declaring_imports_nothing_heavy():
    code = (
        "import sys, zoo_torchvision\n"
        "print(sum(c.kind == 'transform' for c in zoo_torchvision.zoo_components()))\n"
        "sys.exit(str({'torch', 'torchvision', 'numpy'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(TRANSFORMS)


@pytest.mark.parametrize(
    ("text", "names", "arguments"),
    [
        ("none", ["torch/none"], {}),
        ("light", ["torch/light"], {}),
        ("standard", ["torch/standard"], {"area": 0.5}),
        ("trivial", ["torchvision/trivial"], {"bins": 31}),
        ("TrivialAugmentWide", ["torchvision/trivial"], {}),
        ("randaugment-2-9", ["torchvision/randaugment"], {"num_ops": 2, "magnitude": 9}),
        ("rand-augment-1-14", ["torchvision/randaugment"], {"num_ops": 1, "magnitude": 14}),
        ("autoaugment", ["torchvision/autoaugment"], {"policy": "imagenet"}),
        ("autoaugment:policy=cifar10", ["torchvision/autoaugment"], {"policy": "cifar10"}),
        ("autoaugment:policy=svhn", ["torchvision/autoaugment"], {"policy": "svhn"}),
        ("augmix", ["torchvision/augmix"], {"severity": 3}),
        ("augmix-5-2", ["torchvision/augmix"], {"severity": 5, "width": 2}),
        ("flip+randaugment-2-9", ["torch/flip", "torchvision/randaugment"], {}),
        ("crop+jitter-0.4-0.4-0.2-0+erase-0.25", ["torch/crop", "torch/jitter", "torch/erase"], {}),
        ("flip-vertical", ["torch/vflip"], {"p": 0.5}),
        ("vflip-0.3", ["torch/vflip"], {"p": 0.3}),
        ("rotate-15", ["torch/rotate"], {"degrees": 15.0}),
        ("crop-0.3", ["torch/crop"], {"scale": (0.3,)}),
        ("rrc-0.3,0.9", ["torch/crop"], {"scale": (0.3, 0.9)}),
        ("random-resized-crop:scale=[0.2,1],ratio=[1,1]", ["torch/crop"], {"ratio": (1.0, 1.0)}),
        ("random-crop", ["torch/shift"], {}),
        ("color-jitter:hue=0", ["torch/jitter"], {"hue": 0.0}),
        ("random-erasing-0.25", ["torch/erase"], {"p": 0.25}),
        ("grayscale-0.2", ["torch/grayscale"], {"p": 0.2}),
        ("affine-10-0.05", ["torch/affine"], {"degrees": 10.0, "translate": 0.05}),
        ("gaussian-blur-0.2", ["torchvision/blur"], {"p": 0.2}),
        ("solarize-0.5-0.2", ["torchvision/solarize"], {"threshold": 0.5, "p": 0.2}),
        ("perspective-0.3", ["torchvision/perspective"], {"distortion": 0.3}),
        ("equalize+invert-0.1", ["torchvision/equalize", "torchvision/invert"], {"p": 0.1}),
        ("autocontrast+sharpness-3", ["torchvision/autocontrast", "torchvision/sharpness"], {}),
        ("posterize-4", ["torchvision/posterize"], {"bits": 4}),
    ],
)  # fmt: skip
def test_strings(registry, text, names, arguments):
    choices = parse_choices(registry, "transform", text)
    assert [choice.entry.id for choice in choices] == names
    assert {key: choices[-1].arguments[key] for key in arguments} == arguments
    images_BCHW = torch.rand(4, 3, 16, 16)
    for choice in choices:
        again = parse_choice(registry, "transform", choice.spec)
        assert again.arguments == choice.arguments, "the config that a run writes repeats it"
        transform = build_choice(choice)
        images_BCHW = transform(images_BCHW, torch.rand(4, transform.num_random))
    assert images_BCHW.shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    "text",
    ["randaugment-2-31", "randaugment--1", "randaugment-1.5", "autoaugment:policy=mnist",
     "augmix-11", "augmix:alpha=0", "posterize-0", "solarize-1.5", "blur-2", "trivial:bins=1",
     "crop-0", "crop-1.2", "jitter:hue=0.6", "jitter--0.1", "vflip-2", "affine-91",
     "mixup-0", "cutmix-11", "standard:area=0", "sharpness--1", "perspective-1.1"],
)  # fmt: skip
def test_values_that_cannot_work_are_refused(registry, text):
    with pytest.raises(UsageError, match="must be"):
        parse_choice(registry, "transform", text)
