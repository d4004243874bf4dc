"""Held batch norms within the convolutions before them, against torch's in float64."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from zoo.network.fast import held_norms
from zoo.network.fast.depthwise import accelerate_depthwise, restore_depthwise
from zoo.network.fast.held_norms import fold_held_norms, restore_held_norms


@pytest.fixture
def scaled(monkeypatch):
    """The convolutions that scaled their weight, in order."""
    seen = []
    real = held_norms._is_held_step

    def spy(x, convolution, norm):
        answer = real(x, convolution, norm)
        if answer:
            seen.append(convolution)
        return answer

    monkeypatch.setattr(held_norms, "_is_held_step", spy)
    return seen


def held(model):
    """Gives a network statistics that are not 0 and 1, and holds them in training."""
    numbers = torch.Generator().manual_seed(1)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5, generator=numbers)
            module.running_var.uniform_(0.5, 2, generator=numbers)
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=numbers)
                nn.init.normal_(module.bias, 0, 0.2, generator=numbers)
            module.training = False
    return model


def close(found, expected, share=1e-5):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= share * expected.abs().max()


def block(**changes):
    options = {"kernel_size": 3, "padding": 1, "bias": False} | changes
    affine = options.pop("affine", True)
    channels = options.pop("channels", 8)
    return nn.Sequential(
        nn.Conv2d(8, channels, **options), nn.BatchNorm2d(channels, affine=affine), nn.SiLU()
    )


@settings(max_examples=30)
@given(
    kernel=st.sampled_from([1, 3, (3, 1)]),
    stride=st.sampled_from([1, 2, (2, 1)]),
    groups=st.sampled_from([1, 2, 8]),
    channels=st.sampled_from([8, 16]),
    bias=st.booleans(),
    affine=st.booleans(),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_output_and_gradients_are_those_of_the_two_layers(
    kernel, stride, groups, channels, bias, affine, layout
):
    torch.manual_seed(0)
    model = held(block(kernel_size=kernel, stride=stride, groups=groups, channels=channels,
                       bias=bias, affine=affine, padding=0))  # fmt: skip
    model.to(memory_format=layout)
    plain = copy.deepcopy(model).double()
    x = torch.randn(4, 8, 9, 7).to(memory_format=layout)
    assert fold_held_norms(model, x[:2]) == 1
    given = x.clone().requires_grad_()
    wanted = x.double().requires_grad_()
    found, expected = model(given), plain(wanted)
    close(found, expected)
    grad = torch.randn(found.shape)
    found.backward(grad)
    expected.backward(grad.double())
    close(given.grad, wanted.grad)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad)


def test_derivatives_of_the_second_order():
    torch.manual_seed(0)
    model = held(block())
    plain = copy.deepcopy(model).double()
    x = torch.randn(4, 8, 6, 6)
    fold_held_norms(model, x[:2])

    def products(network, images):
        weights = list(network.parameters())
        loss = network(images).square().mean()
        first = torch.autograd.grad(loss, weights, create_graph=True)
        return torch.autograd.grad(sum(one.square().sum() for one in first), weights)

    for found, expected in zip(products(model, x), products(plain, x.double()), strict=True):
        close(found, expected, share=1e-4)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("mobilenetv3_small_050", 34), ("tf_efficientnet_lite0", 49), ("resnet10t", 14)],
)
def test_a_step_of_a_whole_network(name, pairs, scaled):
    torch.manual_seed(0)
    # SiLU for ReLU6: smooth, so that rounding does not decide whether a unit has a gradient.
    model = held(timm.create_model(name, num_classes=5, act_layer=nn.SiLU))
    model.to(memory_format=torch.channels_last)
    plain = copy.deepcopy(model).double()
    keys, types = list(model.state_dict()), [type(module) for module in model.modules()]
    accelerate_depthwise(model)
    x = torch.randn(16, 3, 64, 64).to(memory_format=torch.channels_last)
    assert fold_held_norms(model, x[:2]) == pairs
    assert fold_held_norms(model, x[:2]) == pairs  # anew
    assert list(model.state_dict()) == keys
    assert [type(module) for module in model.modules()] == types
    scaled.clear()
    labels = torch.arange(16) % 5
    functional.cross_entropy(model(x), labels).backward()
    functional.cross_entropy(plain(x.double()), labels).backward()
    assert len(scaled) >= 8
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        close(ours.grad, theirs.grad, share=1e-3)
    assert restore_held_norms(model) == pairs
    assert restore_depthwise(model) == sum(getattr(m, "groups", 1) > 1 for m in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())


def test_norms_that_train_and_passes_without_gradients_are_torchs_own(scaled):
    model = held(block())
    plain = copy.deepcopy(model)
    x = torch.randn(4, 8, 6, 6)
    fold_held_norms(model, x[:2])
    scaled.clear()
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
    with torch.inference_mode():
        assert torch.equal(model(x), plain(x))
    model.eval().requires_grad_(False)
    assert torch.equal(model(x), plain(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.requires_grad_()(x)
    torch.func.vmap(model)(x[None])
    model.double()(x.double())
    model.float().train()
    plain.train()
    assert torch.equal(model(x), plain(x))
    assert torch.equal(model[1].running_mean, plain[1].running_mean)  # which moved
    assert not torch.equal(model[1].running_mean, held(block())[1].running_mean)
    assert not scaled
    model[1].eval()
    model(x)
    assert len(scaled) == 1


def test_a_weight_larger_than_the_map_is_not_scaled(scaled):
    model = held(block(channels=16))
    fold_held_norms(model, torch.randn(2, 8, 6, 6))
    scaled.clear()
    model(torch.randn(2, 8, 6, 6))  # 72 numbers a filter, 72 pixels
    assert len(scaled) == 1
    model(torch.randn(2, 8, 5, 7))
    assert len(scaled) == 1


class Around(nn.Module):
    """What a convolution returns goes round the norm, too, to a head that is zero."""

    def __init__(self, detached=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        self.detached = detached

    def forward(self, x):
        y = self.conv(x)
        z = self.norm(y) + (y.detach() if self.detached else y)
        return self.head(z.mean((2, 3)))


def test_a_convolution_that_feeds_more_than_its_norm_is_left_alone():
    x = torch.randn(2, 3, 8, 8)
    zero = held(Around())
    nn.init.zeros_(zero.head.weight)
    assert fold_held_norms(zero, x) == 0
    secret = held(Around(detached=True))  # no gradient tells, the outputs do
    assert fold_held_norms(secret, x) == 0
    for model in (zero, secret):
        assert not any("forward" in vars(module) for module in model.modules())


def test_layers_that_are_called_twice_or_have_hooks_are_left_alone():
    twice = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    assert fold_held_norms(nn.Sequential(twice, twice), torch.randn(2, 3, 8, 8)) == 0
    hooked = block()
    hooked[0].register_forward_hook(lambda module, given, output: 2 * output)
    assert fold_held_norms(hooked, torch.randn(2, 8, 8, 8)) == 0
    assert fold_held_norms(block(), torch.randn(2, 8, 8, 8), enabled=False) == 0


def test_modes_and_random_numbers_are_as_before():
    model = nn.Sequential(block(), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(2))
    model(torch.randn(2, 8, 6, 6))
    held(model)
    modes = [module.training for module in model.modules()]
    state, statistics = torch.get_rng_state(), model[0][1].running_mean.clone()
    assert fold_held_norms(model, torch.ones(2, 8, 6, 6)) == 1
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model[0][1].running_mean, statistics)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_copies_and_pickles_are_independent(scaled):
    model = held(block())
    x = torch.randn(4, 8, 6, 6)
    fold_held_norms(model, x[:2])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            twin[0].weight.zero_()
        scaled.clear()
        assert twin(x).std((0, 2, 3)).max() < 1e-6  # its own weight, which is zero
        assert model(x).std() > 0.1
        assert scaled == [twin[0], model[0]]
        assert restore_held_norms(twin) == 1
    assert restore_held_norms(model) == 1


def test_an_error_in_the_pass_leaves_the_parameters_in_their_place():
    model = held(block())
    fold_held_norms(model, torch.randn(2, 8, 6, 6))
    with pytest.raises(RuntimeError, match="channels"):
        model(torch.randn(2, 7, 12, 12))
    assert isinstance(model[0].weight, nn.Parameter)
    assert "weight" not in vars(model[0])


@pytest.mark.parametrize("dropped", [nn.Dropout(0.5), nn.Dropout2d(0.5), nn.Identity()])
def test_what_does_nothing_in_evaluation_is_seen_before_a_norm(dropped, scaled):
    convolution, norm, _ = block()
    model = held(nn.Sequential(convolution, dropped, norm))
    plain = copy.deepcopy(model)
    x = torch.randn(4, 8, 6, 6)
    assert fold_held_norms(model, x[:2]) == isinstance(dropped, nn.Identity)
    scaled.clear()
    for _ in range(2):
        torch.manual_seed(0)
        found = model(x)
        torch.manual_seed(0)
        close(found, plain(x))
    assert len(scaled) == 2 * isinstance(dropped, nn.Identity)
