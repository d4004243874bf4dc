"""Heat maps against references of a few lines, at layers that zoo finds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import zoo
from zoo.errors import PluginError, UsageError
from zoo.evaluation.examined import examine
from zoo.evaluation.interpretation.heatmaps import heatmaps, overlay
from zoo.network.head import find_head
from zoo.registry import build, parse_choice
from zoo_interpretation.layers import find_place


def network(registry, spec, size, *, num_classes=5, channels=3):
    """A model with weights that are random, its head included, and some images."""
    torch.manual_seed(0)
    model = build(
        parse_choice(registry, "model", spec),
        num_classes=num_classes, channels=channels, image_size=size,
    ).eval()  # fmt: skip
    head = find_head(model, num_classes=num_classes)[0]
    nn.init.normal_(model.get_submodule(head).weight, std=0.1)
    return model, head, torch.randn(3, channels, size, size)


def explainer(registry, spec, head):
    return build(parse_choice(registry, "explainer", spec), head=head)


def scaled(heat_Bhw, size):
    """What the papers leave open: no negative heat, each image from 0 to 1, enlarged linearly."""
    heat_Bhw = heat_Bhw.clamp(min=0)
    for _ in range(2):
        heat_Bhw = heat_Bhw - heat_Bhw.amin((1, 2), True)
        heat_Bhw = heat_Bhw / heat_Bhw.amax((1, 2), True).clamp(min=1e-9)  # or no heat at all
        heat_Bhw = functional.interpolate(heat_Bhw[:, None], (size, size), mode="bilinear")[:, 0]
    return heat_Bhw


def seen_at(model, layer, images_BCHW, classes_B):
    """Activations of a layer, and the gradients of the logits of the classes there."""
    kept = []

    def keep(_, __, output):
        kept.append(output)
        return output.clone()

    handle = model.get_submodule(layer).register_forward_hook(keep)
    logits_BK = model(images_BCHW)
    handle.remove()
    score = logits_BK[torch.arange(len(classes_B)), classes_B].sum()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


def as_map(tokens_BNC):
    side = int((tokens_BNC.shape[1] - 1) ** 0.5)
    return tokens_BNC[:, 1:].reshape(len(tokens_BNC), side, side, -1).permute(0, 3, 1, 2)


REFERENCES = {
    "gradcam": lambda a, g: (g.mean((2, 3), True) * a).sum(1),
    "hirescam": lambda a, g: (g * a).sum(1),
    "layercam": lambda a, g: (g.clamp(min=0) * a).sum(1),
    "xgradcam": lambda a, g: ((g * a / (a.sum((2, 3), True) + 1e-7)).sum((2, 3), True) * a).sum(1),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_heat_equals_its_definition(registry, name):
    model, head, images = network(registry, "resnet18", 64)
    classes = torch.tensor([0, 3, 3])
    heat = explainer(registry, name, head)(model, images, classes)
    expected = scaled(REFERENCES[name](*seen_at(model, "layer3", images, classes)), 64)
    assert heat.shape == (3, 64, 64)
    assert heat.dtype == torch.float32
    assert (heat - expected).abs().max() <= 1e-5
    assert heat.amin() >= 0
    assert 0.99 <= heat.amax() <= 1


def test_heat_of_a_transformer_equals_its_definition(registry):
    model, head, images = network(registry, "timm/vit-tiny-patch16-224", 64)
    classes = torch.tensor([1, 2, 4])
    heat = explainer(registry, "gradcam", head)(model, images, classes)
    tokens, gradients = seen_at(model, "blocks.11.norm1", images, classes)
    expected = scaled(REFERENCES["gradcam"](as_map(tokens), as_map(gradients)), 64)
    assert (heat - expected).abs().max() <= 1e-5
    assert heat.amax() >= 0.99


@pytest.mark.parametrize(
    ("spec", "size", "layer", "form", "grid", "prefix"),
    [
        ("mobilenetv3", 128, "blocks", "map", (4, 4), 0),
        ("efficientnet-lite0", 128, "bn2", "map", (4, 4), 0),
        ("timm/resnet18", 128, "layer4", "map", (4, 4), 0),
        ("timm/resnet18", 64, "layer3", "map", (4, 4), 0),  # layer4 has 2 x 2 places only
        ("timm/convnext-atto", 128, "norm_pre", "map", (4, 4), 0),
        ("timm/vit-tiny-patch16-224", 96, "blocks.11.norm1", "tokens", (6, 6), 1),
        ("timm/deit-tiny-distilled-patch16-224", 96, "blocks.11.norm1", "tokens", (6, 6), 2),
        ("timm/swin-tiny-patch4-window7-224", 224, "norm", "channels last", (7, 7), 0),
        ("timm/cait-xxs24-224", 96, "blocks_token_only.1.norm1", "tokens", (6, 6), 1),
        ("torchvision/squeezenet1-1", 128, "classifier.0", "map", (7, 7), 0),
        ("lenet", 28, "features.3", "map", (4, 4), 0),
        ("cifar-quick", 32, "features.8", "map", (4, 4), 0),
    ],
)  # fmt: skip
def test_the_last_layer_with_places_that_lead_to_the_head_is_found(
    registry, spec, size, layer, form, grid, prefix
):
    model, head, images = network(registry, spec, size)
    place = find_place(model, images[:1], head=head)
    assert (place.layer, place.form, place.size, place.prefix) == (layer, form, grid, prefix)


def test_attention_between_tokens_is_no_map(registry):
    model, head, images = network(registry, "timm/vit-tiny-patch16-224", 64)
    for block in model.blocks:  # the plain form runs attn_drop on (1, heads, N, N)
        block.attn.fused_attn = False
    assert find_place(model, images[:1], head=head).layer == "blocks.11.norm1"


def test_a_head_that_is_called_by_keyword_is_no_obstacle():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

        def forward(self, images):
            return self.head(input=self.conv(images).mean((2, 3)))

    place = find_place(ByKeyword().eval(), torch.randn(1, 3, 9, 9), head="head")
    assert (place.layer, place.size) == ("conv", (7, 7))


class InPlace(nn.Module):
    """The layer after the convolution overwrites what it returned."""

    def __init__(self, inplace):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.after = nn.ReLU(inplace=inplace)
        self.more = nn.Conv2d(6, 8, 3, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.more(self.after(self.conv(images))).mean((2, 3)))


def test_work_in_place_does_not_change_the_heat():
    from zoo_interpretation.cams import cam

    torch.manual_seed(0)
    plain, changing, images = InPlace(False).eval(), InPlace(True).eval(), torch.randn(2, 3, 20, 20)
    changing.load_state_dict(plain.state_dict())
    classes = torch.tensor([1, 4])
    heat = [
        cam(method="HiResCAM", layer="conv", head="head")(model, images, classes)
        for model in (plain, changing)
    ]
    expected = scaled(REFERENCES["hirescam"](*seen_at(plain, "conv", images, classes)), 20)
    assert torch.equal(*heat)
    assert (heat[0] - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", ["gradcam", "gradcampp", "eigencam", "eigengradcam", "scorecam"])
def test_the_model_is_left_as_it_was(registry, name):
    model, head, images = network(registry, "lenet", 28)
    model.features[0].train()
    model.features[0].weight.requires_grad_(False)
    model.get_submodule(head).weight.grad = kept = torch.ones(5, 500)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        heat = explainer(registry, name, head)(model, images, torch.tensor([0, 1, 2]))
    assert not heat.is_inference()
    assert ((heat >= 0) & (heat <= 1)).all()
    with pytest.raises(UsageError):
        explainer(registry, f"{name}:layer=nothing", head)(model, images, torch.tensor([0, 1, 2]))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [m for m in model.modules() if m.training] == [model.features[0]]
    assert [p for p in model.parameters() if not p.requires_grad] == [model.features[0].weight]
    assert model.get_submodule(head).weight.grad is kept
    assert torch.equal(kept, torch.ones(5, 500))
    assert sum(p.grad is not None for p in model.parameters()) == 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_many_images_equal_one_at_a_time(registry):
    model, head, _ = network(registry, "lenet", 28)
    images, classes = torch.randn(35, 3, 28, 28), torch.arange(35) % 5
    for name in ("gradcam", "scorecam"):
        explain = explainer(registry, name, head)
        single = [explain(model, images[i : i + 1], classes[i : i + 1]) for i in (0, 16, 34)]
        heat = explain(model, images, classes)
        assert (heat[[0, 16, 34]] - torch.cat(single)).abs().max() <= 1e-5
    assert explain(model, images[:0], classes[:0]).shape == (0, 28, 28)


def test_score_cam_is_the_library_s(registry, capfd):
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, head, images = network(registry, "lenet", 28)
    heat = explainer(registry, "scorecam", head)(model, images, torch.tensor([4, 1, 0]))
    assert capfd.readouterr().err == ""  # the library draws a bar for each image
    library = ScoreCAM(model, [model.features[3]])
    expected = library(images, [ClassifierOutputTarget(index) for index in (4, 1, 0)])
    assert np.abs(heat.numpy() - expected).max() <= 1e-5


def test_eigen_cam_does_not_depend_on_the_sign_of_an_eigenvector(registry):
    model, head, images = network(registry, "lenet", 28)
    heat = explainer(registry, "eigencam", head)(model, images, torch.tensor([0, 0, 0]))
    maps, _ = seen_at(model, "features.3", images, torch.tensor([0, 0, 0]))
    projected = []
    for map_Chw in maps:
        rows = map_Chw.flatten(1).T - map_Chw.flatten(1).T.mean(0)
        plane = (rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0]).view(map_Chw.shape[1:])
        projected.append(plane if plane.amax() >= -plane.amin() else -plane)
    assert (heat - scaled(torch.stack(projected), 28)).abs().max() <= 1e-4


def test_a_network_without_places_is_refused(registry):
    model, head, images = network(registry, "mlp-mnist", 28)
    with pytest.raises(UsageError, match="no layer keeps height and width"):
        explainer(registry, "gradcam", head)(model, images, torch.tensor([0, 1, 2]))


def test_layers_that_do_not_fit_are_refused(registry):
    model, head, images = network(registry, "lenet", 28)
    with pytest.raises(UsageError, match=r"no layer 'featuers\.3'") as caught:
        find_place(model, images[:1], head=head, layer="featuers.3")
    assert "features.3" in caught.value.found
    with pytest.raises(UsageError, match="has no height and width") as caught:
        find_place(model, images[:1], head=head, layer="features.5")
    assert "(500,)" in caught.value.found
    assert find_place(model, images[:1], head=head, layer="features.1").size == (12, 12)


def test_without_the_package_it_says_what_to_install(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(PluginError, match="pytorch_grad_cam") as caught:
        explainer(registry, "gradcam", "head")
    assert "classifier-zoo[interpret]" in caught.value.hint


@pytest.fixture(scope="module")
def examined(shapes_folder, tmp_path_factory, registry):
    path = zoo.run(
        model="lenet", img_size=28, batch_size=8, threads=1, epochs=3, freeze_epochs=0, lr=5e-3,
        data=str(shapes_folder), runs=str(tmp_path_factory.mktemp("runs")), registry=registry,
    ).path  # fmt: skip
    return examine(path, registry=registry)


def test_heat_of_an_examined_split(examined, registry):
    pairs = heatmaps(examined, [5, 0], registry=registry)
    assert heatmaps(examined, [], registry=registry) == []
    for (image, heat), index in zip(pairs, (5, 0), strict=True):
        assert (image.size, image.mode) == ((28, 28), "RGB")
        assert heat.shape == (28, 28)
        original = np.asarray(examined.picture(index).resize((28, 28)), dtype=float)
        assert np.abs(np.asarray(image, dtype=float) - original).mean() < 12
    other = heatmaps(examined, [5], classes=[1 - int(examined.predictions.predicted_N[5])],
                     registry=registry)  # fmt: skip
    assert not np.allclose(other[0][1], pairs[0][1])


def test_where_there_is_no_heat_the_picture_is_grey():
    image = Image.fromarray(np.full((4, 4, 3), (200, 100, 0), dtype=np.uint8))
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[1, 2] = 1
    drawn = np.asarray(overlay(image, heat)).astype(int)
    grey = np.asarray(image.convert("L"))[0, 0]
    assert (drawn[0, 0] == grey).all()
    assert np.ptp(drawn[1, 2]) > 60  # yellow
    assert drawn.shape == (4, 4, 3)
