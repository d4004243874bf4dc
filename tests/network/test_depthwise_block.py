"""Depthwise convolutions with their activations in C, against torch's operations in float64."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.network.depthwise_geometries import geometries
from zoo.network.fast.depthwise_block import depthwise_block
from zoo.network.fast.native.kernels import ACTIVATIONS

KINKS = {None: (), nn.ReLU: (0,), nn.ReLU6: (0, 6), nn.Hardswish: (-3, 3), nn.SiLU: ()}
LAST = torch.channels_last


pytestmark = pytest.mark.usefixtures("one_thread")


def close(found, expected, share=1e-5, term=0.0):
    """Compares, as a share of the largest number there is or of the largest ``term`` of a sum.

    What cancels is rounded like the terms: few numbers can come to next to nothing.
    """
    assert found.shape == expected.shape
    scale = max(expected.abs().max().item(), term) or 1.0
    error = (found.double() - expected).abs().max().item()
    assert error <= share * scale, f"{error / scale:.2e} of the largest"


def plain(x, weight, bias, *, stride, padding, before, after):
    """Returns the convolution's output before and after the last activation, by torch."""
    given = functional.pad(x if before is None else before()(x), padding)
    convolved = functional.conv2d(given, weight, bias, stride, groups=len(weight))
    return convolved, convolved if after is None else after()(convolved)


def compared(kernels, x, weight, bias=None, **block):
    """Compares output and gradients with those in float64."""
    leaves = [one.detach().requires_grad_() for one in (x, weight, bias) if one is not None]
    output = depthwise_block(*leaves, kernels=kernels, **block)
    exact = [one.detach().double().requires_grad_() for one in leaves]
    convolved, expected = plain(*exact, *[None] * (3 - len(exact)), **block)
    grad = torch.randn(output.shape)
    for kink in KINKS[
        block["after"]
    ]:  # there a rounding error decides whether a unit has a gradient
        grad[(convolved - kink).abs() < 1e-4] = 0
    before, inputs = block["before"], exact[0].detach()
    (slope,) = torch.autograd.grad(expected, convolved, grad.double(), retain_graph=True)
    given, taps, slope = (
        one.abs().max().item()
        for one in (inputs if before is None else before()(inputs), exact[1], slope)
    )
    close(output.detach(), expected.detach(), term=given * taps)
    found = torch.autograd.grad(output, leaves, grad)
    wanted = torch.autograd.grad(expected, exact, grad.double())
    for ours, theirs, term in zip(
        found, wanted, (taps * slope, given * slope, slope)[: len(leaves)], strict=True
    ):
        close(ours, theirs, term=term)


@settings(max_examples=200)
@given(
    geometry=geometries(),
    batch=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 8, 11, 16, 24, 40]),
    threads=st.integers(1, 3),
    before=st.sampled_from(list(ACTIVATIONS)),
    after=st.sampled_from(list(ACTIVATIONS)),
    with_bias=st.booleans(),
)
def test_any_geometry(kernels, geometry, batch, channels, threads, before, after, with_bias):
    size, kernel, stride, padding = geometry
    torch.set_num_threads(threads)
    x = (4 * torch.randn(batch, channels, *size)).to(memory_format=LAST)
    weight = torch.randn(channels, 1, *kernel)
    bias = torch.randn(channels) if with_bias else None
    compared(
        kernels, x, weight, bias, stride=stride, padding=padding, before=before, after=after
    )  # fmt: skip


LARGEST = 300


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "size", "kernel"),
    [
        pytest.param(
            channels, size, kernel,
            marks=pytest.mark.slow if size == LARGEST and kernel > 3 else (),
        )
        for channels, size in [(960, 2), (672, 4), (96, 56), (24, 112), (40, LARGEST)]
        for kernel in (3, 5, 7)
    ],
)  # fmt: skip
def test_maps_of_mobile_networks_in_one_strip_and_in_many(kernels, channels, size, kernel, stride):
    x = torch.randn(2, channels, size, size).to(memory_format=LAST)
    weight = torch.randn(channels, 1, kernel, kernel)
    compared(
        kernels, x, weight, torch.randn(channels), stride=(stride, stride),
        padding=(kernel // 2,) * 4, before=nn.Hardswish, after=nn.SiLU,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", [kind for kind in ACTIVATIONS if kind], ids=lambda kind: kind.__name__
)
def test_activations_of_every_size(kernels, kind):
    values = [0.0, 1e-30, 1e-3, 1.0, 2.999, 3.001, 5.999, 6.001, 20.0, 87.0, 88.0, 100.0, 1e30]
    x = torch.tensor([*values, *(-one for one in values)])[None, :, None, None]
    weight = torch.ones(x.shape[1], 1, 1, 1)
    block = {"stride": (1, 1), "padding": (0, 0, 0, 0)}
    for sides in ({"before": kind, "after": None}, {"before": None, "after": kind}):
        given = x.clone().requires_grad_()
        output = depthwise_block(given, weight, **block, **sides, kernels=kernels)
        wanted = x.double().requires_grad_()
        expected = kind()(wanted)
        (found,) = torch.autograd.grad(output.sum(), given)
        (slope,) = torch.autograd.grad(expected.sum(), wanted)
        for ours, theirs in ((output.detach(), expected.detach()), (found, slope)):
            assert (ours - theirs).abs().le(1e-6 * theirs.abs() + 1e-30).all()


def test_what_is_not_a_number_stays_so(kernels):
    x = torch.randn(1, 8, 4, 4).to(memory_format=LAST)
    x[0, 3, 1, 2] = math.nan
    for kind in ACTIVATIONS:
        given = x.clone().requires_grad_()
        output = depthwise_block(
            given, torch.ones(8, 1, 1, 1), stride=(1, 1), padding=(0, 0, 0, 0), before=kind,
            after=kind, kernels=kernels,
        )  # fmt: skip
        assert torch.equal(output.isnan(), x.isnan())


def test_derivatives_of_the_second_order(kernels):
    x = torch.randn(2, 8, 6, 5).to(memory_format=LAST)
    weight, bias = torch.randn(8, 1, 3, 3), torch.randn(8)
    block = {
        "stride": (2, 1), "padding": (1, 0, 1, 1), "before": nn.Hardswish, "after": nn.SiLU,
    }  # fmt: skip

    def products(run, tensors):
        leaves = [one.requires_grad_() for one in tensors]
        first = torch.autograd.grad(run(*leaves).square().mean(), leaves, create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in first), leaves)

    found = products(
        lambda *given: depthwise_block(*given, **block, kernels=kernels), (x, weight, bias)
    )
    exact = [one.detach().double() for one in (x, weight, bias)]
    expected = products(lambda *given: plain(*given, **block)[1], exact)
    for ours, theirs in zip(found, expected, strict=True):
        close(ours, theirs)


BLOCK = {"stride": (1, 1), "padding": (2, 2, 2, 2), "before": nn.ReLU6, "after": nn.SiLU}


@pytest.mark.parametrize("wanted", ["x", "weight", "bias"])
def test_gradients_of_one_alone(kernels, wanted):
    names = ("x", "weight", "bias")
    tensors = [
        torch.randn(2, 8, 6, 6).to(memory_format=LAST),
        torch.randn(8, 1, 5, 5),
        torch.randn(8),
    ]
    for name, one in zip(names, tensors, strict=True):
        one.requires_grad_(name == wanted)
    output = depthwise_block(*tensors, **BLOCK, kernels=kernels)
    output.square().sum().backward()
    exact = [one.detach().double().requires_grad_() for one in tensors]
    plain(*exact, **BLOCK)[1].square().sum().backward()
    for name, ours, theirs in zip(names, tensors, exact, strict=True):
        if name == wanted:
            close(ours.grad, theirs.grad)
        else:
            assert ours.grad is None


def test_any_strides(kernels):
    x = torch.randn(2, 12, 12, 16)[:, ::2, :, ::2].transpose(2, 3).requires_grad_()
    weight = torch.randn(5, 5, 1, 6).permute(3, 2, 0, 1)
    output = depthwise_block(x, weight, **BLOCK, kernels=kernels)
    grad = torch.randn(output.shape[::-1]).permute(3, 2, 1, 0)  # as a transpose after it would give
    (found,) = torch.autograd.grad(output, x, grad)
    exact = x.detach().double().requires_grad_()
    expected = plain(exact, weight.double(), None, **BLOCK)[1]
    close(output.detach(), expected.detach())
    close(found, *torch.autograd.grad(expected, exact, grad.double()))


def results(kernels, seed, threads=1):
    torch.set_num_threads(threads)
    numbers = torch.Generator().manual_seed(seed)
    x = torch.randn(37, 40, 9, 9, generator=numbers).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(40, 1, 5, 5, generator=numbers).requires_grad_()
    bias = torch.randn(40, generator=numbers).requires_grad_()
    made = []
    for _ in range(10):
        output = depthwise_block(x, weight, bias, **BLOCK, kernels=kernels)
        made += [output, *torch.autograd.grad(output.square().sum(), (x, weight, bias))]
    return made


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_runs_are_equal_bit_by_bit(kernels, threads):
    made = results(kernels, 1, threads)
    assert all(torch.equal(one, made[i % 4]) for i, one in enumerate(made))


def test_two_threads_at_once_give_the_bits_of_one_after_the_other(kernels):
    alone = [results(kernels, seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: results(kernels, seed), (1, 2)))
    for ours, theirs in zip(together, alone, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_the_library_tests_itself(kernels):
    assert kernels.usable
    assert kernels.computes_right()
