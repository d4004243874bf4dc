"""Rates of dropout and drop-path in networks of every manner, against timm's and torchvision's."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.ops import stochastic_depth

from zoo.errors import UsageError
from zoo.network.dropout import DropPath, depth_rates, override_dropout
from zoo.registry import build, parse_choice


def timm_paths(model):
    """Returns the rate of every drop-path that drops anything."""
    return {
        name: module.drop_prob
        for name, module in model.named_modules()
        if type(module).__name__ == "DropPath" and module.drop_prob
    }


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",  # placeholders drop_path1 and drop_path2
        "convnext_atto",
        "resnet18",  # None where there is none
        "regnety_002",
    ],
)
def test_drop_path_is_what_timm_builds(name):
    with torch.device("meta"):
        built, changed = timm.create_model(name, drop_path_rate=0.3), timm.create_model(name)
    keys = list(changed.state_dict())
    summary = override_dropout(changed, drop_path=0.3)
    expected = timm_paths(built)
    assert expected
    assert timm_paths(changed).keys() == expected.keys()
    assert timm_paths(changed) == pytest.approx(expected)
    assert summary.drop_paths > len(set(expected.values())) - 1
    assert list(changed.state_dict()) == keys
    override_dropout(built, drop_path=0.1)  # from one rate to another
    override_dropout(changed, drop_path=0.1)
    assert timm_paths(built) == pytest.approx(timm_paths(changed))
    override_dropout(changed, drop_path=0.0)
    assert timm_paths(changed) == {}


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "efficientnet_lite0"])
def test_efficient_networks_rise_to_the_same_blocks(name):
    with torch.device("meta"):
        built, changed = timm.create_model(name, drop_path_rate=0.3), timm.create_model(name)
    override_dropout(changed, drop_path=0.3)
    ours, theirs = timm_paths(changed), timm_paths(built)
    assert ours.keys() == theirs.keys()
    blocks = len(ours) + 1
    for block, key in enumerate(ours, start=1):  # timm divides by the blocks, the paper by one less
        assert ours[key] == pytest.approx(0.3 * block / (blocks - 1))
        assert theirs[key] == pytest.approx(0.3 * block / blocks)


def test_torchvision_keeps_its_modules():
    with torch.device("meta"):
        for create in (torchvision.models.efficientnet_b0, torchvision.models.swin_t):
            model = create()
            kinds = [type(m) for m in model.modules()]
            paths = [m for m in model.modules() if type(m).__name__ == "StochasticDepth"]
            summary = override_dropout(model, drop_path=0.4)
            assert summary.drop_paths == len(paths)
            assert [m.p for m in paths] == pytest.approx(depth_rates(0.4, len(paths)))
            assert [type(m) for m in model.modules()] == kinds


@pytest.mark.parametrize(
    ("build_model", "places"),
    [
        (lambda: torchvision.models.efficientnet_b0(), 1),
        (lambda: torchvision.models.vgg11(), 2),
        (lambda: torchvision.models.swin_t(), 12 * 3),  # two of each MLP, one of each attention
        (lambda: timm.create_model("vit_tiny_patch16_224"), 12 * 3 + 2),
        (lambda: timm.create_model("densenet121"), 58 + 1),
    ],
)
def test_dropout_is_set_wherever_it_is_but_on_attention_weights(build_model, places):
    with torch.device("meta"):
        model = build_model()
        assert override_dropout(model, dropout=0.35).dropouts == places
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            on_attention = name.endswith("attn_drop")
            assert module.p == (0.0 if on_attention else 0.35), name
        if type(module).__name__ == "ShiftedWindowAttention":
            assert (module.dropout, module.attention_dropout) == (0.35, 0.0)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "efficientnet_lite0", "resnet18"])
def test_a_rate_that_forward_hands_to_a_function_is_set(name):
    model = timm.create_model(name, num_classes=4).train()
    for module in model.modules():  # statistics of two images are no matter here
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
        assert str(override_dropout(model, dropout=0.5)) == "dropout in 1 places"
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(("name", "places"), [("mlp-cifar", 3), ("cifar-quick", 0), ("lenet", 0)])
def test_a_network_without_a_place_says_so(registry, name, places):
    model = build(parse_choice(registry, "model", name), num_classes=3, channels=3, image_size=32)
    if places:
        assert override_dropout(model, dropout=0.1).dropouts == places
        assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.1] * places
        with pytest.raises(UsageError, match="no stochastic depth"):
            override_dropout(model, drop_path=0.1)
    else:
        with pytest.raises(UsageError) as caught:
            override_dropout(model, dropout=0.1, drop_path=0.1)
        assert "2 problems" in str(caught.value)
        assert "--dropout" in str(caught.value)
        assert "--drop-path" in str(caught.value)


def test_nothing_asked_is_nothing_done():
    model = nn.Sequential(nn.Dropout(0.2), nn.Linear(2, 2))
    assert str(override_dropout(model)) == ""
    assert model[0].p == 0.2


def test_a_layer_that_replaces_a_placeholder_takes_over_its_mode():
    model = timm.create_model("resnet18").eval()
    override_dropout(model, drop_path=0.2)
    layers = [m for m in model.modules() if isinstance(m, DropPath)]
    assert len(layers) == 7
    assert not any(layer.training for layer in layers)


@pytest.mark.parametrize("shape", [(64, 5), (64, 3, 2, 2)])
def test_drop_path_is_torchvisions_stochastic_depth(shape):
    layer = DropPath(0.4)
    branch = torch.randn(shape)
    torch.manual_seed(3)
    ours = layer(branch)
    torch.manual_seed(3)
    theirs = stochastic_depth(branch, 0.4, mode="row", training=True)
    assert torch.allclose(ours, theirs)
    dropped = (ours.flatten(1) == 0).all(1)
    assert 0 < dropped.sum() < len(branch)
    assert torch.allclose(ours[~dropped], branch[~dropped] / 0.6)
    assert layer.eval()(branch) is branch


def test_rates_rise_to_the_last_block():
    assert depth_rates(0.3, 4) == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert depth_rates(0.3, 1) == (0.3,)
    assert depth_rates(0.3, 0) == ()
