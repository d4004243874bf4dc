"""Aliases, arguments, channels and image sizes of timm's and torchvision's models."""

from __future__ import annotations

import pytest
import torch

import zoo_classics
from zoo.errors import UsageError
from zoo.network.head import find_head
from zoo.network.probe import output_shape
from zoo.registry import Registry
from zoo_timm.aliases import ALIASES
from zoo_timm.models import build as timm_build
from zoo_torchvision import ALIASES as TORCHVISION_ALIASES
from zoo_torchvision.models import build as torchvision_build

K = 7

# More than 45 million parameters or more than a second to build.
LARGE = {
    "deit_base_patch16_224",
    "deit3_base_patch16_224",
    "hrnet_w18",
    "maxvit_tiny_tf_224",
    "maxvit_t",
    "mixer_b16_224",
    "resnext101_32x8d",
    "seresnext101_32x4d",
    "swin_small_patch4_window7_224",
    "swin_base_patch4_window7_224",
    "swin_large_patch4_window7_224",
    "swinv2_small_window8_256",
    "swinv2_base_window8_256",
    "tf_efficientnetv2_m",
    "tf_efficientnetv2_l",
    "vit_base_patch14_dinov2",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "wide_resnet50_2",
    "wide_resnet101_2",
}
AT_THEIR_OWN_SIZE = {"efficientformer_l1", "maxvit_t"}


def built(build, architecture, *, channels=3, **options):
    size = 64
    if architecture in AT_THEIR_OWN_SIZE:
        size = build.preprocessing(architecture).image_size
    model = build(architecture, num_classes=K, channels=channels, image_size=size, **options)
    with torch.no_grad():
        return model, model.eval()(torch.rand(2, channels, size, size))


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_of_timm(alias: str, registry: Registry):
    assert registry.find("model", alias).id == f"timm/{ALIASES[alias]}"


@pytest.mark.parametrize("alias", TORCHVISION_ALIASES)
def test_aliases_of_torchvision(alias: str, registry: Registry):
    assert registry.find("model", alias).id == f"torchvision/{TORCHVISION_ALIASES[alias]}"


@pytest.mark.parametrize(
    ("build", "architecture"),
    [
        pytest.param(build, name, marks=pytest.mark.slow if name in LARGE else (), id=name)
        for build, table in ((timm_build, ALIASES), (torchvision_build, TORCHVISION_ALIASES))
        for name in sorted(set(table.values()))
    ],
)
def test_what_aliases_name_builds_and_runs(build, architecture):
    model, logits_BK = built(build, architecture)
    assert logits_BK.shape == (2, K)
    assert torch.isfinite(logits_BK).all()
    assert find_head(model, num_classes=K)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", "timm/resnet18"),
        ("ResNet152", "timm/resnet152"),
        ("densenet121", "timm/densenet121"),
        ("convnext-tiny", "timm/convnext_tiny"),
        ("vit-b-16", "torchvision/vit_b_16"),
        ("shufflenetv2", "torchvision/shufflenet_v2_x1_0"),
        ("efficientnet-b0", "timm/efficientnet_b0"),
        ("efficientnet-b5", "timm/efficientnet_b5"),
        ("efficientnet-b7", "classics/efficientnet-b7"),
        ("efficientnet-lite0", "classics/efficientnet-lite0"),
        ("efficientnet_lite0", "classics/efficientnet-lite0"),
        ("timm/efficientnet_lite0", "timm/efficientnet_lite0"),
        ("efficientnetv2-s", "classics/efficientnetv2-s"),
        ("efficientnetv2-b0", "timm/tf_efficientnetv2_b0"),
        ("adv-efficientnet-b2", "classics/adv-efficientnet-b2"),
        ("se_resnext50_32x4d", "timm/seresnext50_32x4d"),
        ("xception", "timm/legacy_xception"),
        ("regnet", "timm/regnety_032"),
        ("mobilenetv3", "timm/mobilenetv3_large_100"),
        ("eca_nfnet_l0", "timm/eca_nfnet_l0"),
        ("resnest50d", "timm/resnest50d"),
        ("lenet", "classics/lenet"),
    ],
)
def test_what_names_mean(name: str, expected: str, registry: Registry):
    assert registry.find("model", name).id == expected


SMALL_TENSORFLOW = {"efficientnet-lite0", "adv-efficientnet-b0", "efficientnetv2-s"}


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(c, marks=() if c.name in SMALL_TENSORFLOW else pytest.mark.slow, id=c.name)
        for c in zoo_classics.zoo_components()
        if "architecture" in c.preset
    ],
)
def test_tensorflow_names_build_and_offer_their_weights_first(component):
    model = timm_build(**component.preset, num_classes=K, channels=3, image_size=64)
    assert output_shape(model, channels=3, image_size=64) == (1, K)
    first = timm_build.weights(**component.preset)[0]
    assert component.preset.get("tag", first.name) == first.name


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize(
    ("build", "architecture"),
    [
        (timm_build, "test_resnet"),
        (timm_build, "vit_tiny_patch16_224"),
        (torchvision_build, "shufflenet_v2_x0_5"),
        (torchvision_build, "mobilenet_v3_small"),
    ],
)
def test_other_channels(build, architecture, channels):
    _, logits_BK = built(build, architecture, channels=channels)
    assert logits_BK.shape == (2, K)


def test_a_torchvision_model_of_other_channels_differs_in_one_tensor_only():
    colour, _ = built(torchvision_build, "squeezenet1_1")
    grey, _ = built(torchvision_build, "squeezenet1_1", channels=1)
    differing = [
        name
        for (name, one), two in zip(
            colour.state_dict().items(), grey.state_dict().values(), strict=True
        )
        if one.shape != two.shape
    ]
    assert differing == ["features.0.weight"]


def test_rates_reach_the_network_and_none_keeps_its_own():
    own, _ = built(timm_build, "test_vit", drop_rate=None, drop_path_rate=None)
    set_, _ = built(timm_build, "test_vit", drop_rate=0.25, drop_path_rate=0.5)
    assert own.head_drop.p == 0.0
    assert set_.head_drop.p == 0.25
    assert max(getattr(m, "drop_prob", 0.0) or 0.0 for m in set_.modules()) == pytest.approx(0.5)


def test_an_argument_that_an_architecture_lacks_is_said():
    with pytest.raises(UsageError, match="has no argument drop_path_rate"):
        built(timm_build, "ghostnet_050", drop_path_rate=0.1)


@pytest.mark.parametrize(
    ("build", "architecture", "size"),
    [
        (timm_build, "efficientformer_l1", 64),
        (timm_build, "test_coatnet", 50),
        (torchvision_build, "vit_b_32", 50),
        (torchvision_build, "alexnet", 20),
        (torchvision_build, "inception_v3", 48),
    ],
)
def test_a_refused_size_is_named_with_one_that_works(build, architecture, size):
    with pytest.raises(
        UsageError, match=f"{architecture} does not take images of {size} x {size}"
    ) as e:
        build(architecture, num_classes=K, channels=3, image_size=size)
    works = int(e.value.hint.removeprefix("--img-size "))
    model = build(architecture, num_classes=K, channels=3, image_size=works)
    assert output_shape(model, channels=3, image_size=works) == (1, K)


def test_an_encoder_without_a_classifier_is_refused(monkeypatch):
    from torch import nn

    from zoo.network.probe import build_for_size

    with pytest.raises(UsageError, match="is no classifier"):
        build_for_size(
            lambda size: nn.Conv2d(3, K, 1),
            name="encoder",
            num_classes=K,
            channels=3,
            image_size=16,
            own_size=16,
        )


def test_a_fault_that_is_not_the_sizes_is_not_called_one():
    from torch import nn

    from zoo.network.probe import build_for_size

    def broken(size: int) -> nn.Module:
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        build_for_size(broken, name="broken", num_classes=K, channels=3, image_size=16, own_size=32)


def test_the_shape_is_found_without_touching_the_network():
    model = timm_build("test_resnet", num_classes=K, channels=3, image_size=64).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert output_shape(model, channels=3, image_size=96) == (1, K)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_off(architecture):
    model = torchvision_build(architecture, num_classes=K, channels=3, image_size=96)
    assert model.train()(torch.rand(2, 3, 96, 96)).shape == (2, K)
    assert torchvision_build.preprocessing(architecture).mean == (0.5, 0.5, 0.5)
