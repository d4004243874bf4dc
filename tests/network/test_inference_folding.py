"""Batch norms folded into convolutions, against the network in double precision."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.network.fast.depthwise import accelerate_depthwise, restore_depthwise
from zoo.network.inference.folding import folded_copy
from zoo.network.pairs import adjacent_pairs


def lived(model: nn.Module) -> nn.Module:
    """Gives norms statistics and weights that are not those of a new network."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                with torch.no_grad():
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.2, generator=generator)
    return model


def images(number: int = 3, size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(2))


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


def outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(x.double()).float()


NETWORKS = {
    "mobilenetv3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
    "lite0": lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
    "resnet18": lambda: timm.create_model("resnet18", num_classes=5),
    "torchvision": lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_norm_of_a_network_is_folded(name):
    torch.manual_seed(0)
    model = lived(NETWORKS[name]()).train()
    before = copy.deepcopy(model.state_dict())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    x = images()
    twin, number = folded_copy(model, x)
    assert number == len(norms) >= 20
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    assert not any(module.training for module in twin.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    with torch.no_grad():
        assert same(twin(x), outputs(model, x))
        assert same(twin(images(7)), outputs(model, images(7)))
    # The network itself is as it was.
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    owned = {tensor.data_ptr() for tensor in after.values()}
    assert not owned & {tensor.data_ptr() for tensor in twin.parameters()}


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "bias", "affine"),
    list(itertools.product((1, 3), (1, 2), (1, 4), (False, True), (False, True))),
)
def test_one_pair(kernel, stride, groups, bias, affine):
    torch.manual_seed(0)
    model = lived(
        nn.Sequential(
            nn.Conv2d(4, 8, kernel, stride, padding=kernel // 2, groups=groups, bias=bias),
            nn.BatchNorm2d(8, eps=1e-3, affine=affine),
            nn.ReLU(inplace=True),
        )
    ).eval()
    x = images(channels=4, size=9)
    expected = outputs(model, x)
    twin, folded = folded_copy(model, x)
    assert folded == 1
    assert isinstance(twin[1], nn.Identity)
    with torch.no_grad():
        assert same(twin(x), expected)


class Net(nn.Module):
    """A convolution and a norm, put together in one way or another."""

    def __init__(self, way) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.other = nn.BatchNorm2d(3)
        self.way = way

    def forward(self, x):
        return self.way(self, x)


NO_PAIRS = {
    "something between": lambda net, x: net.norm(net.conv(x) * 2),
    "written into between": lambda net, x: net.norm(net.conv(x).relu_()),
    "the convolution runs twice": lambda net, x: net.norm(net.conv(net.conv(x))),
    "the norm runs twice": lambda net, x: net.norm(net.norm(net.conv(x))),
    "two norms": lambda net, x: net.norm(h := net.conv(x)) + net.other(h),
    "the norm comes first": lambda net, x: net.conv(net.norm(x)),
}


@pytest.mark.parametrize("way", NO_PAIRS)
def test_what_is_no_pair(way):
    model = lived(Net(NO_PAIRS[way])).eval()
    assert adjacent_pairs(model, images(size=8)) == []


def test_the_one_pair_is_found():
    model = lived(Net(lambda net, x: net.norm(net.conv(x)))).eval()
    (pair,) = adjacent_pairs(model, images(size=8))
    assert (pair.convolution, pair.norm) == (model.conv, model.norm)


class Doubled(nn.Conv2d):
    """Computes its weight."""

    def forward(self, x):
        return functional.conv2d(x, 2 * self.weight, self.bias, padding=1)


def test_computed_weights_hooks_and_moving_statistics_are_left_alone():
    x = images(size=8)
    hooked = nn.Conv2d(3, 3, 1)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    for convolution in (Doubled(3, 3, 3), hooked, parametrized):
        model = lived(nn.Sequential(convolution, nn.BatchNorm2d(3))).eval()
        assert adjacent_pairs(model, x) == []
    of_the_batch = nn.BatchNorm2d(3, track_running_stats=False)
    assert adjacent_pairs(nn.Sequential(nn.Conv2d(3, 3, 1), of_the_batch).eval(), x) == []


def test_the_fast_depthwise_gradient_stays_with_the_network_and_not_with_the_copy():
    model = lived(timm.create_model("mobilenetv3_small_050", num_classes=5))
    patched = accelerate_depthwise(model)
    assert patched > 5
    twin, _ = folded_copy(model, images())
    assert restore_depthwise(twin) == 0
    with torch.no_grad():
        assert same(twin(images()), outputs(model, images()))
    assert restore_depthwise(model) == patched


class Operators(TorchDispatchMode):
    """Takes note of what torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def convolves(model: nn.Module, x: torch.Tensor) -> bool:
    with torch.no_grad(), Operators() as seen:
        model(x)
    return "aten::convolution" in seen.names


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(1, 1, 0, 1), (1, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), (5, 1, 2, 1),
     ((1, 3), 1, (0, 1), 1), ((3, 1), (2, 1), (1, 0), 1), (4, 2, 2, 1), (3, 3, 2, 1)],
)  # fmt: skip
def test_a_convolution_of_one_pixel_becomes_a_product(kernel, stride, padding, dilation, bias):
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 9, kernel, stride, padding, dilation, bias=bias)
    model = nn.Sequential(convolution, nn.BatchNorm2d(9)).eval()
    x = images(channels=6, size=1)
    assert model(x).shape == (3, 9, 1, 1)
    twin, folded = folded_copy(lived(model), x)
    assert folded == 1
    assert not convolves(twin, x)
    assert convolves(model, x)
    for one in (twin, copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        for number in (1, 7):
            other = images(number, size=1, channels=6)
            with torch.no_grad():
                assert same(one(other), outputs(model, other))


OTHERS = {
    "more pixels": (nn.Conv2d(4, 4, 1), 2),
    "a larger output": (nn.Conv2d(4, 4, 1, padding=1), 1),
    "groups": (nn.Conv2d(4, 4, 3, padding=1, groups=2), 1),
    "no tap lies on the pixel": (nn.Conv2d(4, 4, 1, stride=3, padding=1), 1),
    "between two taps": (nn.Conv2d(4, 4, 2, stride=2, padding=1, dilation=2), 1),
    "a map around a ring": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), 1),
    "padding in words": (nn.Conv2d(4, 4, 3, padding="same"), 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_stay_what_they_are(name):
    convolution, size = OTHERS[name]
    x = images(channels=4, size=size)
    twin, _ = folded_copy(nn.Sequential(convolution).eval(), x)
    assert convolves(twin, x)
    with torch.no_grad():
        assert same(twin(x), outputs(convolution, x))


class Pyramid(nn.Module):
    """One convolution for maps of several sizes."""

    def __init__(self, *, points_first: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.points_first = points_first

    def forward(self, x):
        maps = [x.mean((2, 3), keepdim=True), x]
        if not self.points_first:
            maps.reverse()
        return sum(self.convolution(one) for one in maps)


@pytest.mark.parametrize("points_first", [True, False])
def test_a_convolution_of_one_pixel_and_of_more_stays_one(points_first):
    model = Pyramid(points_first=points_first).eval()
    twin, _ = folded_copy(model, images())
    with torch.no_grad():
        assert same(twin(images()), outputs(model, images()))
