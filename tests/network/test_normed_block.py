"""Depthwise convolutions with norms that train around them, against torch's in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.network.depthwise_geometries import geometries
from zoo.network.fast.depthwise_block import depthwise_block
from zoo.network.fast.native.kernels import ACTIVATIONS

LAST = torch.channels_last
SIDES = [(True, True), (True, False), (False, True)]
BLOCK = {"stride": (2, 1), "padding": (1, 1, 1, 1), "before": nn.SiLU, "after": nn.Hardswish}

pytestmark = pytest.mark.usefixtures("one_thread")


def norm(channels, *, eps=1e-5, momentum=0.1):
    """Returns a norm with numbers of its own."""
    made = nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    nn.init.uniform_(made.weight, 0.5, 1.5)
    nn.init.normal_(made.bias)
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2)
    return made


def plain(x, weight, bias, *, stride, padding, before, after, norm_before, norm_after):
    """Returns the block's output, and what its last activation is given, by torch."""
    x = x if norm_before is None else norm_before(x)
    x = nn.functional.pad(x if before is None else before()(x), padding)
    x = nn.functional.conv2d(x, weight, bias, stride, groups=len(weight))
    x = x if norm_after is None else norm_after(x)
    return x if after is None else after()(x), x


def step(run, tensors, norms, grad):
    """Returns an output, and gradients of what it was made of."""
    leaves = [one for one in tensors if one is not None]
    leaves += [one for norm in norms if norm is not None for one in (norm.weight, norm.bias)]
    output = run(*tensors)
    return output.detach(), torch.autograd.grad(output, leaves, grad(output))


def close(found, expected, share, *, scale=None):
    assert found.shape == expected.shape
    error = (found.double() - expected).abs().max().item()
    assert error <= share * (expected.abs().max().item() if scale is None else scale), error


@settings(max_examples=200)
@given(
    geometry=geometries(),
    batch=st.integers(2, 9),
    channels=st.sampled_from([1, 3, 8, 11, 16, 24, 40]),
    threads=st.integers(1, 3),
    sides=st.sampled_from(SIDES),
    before=st.sampled_from([None, nn.SiLU]),
    after=st.sampled_from([None, nn.SiLU]),
    with_bias=st.booleans(),
)
def test_any_geometry(kernels, geometry, batch, channels, threads, sides, before, after, with_bias):
    size, kernel, stride, padding = geometry
    torch.set_num_threads(threads)
    torch.manual_seed(batch)
    # Large, and with a large eps: next to a deviation of nothing, rounding is all there is.
    x = (4 * torch.randn(batch, channels, *size)).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(channels, 1, *kernel).requires_grad_()
    bias = torch.randn(channels).requires_grad_() if with_bias else None
    norms = [norm(channels, eps=0.1) if side else None for side in sides]
    exact = [None if one is None else copy.deepcopy(one).double() for one in norms]
    block = {"stride": stride, "padding": padding, "before": before, "after": after}
    noise = torch.randn(batch, channels, 40, 40)

    def grad(output):
        return noise[..., : output.shape[2], : output.shape[3]].to(output.dtype)

    found = step(
        lambda *given: depthwise_block(
            *given, **block, norm_before=norms[0], norm_after=norms[1], kernels=kernels
        ),
        (x, weight, bias), norms, grad,
    )  # fmt: skip
    doubles = [
        None if one is None else one.detach().double().requires_grad_() for one in (x, weight, bias)
    ]
    expected = step(
        lambda *given: plain(*given, **block, norm_before=exact[0], norm_after=exact[1])[0],
        doubles, exact, grad,
    )  # fmt: skip
    close(found[0], expected[0], 1e-4, scale=1 + expected[0].abs().max().item())
    terms = math.prod(size) * batch  # a sum that cancels is rounded like its terms
    for ours, theirs in zip(found[1], expected[1], strict=True):
        close(ours, theirs, 1e-5, scale=10 * terms**0.5 + theirs.abs().max().item())
    for ours, theirs in zip(norms, exact, strict=True):
        if ours is not None:
            for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
                torch.testing.assert_close(one, other.to(one.dtype), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "stride"),
    [(64, 32, 3, 2), (72, 16, 5, 1), (184, 4, 3, 1), (960, 2, 5, 1), (24, 112, 3, 1)],
)
def test_nearer_to_the_exact_numbers_than_torch(kernels, channels, size, kernel, stride):
    torch.set_num_threads(2)
    torch.manual_seed(0)
    x = torch.randn(16, channels, size, size).add(0.5).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel).requires_grad_()
    norms = norm(channels), norm(channels)
    block = {
        "stride": (stride, stride), "padding": (kernel // 2,) * 4, "before": nn.SiLU,
        "after": nn.SiLU,
    }  # fmt: skip
    noise = torch.randn(16, channels, size // stride, size // stride)

    def made(run, dtype, norms):
        tensors = [one.detach().to(dtype).requires_grad_() for one in (x, weight)]
        return step(
            lambda x, weight: run(x, weight, norm_before=norms[0], norm_after=norms[1]),
            tensors, norms, lambda output: noise.to(dtype),
        )  # fmt: skip

    ours = made(
        lambda *given, **norms: depthwise_block(*given, **block, **norms, kernels=kernels),
        torch.float32, copy.deepcopy(norms),
    )  # fmt: skip

    def by_torch(x, weight, **norms):
        return plain(x, weight, None, **block, **norms)[0]

    theirs = made(by_torch, torch.float32, copy.deepcopy(norms))
    exact = made(by_torch, torch.float64, [copy.deepcopy(one).double() for one in norms])
    for one, other, true in zip(
        (ours[0], *ours[1]), (theirs[0], *theirs[1]), (exact[0], *exact[1]), strict=True
    ):
        error, others = ((found - true).abs().max() / true.abs().max() for found in (one, other))
        assert error <= max(2 * others, 1e-6)


@pytest.mark.parametrize("sides", SIDES)
def test_a_mean_that_is_large_beside_the_deviation(kernels, sides):
    torch.set_num_threads(2)
    x = (1000 + torch.randn(8, 16, 20, 20)).to(memory_format=LAST)
    norms = [norm(16) if side else None for side in sides]
    exact = [None if one is None else copy.deepcopy(one).double() for one in norms]
    block = {"stride": (1, 1), "padding": (0, 0, 0, 0), "before": None, "after": None}
    weight = torch.ones(16, 1, 1, 1).requires_grad_()
    output = depthwise_block(
        x, weight, **block, norm_before=norms[0], norm_after=norms[1], kernels=kernels
    )
    wanted, _ = plain(
        x.double(), weight.double(), None, **block, norm_before=exact[0], norm_after=exact[1]
    )
    close(output.detach(), wanted.detach(), 1e-4)
    for ours, theirs in zip(norms, exact, strict=True):
        if ours is not None:
            torch.testing.assert_close(
                ours.running_var, theirs.running_var.float(), rtol=1e-5, atol=0
            )


def test_what_is_not_a_number_stays_in_its_channel(kernels):
    x = torch.randn(2, 8, 4, 4).to(memory_format=LAST)
    x[0, 3, 1, 2] = math.nan
    norms = norm(8), norm(8)
    output = depthwise_block(
        x, torch.ones(8, 1, 3, 3).requires_grad_(), **BLOCK, norm_before=norms[0],
        norm_after=norms[1], kernels=kernels,
    )  # fmt: skip
    bad = torch.arange(8) == 3
    assert output[:, bad].isnan().all()
    assert output[:, ~bad].isfinite().all()
    assert torch.equal(norms[0].running_mean.isnan(), bad)


@pytest.mark.parametrize("sides", SIDES)
def test_derivatives_of_the_second_order(kernels, sides):
    x = torch.randn(3, 8, 6, 5).to(memory_format=LAST)
    weight = torch.randn(8, 1, 3, 3)
    norms = [norm(8) if side else None for side in sides]
    exact = [None if one is None else copy.deepcopy(one).double() for one in norms]
    block = {**BLOCK, "after": nn.SiLU}

    def products(run, tensors, norms):
        leaves = [one.requires_grad_() for one in tensors]
        leaves += [norm.weight for norm in norms if norm is not None]
        output = run(*tensors, norm_before=norms[0], norm_after=norms[1])
        first = torch.autograd.grad(output.pow(3).mean(), leaves, create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in first), leaves)

    found = products(
        lambda *given, **norms: depthwise_block(*given, **block, **norms, kernels=kernels),
        (x, weight), norms,
    )  # fmt: skip
    expected = products(
        lambda x, weight, **norms: plain(x, weight, None, **block, **norms)[0],
        (x.detach().double(), weight.detach().double()), exact,
    )  # fmt: skip
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs, 1e-4)


def test_gradients_of_a_gain_alone(kernels):
    x, weight = torch.randn(3, 8, 6, 5).to(memory_format=LAST), torch.randn(8, 1, 3, 3)
    norms = norm(8), norm(8)
    norms[0].bias.requires_grad_(False)
    norms[1].requires_grad_(False)
    exact = [copy.deepcopy(one).double() for one in norms]
    output = depthwise_block(
        x, weight, **BLOCK, norm_before=norms[0], norm_after=norms[1], kernels=kernels
    )
    output.square().sum().backward()
    wanted, _ = plain(
        x.double(), weight.double(), None, **BLOCK, norm_before=exact[0], norm_after=exact[1]
    )
    wanted.square().sum().backward()
    close(norms[0].weight.grad, exact[0].weight.grad, 1e-5)
    assert x.grad is weight.grad is norms[0].bias.grad is norms[1].weight.grad is None


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_runs_are_equal_bit_by_bit(kernels, threads):
    torch.set_num_threads(threads)
    x = torch.randn(37, 40, 9, 9).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(40, 1, 3, 3).requires_grad_()
    first = norm(40), norm(40)
    made = []
    for _ in range(10):
        norms = copy.deepcopy(first)
        output, gradients = step(
            lambda x, weight, norms=norms: depthwise_block(
                x, weight, **BLOCK, norm_before=norms[0], norm_after=norms[1], kernels=kernels
            ),
            (x, weight), norms, torch.ones_like,
        )  # fmt: skip
        made.append((output, *gradients, *norms[0].buffers(), *norms[1].buffers()))
    for other in made[1:]:
        assert all(map(torch.equal, made[0], other))


@pytest.mark.parametrize(
    "kind", [kind for kind in ACTIVATIONS if kind], ids=lambda kind: kind.__name__
)
def test_every_activation(kernels, kind):
    torch.manual_seed(0)
    x = torch.randn(4, 24, 8, 8).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(24, 1, 3, 3).requires_grad_()
    norms = norm(24), norm(24)
    exact = [copy.deepcopy(one).double() for one in norms]
    block = {**BLOCK, "before": kind, "after": kind}
    doubles = [one.detach().double().requires_grad_() for one in (x, weight)]
    output, given_last = plain(*doubles, None, **block, norm_before=exact[0], norm_after=exact[1])
    noise = torch.randn(output.shape)
    for kink in (-3, 0, 3, 6):  # there rounding decides whether a unit has a gradient
        noise[(given_last - kink).abs() < 1e-4] = 0
    found = step(
        lambda x, weight: depthwise_block(
            x, weight, **block, norm_before=norms[0], norm_after=norms[1], kernels=kernels
        ),
        (x, weight), norms, lambda output: noise,
    )  # fmt: skip
    close(found[0], output.detach(), 1e-5)
    leaves = [*doubles, *(one for norm in exact for one in (norm.weight, norm.bias))]
    for ours, theirs in zip(
        found[1], torch.autograd.grad(output, leaves, noise.double()), strict=True
    ):
        close(ours, theirs, 1e-5)
