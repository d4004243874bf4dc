"""Normalising in place: the formula to the bit, in every memory format, in the same memory."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional

from zoo.data.pixels.normalise import as_floats, as_normalised, normalise_

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def some_bytes(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (1, 1), (5, 9), (64, 33)])
def test_it_is_the_formula_to_the_bit_in_the_same_memory(memory_format, channels, size):
    source = some_bytes(5, channels, *size).contiguous(memory_format=memory_format)
    images = as_floats(source)
    assert images.is_contiguous(memory_format=memory_format)
    means, stds = (
        torch.tensor(values if channels == 3 else [sum(values) / 3]).view(1, -1, 1, 1)
        for values in (MEAN, STD)
    )
    expected = (source.float() / 255 - means) / stds
    address = images.data_ptr()
    found = normalise_(images, MEAN, STD)
    assert torch.equal(found, expected)
    assert found.data_ptr() == address
    assert found.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_cut_out_of_larger_images(memory_format, channels):
    whole = some_bytes(3, channels, 12, 12).contiguous(memory_format=memory_format)
    cut = whole[:, :, 2:10, 3:11]
    assert torch.equal(as_floats(cut), cut.float() / 255)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("number", "channels", "size"), [
    (0, 3, (8, 8)), (1, 3, (1, 1)), (7, 1, (5, 9)), (3, 4, (40, 60)), (300, 3, (16, 16)),
    (2, 3, (260, 250)),
])  # fmt: skip
def test_bytes_become_the_same_in_one_go(memory_format, number, channels, size):
    source = some_bytes(number, channels, *size).contiguous(memory_format=memory_format)
    kept = source.clone()
    found = as_normalised(source, MEAN, STD)
    assert found.is_contiguous(memory_format=memory_format)
    means, stds = (
        torch.tensor(values if channels == 3 else channels * [sum(values) / 3]).view(1, -1, 1, 1)
        for values in (MEAN, STD)
    )
    assert torch.equal(found, (source.float() / 255 - means) / stds)
    assert torch.equal(source, kept)
    cut = source[..., 1:, 1:]
    assert torch.equal(as_normalised(cut, MEAN, STD), normalise_(as_floats(cut), MEAN, STD))


def test_torchvision_agrees():
    source = some_bytes(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    expected = functional.normalize(functional.to_dtype(source, scale=True), MEAN, STD)
    torch.testing.assert_close(normalise_(as_floats(source), MEAN, STD), expected)


def test_views_that_are_not_contiguous_either_way():
    whole = torch.rand(3, 3, 9, 9, generator=torch.manual_seed(0))
    expected = whole.clone()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    expected[..., 2:5] = (expected[..., 2:5] - mean) / std
    normalise_(whole[..., 2:5], MEAN, STD)
    assert torch.equal(whole, expected)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_are_cut_out_of_larger_ones(memory_format, channels):
    source = some_bytes(5, channels, 9, 9).contiguous(memory_format=memory_format)[..., 2:7, 2:7]
    assert torch.equal(as_floats(source), source.float() / 255)
