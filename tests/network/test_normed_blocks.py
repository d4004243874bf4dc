"""Norms that train in depthwise blocks, in whole networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.network.block_networks import LAST, Twice, block, fused, holding, images, same_step
from zoo.network.fast import blocks, restore


@pytest.mark.parametrize(
    ("where", "expected", "norms"),
    [
        (0, (nn.ReLU6, nn.Hardswish), (True, True)),  # what the first norm is given
        (1, (nn.ReLU6, nn.Hardswish), (False, True)),  # the first norm's output
        (2, (None, nn.Hardswish), (False, True)),
        (3, (nn.ReLU6, None), (True, False)),  # the convolution's
        (4, (nn.ReLU6, None), (True, True)),
        (5, (nn.ReLU6, nn.Hardswish), (True, True)),
    ],
)
def test_norms_with_a_second_user_are_left_alone(where, expected, norms, kernels, taken):
    model = holding(Twice(where), held=False)
    plain = copy.deepcopy(model).double()
    fused(model, images(), kernels, held=False)
    taken.clear()
    same_step(model, plain, images(), 1e-2)
    assert taken == [expected]
    assert taken.norms == [norms]


class BeforeAdding(nn.Module):
    """Norms and activations that stand before their convolutions, in branches of one sum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(16), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16),
                nn.BatchNorm2d(16),
            )
            for _ in range(2)
        )  # fmt: skip
        self.plain = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.stem(x)
        x = sum(branch(x) for branch in self.branches) + self.plain(x) + x
        return self.head(x.mean((2, 3)))


def test_what_several_norms_and_a_convolution_are_given(kernels, taken):
    model = holding(BeforeAdding(), held=False)
    plain = copy.deepcopy(model).double()
    fused(model, images(), kernels, held=False)
    taken.clear()
    same_step(model, plain, images(), 1e-3)
    assert sorted(taken, key=str) == [(nn.SiLU, None), (nn.SiLU, None), (None, None)]
    assert sorted(taken.norms) == [(False, False), (True, True), (True, True)]


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: setattr(norm, "momentum", None),
        lambda norm: setattr(norm, "training", False),
        lambda norm: norm.double(),
        lambda norm: setattr(norm, "running_mean", torch.zeros(32)[::2]),
        lambda norm: setattr(norm, "track_running_stats", False),
    ],
)
def test_norms_that_the_library_does_not_know_are_torchs_own(change, kernels, taken):
    model = holding(block(before=nn.SiLU), held=False)
    fused(model, images(), kernels, held=False)
    plain = copy.deepcopy(model)
    restore(plain)
    for network in (model, plain):
        change(network[1])
    taken.clear()
    if model[1].weight.dtype == torch.float64:
        for network in (model, plain):
            with pytest.raises(RuntimeError, match="type"):
                network(images())
        return
    for _ in range(2):
        torch.testing.assert_close(model(images()), plain(images()))
    assert taken.norms == 2 * [(False, True)]
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["weight", "running_mean", "running_var"])
def test_norms_of_another_size_are_refused_as_torch_refuses_them(name, kernels):
    model = holding(block(), held=False)
    fused(model, images(), kernels, held=False)
    fewer = getattr(model[1], name).detach()[:8].clone()
    setattr(model[1], name, nn.Parameter(fewer) if name == "weight" else fewer)
    with pytest.raises(RuntimeError, match="should contain 16 elements not 8"):
        model(images())


def test_half_of_a_norms_statistics_are_refused_as_torch_refuses_them(kernels):
    model = holding(block(), held=False)
    fused(model, images(), kernels, held=False)
    model[1].running_var = None
    with pytest.raises(ValueError, match="both be None"):
        model(images())


def test_maps_of_another_size_are_refused_as_torch_refuses_them(kernels):
    model = holding(block(), held=False)
    fused(model, images(), kernels, held=False)
    with pytest.raises(RuntimeError, match="to have 16 channels"):
        model[3](images(channels=48))


def test_images_that_are_given_again(kernels, taken):
    model = holding(block()[1:], held=False)
    x = images(channels=16, size=16)
    plain = copy.deepcopy(model).double()
    fused(model, x, kernels, held=False)
    taken.clear()
    for _ in range(2):
        for network in (model, plain):
            network.zero_grad()
        same_step(model, plain, x, 1e-2)
    assert taken.norms == [(True, True), (True, True)]
    assert x._zoo_waiting.count(model[0]) == 1


def test_norms_over_several_processes_are_torchs_own(kernels, taken):
    model = nn.SyncBatchNorm.convert_sync_batchnorm(block()).train().to(memory_format=LAST)
    fused(model, images(), kernels, held=False)
    taken.clear()
    model(images())
    assert taken.norms == [(False, False)]


def test_a_norm_of_a_single_value_is_refused_as_torch_refuses_it(kernels, taken):
    model = holding(block(), held=False)
    fused(model, images(), kernels, held=False)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(images(1, 1))
    taken.clear()
    model(images(1, 8))
    assert taken.norms == [(False, False)]
    model(images(2, 1))
    assert taken.norms[1:] == [(True, True)]


def test_a_norm_that_is_held_for_a_step(kernels, taken):
    model = holding(block(), held=False)
    plain = copy.deepcopy(model).double()
    fused(model, images(), kernels, held=False)
    taken.clear()
    for held in (False, True, False):
        for network in (model, plain):
            network[1].training = network[4].training = not held
            network.zero_grad()
        same_step(model, plain, images(), 1e-2)
    assert taken.norms == [(True, True), (False, False), (True, True)]
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype))


def test_recomputed_in_the_backward_pass(kernels, taken):
    model = holding(block(before=nn.SiLU), held=False)
    plain = copy.deepcopy(model)
    fused(model, images(), kernels, held=False)
    taken.clear()
    for network in (model, plain):
        found = checkpoint(network[:6], images(), use_reentrant=False)
        network[6:](found).square().sum().backward()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)
    for ours, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)  # counted twice by both
    assert taken.norms == 2 * [(True, True)]


class OtherWay(nn.Module):
    """Takes another way while it trains: something stands before the convolution, or nothing."""

    def __init__(self, between):
        super().__init__()
        self.layers, self.between = block(before=nn.SiLU), between

    def forward(self, x):
        x = self.layers[:3](x)
        return self.layers[3:](self.between(x) if self.training else x)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("between", [torch.clone, torch.detach, lambda x: x + torch.rand_like(x)])
def test_another_way_in_training_is_seen(between, held, kernels, taken):
    model = holding(OtherWay(between), held=held)
    plain = copy.deepcopy(model)
    fused(model, images(), kernels, held=held)
    assert blocks.block_of(model.layers[3]) is None
    taken.clear()
    torch.manual_seed(0)
    found = model(images())
    torch.manual_seed(0)
    torch.testing.assert_close(found, plain(images()))
    assert not taken


class Several(nn.Module):
    """Returns more than logits while it trains."""

    def __init__(self):
        super().__init__()
        self.layers = block()

    def forward(self, x):
        x = self.layers(x)
        return (x, x.mean()) if self.training else x


def test_a_network_that_returns_more_in_training_is_left_alone(kernels):
    model = fused(holding(Several(), held=False), images(), kernels, held=False)
    assert blocks.block_of(model.layers[3]) is None


def test_random_layers_do_not_stand_in_the_way(kernels):
    model = nn.Sequential(*block()[:6], nn.Dropout(0.5), *block()[6:])
    holding(model, held=False)
    before = torch.get_rng_state()
    fused(model, images(), kernels, held=False)
    assert blocks.block_of(model[3]) is not None
    assert torch.equal(torch.get_rng_state(), before)


class Counts(nn.Module):
    """Has a buffer that each pass of training makes anew, and one that nobody can write into."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("wide", torch.zeros(1).expand(4))

    def forward(self, x):
        if self.training:
            self.passes = self.passes + 1
        return x


def test_buffers_are_as_they_were_after_fusing(kernels):
    model = holding(nn.Sequential(*block(), Counts()), held=False)
    before = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    fused(model, images(), kernels, held=False)
    assert blocks.block_of(model[3]) is not None
    for name, buffer in model.named_buffers():
        assert buffer is before[name][0]
        assert torch.equal(buffer, before[name][1]), name


def test_statistics_are_as_they_were_after_fusing(kernels):
    model = holding(block(), held=False)
    before = copy.deepcopy(model)
    fused(model, images(), kernels, held=False)
    assert blocks.block_of(model[3]) is not None
    for ours, theirs in zip(model.buffers(), before.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
