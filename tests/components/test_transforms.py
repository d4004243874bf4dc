from __future__ import annotations

import pytest
import torch
from building import build
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo_torch._transforms
import zoo_torchvision._transforms
from zoo.errors import UsageError
from zoo.plugin import Component, Param
from zoo.protocols import MixTransform

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
    @settings(max_examples=20, database=None, derandomize=True)
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


def test_light_is_flip_then_shift():
    light, flip, shift = (build(COMPONENTS[name]) for name in ("light", "flip", "shift"))
    images_BCHW, random_BN = batch(16, light)
    assert light.num_random == 3
    expected = shift(flip(images_BCHW, random_BN[:, :1]), random_BN[:, 1:])
    assert torch.equal(light(images_BCHW, random_BN), expected)


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
