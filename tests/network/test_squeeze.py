"""Squeezes and excitations with fewer passes over their maps, against torch's in float64."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.network.block_networks import LAST, fused, holding, images, same_step
from zoo.network.fast import restore, squeeze
from zoo.network.fast.native import Kernels
from zoo.network.fast.squeeze import squeezed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def computed(monkeypatch):
    """The shapes of maps that were computed by zoo."""
    seen = []
    real = squeeze.squeezed

    def spy(x, gate, kernels):
        seen.append(tuple(x.shape))
        return real(x, gate, kernels)

    monkeypatch.setattr(squeeze, "squeezed", spy)
    return seen


def plain(x, gate):
    return x * gate(x.mean((2, 3), keepdim=True))


def close(found, expected, share=1e-5):
    error = (found.double() - expected).abs().max().item()
    assert error <= share * expected.abs().max().item()


@settings(max_examples=100)
@given(
    batch=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 8, 16, 40, 2049]),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    threads=st.integers(1, 3),
)
def test_any_maps(kernels, batch, channels, size, threads):
    torch.set_num_threads(threads)
    torch.manual_seed(batch)
    x = torch.randn(batch, channels, *size).to(memory_format=LAST).requires_grad_()
    weight = torch.randn(channels).requires_grad_()
    grad = torch.randn(x.shape)

    def made(run, x, weight):
        output = run(x, lambda mean: (mean * weight[:, None, None]).sigmoid())
        return output.detach(), *torch.autograd.grad(output, (x, weight), grad.to(x.dtype))

    found = made(lambda x, gate: squeezed(x, gate, kernels), x, weight)
    exact = (one.detach().double().requires_grad_() for one in (x, weight))
    for ours, theirs in zip(found, made(plain, *exact), strict=True):
        close(ours, theirs)


def test_a_mean_of_many_pixels(kernels):
    x = torch.rand(1, 4, 500, 400).to(memory_format=LAST)
    close(kernels.mean(x), x.double().mean((2, 3), keepdim=True))
    close(kernels.of_gate(x, x), x.double().square().sum((2, 3), keepdim=True))


def test_bits_are_those_of_one_thread(kernels):
    x = torch.randn(7, 40, 9, 9).to(memory_format=LAST).requires_grad_()
    made = []
    for threads in (1, 2, 3, 2):
        torch.set_num_threads(threads)
        output = squeezed(x, torch.sigmoid, kernels)
        made.append((output, *torch.autograd.grad(output.square().sum(), x)))
    for other in made[1:]:
        assert all(map(torch.equal, made[0], other))


def test_derivatives_of_the_second_order(kernels):
    def products(run, x):
        first = torch.autograd.grad(run(x, torch.sigmoid).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first[0].square().sum(), x)[0]

    x = torch.randn(2, 8, 5, 4).to(memory_format=LAST).requires_grad_()
    found = products(lambda x, gate: squeezed(x, gate, kernels), x)
    close(found, products(plain, x.detach().double().requires_grad_()))


def test_one_graph_differentiated_in_several_ways(kernels):
    x = torch.randn(2, 8, 5, 4).to(memory_format=LAST).requires_grad_()
    exact = x.detach().double().requires_grad_()
    outputs = squeezed(x, torch.sigmoid, kernels), plain(exact, torch.sigmoid)
    for create in (False, True, False):
        ours, theirs = (
            torch.autograd.grad(
                one.square().sum(), leaf, create_graph=create, retain_graph=True
            )[0].detach()
            for one, leaf in zip(outputs, (x, exact), strict=True)
        )  # fmt: skip
        close(ours, theirs)


@pytest.mark.parametrize(
    "gate",
    [
        lambda mean: mean.sigmoid().mean(1, keepdim=True),  # one for all channels
        lambda mean: torch.ones_like(mean),  # without a gradient
        lambda mean: mean.sigmoid().transpose(2, 3).expand(-1, -1, 1, 1),
    ],
)
def test_other_gates(kernels, gate):
    x = torch.randn(3, 8, 5, 4).to(memory_format=LAST).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = torch.randn(3, 4, 5, 8).permute(0, 3, 2, 1)  # in a layout of its own
    output, expected = squeezed(x, gate, kernels), plain(exact, gate)
    close(output.detach(), expected.detach())
    found, wanted = (
        torch.autograd.grad(one, leaf, grad.to(one.dtype))[0]
        for one, leaf in ((output, x), (expected, exact))
    )
    close(found, wanted)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize(
    ("made", "num"),
    [
        (lambda: timm.create_model("mobilenetv3_small_050", num_classes=5, act_layer=nn.SiLU), 9),
        (lambda: timm.create_model("efficientnet_b0", num_classes=5), 16),
        (lambda: timm.create_model("regnety_002", num_classes=5, act_layer=nn.SiLU), 13),
        (lambda: torchvision.models.efficientnet_b0(num_classes=5), 16),
    ],
)
def test_a_step_of_a_network(made, num, held, kernels, computed):
    torch.manual_seed(0)
    model = holding(made(), held=held)
    for module in model.modules():
        if isinstance(module, nn.Dropout | torchvision.ops.StochasticDepth):
            module.eval()
    plain = copy.deepcopy(model).double()
    types = [type(module) for module in model.modules()]
    x = images(16)
    fused(model, x, kernels, held=held)
    assert [type(module) for module in model.modules()] == types
    assert list(model.state_dict()) == list(plain.state_dict())
    computed.clear()
    same_step(model, plain, x, 1e-3 if held else 1e-2)
    assert len(computed) == num
    computed.clear()
    with torch.no_grad():
        model(x)
    restore(model)
    model(x)
    assert not computed
    assert not any("forward" in vars(module) for module in model.modules())


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 1), torchvision.ops.SqueezeExcitation(16, 4), nn.Conv2d(16, 5, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).to(memory_format=LAST)  # fmt: skip


def test_whoever_looks_at_a_part_sees_it(kernels, computed):
    model = network()
    fused(model, images(), kernels)
    plain = copy.deepcopy(model)
    restore(plain)
    seen = []
    for one in (model, plain):
        for part in (one[1], one[1].fc1, one[1].scale_activation):
            part.register_forward_hook(lambda module, given, made: seen.append(made.detach()))
    computed.clear()
    same_step(model, plain, images(), 1e-4)
    assert len(computed) == 1
    torch.testing.assert_close(seen[:3], seen[3:])
    model[1].avgpool.register_forward_hook(lambda module, given, made: seen.append(made))
    same_step(model, plain, images(), 1e-4)
    assert len(computed) == 1  # there is a mean of torch's to see


class Doubled(torchvision.ops.SqueezeExcitation):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "other",
    [
        lambda: Doubled(16, 4),
        lambda: timm.layers.SEModule(16, add_maxpool=True),
        lambda: timm.layers.EffectiveSEModule(16),
        lambda: timm.layers.EcaModule(16),
    ],
)
def test_other_classes_are_torchs_own(other, kernels, computed):
    model = network()
    model[1] = other()
    fused(model, images(), kernels)
    model(images()).sum().backward()
    assert not computed


def test_other_inputs_are_torchs_own(kernels, computed):
    model = network()
    fused(model, images(), kernels)
    plain = copy.deepcopy(model)
    restore(plain)
    computed.clear()
    with torch.inference_mode():
        assert torch.equal(model(images()), plain(images()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(images())
    model[1](torch.randn(2, 16, 4, 4))
    model.double()(images().double())
    model.float()(images()[:0])
    assert not computed
    model(images())
    assert computed


def test_copies_and_pickles_are_independent(kernels, computed, tmp_path):
    model = network()
    here = Kernels(Path(shutil.copy(kernels.path, tmp_path)))
    fused(model, images(), here)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            twin[1].fc2.bias.fill_(-100.0)
        computed.clear()
        assert not torch.equal(twin(images()), model(images()))
        assert len(computed) == 2
    gone = pickle.loads(pickle.dumps(model).replace(b"kernels.so", b"nowhere.so"))
    computed.clear()
    gone(images()).sum().backward()
    assert not computed
