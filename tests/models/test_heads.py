"""Heads of real families, and of networks that were built to mislead."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo.errors import PluginError
from zoo.network.head import find_head, head_input, proves_out
from zoo_timm.models import build as timm_build
from zoo_torchvision.models import build as torchvision_build

K = 7

# One of each way in which timm ends a network, all cheap: (architecture, size, its head).
TIMM = [
    ("test_resnet", 64, "fc"),
    ("test_vit", 160, "head"),
    ("test_efficientnet", 64, "classifier"),
    ("test_byobnet", 64, "head.fc"),
    ("test_convnext", 64, "head.fc"),
    ("test_nfnet", 64, "head.fc"),
    ("test_mambaout", 64, "head.fc"),
    ("test_coatnet", 160, "head.fc"),
    ("mobilenetv3_small_050", 64, "classifier"),
    ("ghostnet_050", 64, "classifier"),
    ("regnetx_002", 64, "head.fc"),
    ("edgenext_xx_small", 64, "head.fc"),
    ("mobilevit_xxs", 64, "head.fc"),
    ("repghostnet_050", 64, "classifier"),
    ("starnet_s050", 64, "head"),
    ("pit_ti_224", 224, "head"),
    ("efficientvit_b0", 64, "head.classifier.4"),
    ("efficientvit_m0", 224, "head.linear"),
    ("legacy_seresnet18", 64, "last_linear"),
    ("convit_tiny", 224, "head"),
    ("xcit_nano_12_p16_224", 64, "head"),
]
TORCHVISION = [
    ("alexnet", 64, "classifier.6"),
    ("mobilenet_v3_small", 64, "classifier.3"),
    ("mnasnet0_5", 64, "classifier.1"),
    ("shufflenet_v2_x0_5", 64, "fc"),
    ("resnet18", 64, "fc"),
    ("regnet_x_400mf", 64, "fc"),
    ("densenet121", 64, "classifier"),
]


def images(size: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("build", "architecture", "size", "head"),
    [(timm_build, *row) for row in TIMM] + [(torchvision_build, *row) for row in TORCHVISION],
    ids=[row[0] for row in TIMM] + [f"torchvision-{row[0]}" for row in TORCHVISION],
)
def test_the_head_of_real_networks(build, architecture, size, head):
    model = build(architecture, num_classes=K, channels=3, image_size=size)
    assert find_head(model, num_classes=K) == (head,)
    assert proves_out(model, head, images(size))
    model.eval()
    with torch.no_grad():
        features = head_input(model, head, images(size))
        expected = model(images(size))
        actual = model.get_submodule(head)(features)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    assert expected.shape == (2, K)


def test_a_head_with_pooling_behind_it_is_found_and_not_proved():
    model = torchvision_build("squeezenet1_1", num_classes=K, channels=3, image_size=64)
    assert find_head(model, num_classes=K) == ("classifier.1",)
    assert not proves_out(model, "classifier.1", images(64))


@pytest.mark.parametrize(
    ("architecture", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("levit_128s", ("head.linear", "head_dist.linear")),
    ],
)
def test_distilled_transformers_have_two_heads_and_neither_proves_out(architecture, heads):
    model = timm_build(architecture, num_classes=K, channels=3, image_size=64)
    assert find_head(model, num_classes=K) == heads
    assert not any(proves_out(model, head, images(64)) for head in heads)


class Odd(nn.Module):
    """A small network whose ways are set by a word."""

    def __init__(self, way: str):
        super().__init__()
        self.way = way
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, K), nn.Dropout(0.5))
        self.inplace = nn.ReLU(inplace=True)
        self.head = nn.Linear(K, K)

    def forward(self, x):
        x = self.body(x)
        if self.way == "twice":
            return self.head(self.head(x))
        if self.way == "after":
            return self.head(x) * 2
        if self.way == "softmax":
            return F.softmax(self.head(x), dim=1)
        if self.way == "keyword":
            return self.head(input=x)
        if self.way == "unused":
            return x
        if self.way == "tuple":
            return self.head(x), x
        return self.head(x)


@pytest.mark.parametrize(
    ("way", "proved"),
    [
        ("plain", True),
        ("twice", False),
        ("after", False),
        ("softmax", False),
        ("keyword", False),
        ("unused", False),
        ("tuple", False),
    ],
)
def test_the_proof_tells_what_can_be_cached(way, proved):
    assert proves_out(Odd(way), "head", images(4)) is proved


@pytest.mark.parametrize("way", ["twice", "unused", "keyword"])
def test_head_input_refuses_what_is_not_one_tensor_once(way):
    with pytest.raises(PluginError, match="head"):
        head_input(Odd(way).eval(), "head", images(4))


def test_the_input_of_a_head_that_works_in_place_is_what_it_was_before():
    class AddsInPlace(nn.Module):
        def forward(self, x):
            return x.add_(1.0)

    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = AddsInPlace()

        def forward(self, x):
            return self.head(x * 2)

    model = InPlace()
    torch.testing.assert_close(head_input(model, "head", images(4)), images(4) * 2)
    assert proves_out(model, "head", images(4))


def test_the_proof_leaves_modes_hooks_and_gradients_as_they_were():
    model = Odd("plain").train()
    model.body[2].eval()
    norm = nn.BatchNorm2d(3)
    model.body.insert(0, norm)
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert proves_out(model, "head", images(4))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.head._forward_hooks
    assert not model.head._forward_pre_hooks
    assert torch.is_grad_enabled()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_modes_are_put_back_and_hooks_removed_when_the_network_fails():
    model = Odd("plain").train()
    with pytest.raises(RuntimeError):
        proves_out(model, "head", images(9))
    assert all(module.training for module in model.modules())
    assert not model.head._forward_pre_hooks


def test_a_declared_head_comes_first():
    model = Odd("plain")
    model.zoo_head = "body.1"
    assert find_head(model, num_classes=K) == ("body.1",)


@pytest.mark.parametrize("wrong", ["nothing", "", 3])
def test_a_declared_head_that_is_none_is_the_plugins_error(wrong):
    model = Odd("plain")
    model.zoo_head = wrong
    with pytest.raises(PluginError, match="names no submodule"):
        find_head(model, num_classes=K)


def test_timms_word_is_taken_only_if_it_has_the_classes():
    model = Odd("plain")
    model.pretrained_cfg = {"classifier": "body.1"}
    assert find_head(model, num_classes=K) == ("body.1",)
    model.pretrained_cfg = {"classifier": "gone"}
    assert find_head(model, num_classes=K) == ("head",)
    model.body[1] = nn.Linear(48, K + 1)
    model.pretrained_cfg = {"classifier": ("body.1", "head")}
    assert find_head(model, num_classes=K) == ("head",)


def test_without_a_layer_of_that_many_outputs_there_is_no_head():
    with pytest.raises(PluginError, match="no layer with 9 outputs"):
        find_head(Odd("plain"), num_classes=9)


def test_a_large_convolution_is_no_head():
    model = nn.Sequential(nn.Conv2d(3, K, 1), nn.Conv2d(K, K, 3))
    assert find_head(model, num_classes=K) == ("0",)
