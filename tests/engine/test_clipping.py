"""Clipping against timm and numpy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from zoo.engine.step.clipping import clip_adaptively, clip_gradients, unit_norms


def network(scale=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, groups=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)
    )
    model.tokens = nn.Parameter(torch.randn(1, 2, 3))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * scale
    return model


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_adaptive_clipping_is_timms(scale, share):
    ours, theirs = network(scale), network(scale)
    theirs[0].weight.data[1] = ours[0].weight.data[1] = 0  # a dead filter
    theirs[3].weight.grad[2] = ours[3].weight.grad[2] = 0
    clip_adaptively(ours.parameters(), share=share)
    adaptive_clip_grad(theirs.parameters(), clip_factor=share)
    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=0)


def test_units_within_the_bound_keep_their_bits_and_others_get_its_norm():
    model = network(0.02)
    before = gradients(model)
    clip_adaptively(model.parameters(), share=0.3)
    touched = 0
    for parameter, old in zip(model.parameters(), before, strict=True):
        weights, new = parameter.detach().numpy(), parameter.grad.numpy()
        units = [...] if parameter.ndim <= 1 else range(len(weights))
        for unit in units:
            largest = 0.3 * max(1e-3, np.linalg.norm(weights[unit]))
            if np.linalg.norm(old.numpy()[unit]) < largest:
                np.testing.assert_array_equal(new[unit], old.numpy()[unit])
            else:
                touched += 1
                assert np.linalg.norm(new[unit]) == pytest.approx(largest, rel=1e-5)
    assert touched > 0


def test_a_unit_is_a_filter_a_row_or_a_whole_vector():
    assert unit_norms(torch.ones(4, 3, 2, 2)).shape == (4, 1, 1, 1)
    assert unit_norms(torch.ones(5, 9)).flatten().tolist() == [3.0] * 5
    assert unit_norms(torch.ones(16)).item() == 4.0
    assert unit_norms(torch.tensor(-2.0)).item() == 2.0


def test_the_head_is_left_alone_by_adaptive_clipping_only():
    model = network(100.0)
    head = copy.deepcopy(model[3].weight.grad)
    clip_gradients(model, head=("3",), adaptive_share=0.01)
    assert torch.equal(model[3].weight.grad, head)
    assert model[0].weight.grad.norm() < 1
    clip_gradients(model, head=("3",), largest_value=0.5)
    np.testing.assert_array_equal(model[3].weight.grad.numpy(), np.clip(head.numpy(), -0.5, 0.5))


def test_every_bound_holds_together():
    model = network(10.0)
    clip_gradients(model, head=(), adaptive_share=0.2, largest_value=0.1, largest_norm=0.3)
    flat = np.concatenate([g.numpy().ravel() for g in gradients(model)])
    assert np.abs(flat).max() <= 0.1
    assert np.linalg.norm(flat) == pytest.approx(0.3, rel=1e-4)


def test_nothing_is_clipped_unless_asked_and_frozen_parameters_do_not_matter():
    model = network()
    before = gradients(model)
    clip_gradients(model, head=())
    assert all(torch.equal(a, b) for a, b in zip(gradients(model), before, strict=True))
    model[0].weight.grad = None
    clip_gradients(model, head=(), adaptive_share=0.1, largest_value=1.0, largest_norm=1.0)
    assert model[0].weight.grad is None
