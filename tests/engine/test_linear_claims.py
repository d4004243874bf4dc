"""Layers and losses whose place zoo's own C takes: they are what they say, or are called."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from tests.network.native_kernels import shared_linear_kernels
from zoo.engine.features.rows import ChosenRows, Layout
from zoo.engine.feeds import Batch
from zoo.engine.step.linear import LinearStep, is_linear, is_of_cost
from zoo.protocols import SoftmaxCost
from zoo.registry import build, parse_choice


class Renamed(nn.Linear):
    """Computes what a linear layer does, as timm's does."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x + torch.rand(()))


class Normalised(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, nn.functional.normalize(self.weight), self.bias)


class WithMore(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale = nn.Parameter(torch.ones(()))


class CutOff(nn.Linear):
    def forward(self, x):
        return super().forward(x).clamp(-100, 100)


class Tempered(nn.Linear):
    """Computes what a linear layer does until somebody sets its temperature."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.temperature = 1.0

    def forward(self, x):
        return super().forward(x) / self.temperature


def patched(module):
    module.forward = functools.partial(nn.Linear.forward, module)
    return module


class Fails(nn.Linear):
    def forward(self, x):
        raise RuntimeError("only in the moonlight")


@pytest.mark.parametrize(
    ("module", "linear"),
    [
        (nn.Linear(4, 3), True), (nn.Linear(4, 3, bias=False), True), (Renamed(4, 3), True),
        (Scaled(4, 3), False), (Noisy(4, 3), False), (Normalised(4, 3), False),
        (WithMore(4, 3), False), (Fails(4, 3), False), (CutOff(4, 3), False),
        (Tempered(4, 3), False), (patched(nn.Linear(4, 3)), False),
        (nn.Linear(4, 3).double(), False),
        (nn.Sequential(nn.Linear(4, 3)), False), (nn.Conv1d(4, 3, 1), False),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), False),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, nn.Module) else str(it),
)  # fmt: skip
def test_what_computes_as_a_linear_layer_is_one(module, linear):
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert is_linear(module) is linear
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_would_be_read_wrong_is_not_taken(tmp_path_factory):
    """The library is told where numbers are, and neither their type nor how they are laid out."""
    kernels = shared_linear_kernels(tmp_path_factory)
    rows_NF, index_B, target_B = torch.zeros(6, 4), torch.arange(3), torch.tensor([0, 1, 2])
    layout = Layout(shape=(4,), channels_last=False, dtype=torch.float32)

    def takes(module=None, rows_N=rows_NF, index_B=index_B, target=target_B):
        step = LinearStep(module or nn.Linear(4, 3), SoftmaxCost(), kernels)
        return step.takes([Batch(ChosenRows(rows_N, index_B, layout), target)])

    def altered(**tensors):
        module = nn.Linear(4, 3)
        for name, tensor in tensors.items():
            setattr(module, name, nn.Parameter(tensor))
        return module

    assert takes()
    assert takes(nn.Linear(4, 3, bias=False))
    assert not takes(rows_N=torch.zeros(6, 5))
    assert not takes(rows_N=torch.zeros(4, 6).T)
    assert not takes(rows_N=torch.zeros(1, 4).expand(6, 4))
    assert not takes(rows_N=torch.zeros(6, 2, 2))
    assert not takes(rows_N=rows_NF.double())
    assert not takes(index_B=index_B.int())
    assert not takes(index_B=torch.arange(6)[::2])
    assert not takes(index_B=torch.arange(4))
    assert not takes(target=target_B.int())
    assert not takes(target=target_B.byte())
    assert not takes(target=torch.arange(6)[::2])
    assert not takes(target=torch.zeros(3, 3))
    assert not takes(nn.Linear(4, 3).double())
    assert not takes(altered(weight=torch.zeros(4, 3).T))
    assert not takes(altered(bias=torch.zeros(1)))
    assert not takes(altered(bias=torch.zeros(3).double()))


def test_a_loss_that_is_not_what_it_says_is_called(tmp_path_factory):
    kernels = shared_linear_kernels(tmp_path_factory)

    def ce(logits_BK, target, sample_weight_B=None):
        return nn.functional.cross_entropy(logits_BK, target)

    def weighed(logits_BK, target, sample_weight_B=None):
        return nn.functional.cross_entropy(logits_BK, target, torch.arange(1.0, 6.0))

    def offset(logits_BK, target, sample_weight_B=None):
        return ce(logits_BK, target) + 1

    def cut_off(logits_BK, target, sample_weight_B=None):
        return ce(logits_BK.clamp(-100, 100), target)

    def fails(logits_BK, target, sample_weight_B=None):
        raise RuntimeError("on Sundays")

    def is_no_tensor(logits_BK, target, sample_weight_B=None):
        return 1.0

    def wide(logits_BK, target, sample_weight_B=None):
        return ce(logits_BK.double(), target)

    same = functools.partial(is_of_cost, kernels=kernels, num_classes=5)
    assert same(ce, SoftmaxCost())
    assert not same(ce, SoftmaxCost(gamma=0.1))
    assert not same(ce, SoftmaxCost(smoothing=0.01))
    assert not same(weighed, SoftmaxCost())
    assert not same(offset, SoftmaxCost())
    assert not same(cut_off, SoftmaxCost())
    assert not same(fails, SoftmaxCost())
    assert not same(is_no_tensor, SoftmaxCost())
    assert same(wide, SoftmaxCost())


@pytest.mark.parametrize(
    "loss", ["ce", "label-smoothing", "focal", "focal-0.05", "focal-5", "poly"]
)
@pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
def test_the_losses_are_what_they_say(registry, tmp_path_factory, loss, num_classes):
    choice = parse_choice(registry, "loss", loss)
    own = build(choice, num_classes=num_classes, class_weight_K=None)
    kernels = shared_linear_kernels(tmp_path_factory)
    assert is_of_cost(own, own.cost, kernels=kernels, num_classes=num_classes)
