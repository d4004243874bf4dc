"""The built-in exporters by themselves, and on networks of other kinds."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import zoo
from zoo.errors import PluginError, RefusedError
from zoo.protocols import Preprocessing
from zoo.registry import build, parse_choice

FORMATS = {"onnx": "model.onnx", "pt2": "model.pt2", "safetensors": "model.safetensors"}
TINY = {"batch_size": 8, "threads": 1, "freeze_epochs": 0, "epochs": 1, "workers": 1}


class Decides(nn.Module):
    """Takes another way for bright images."""

    def forward(self, x):
        return x.flatten(1) if x.mean() > 0 else -2 * x.flatten(1)


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_decision_that_hangs_on_the_images_is_refused(kind, registry, tmp_path):
    exporter = build(parse_choice(registry, "exporter", kind))
    file = tmp_path / FORMATS[kind]
    with pytest.raises(PluginError, match="Decides cannot be exported") as caught:
        exporter(Decides().eval(), torch.rand(2, 3, 4, 4), file)
    assert caught.value.found
    assert not file.exists()


def test_a_pt2_archive_has_no_pickle_and_one_with_a_pickle_is_not_opened(registry, tmp_path):
    exporter = build(parse_choice(registry, "exporter", "pt2"))
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval(), torch.rand(2, 3, 2, 2)
    exporter(network, images, tmp_path / "ours.pt2")
    with zipfile.ZipFile(tmp_path / "ours.pt2") as archive:
        assert not any(b"data.pkl" in archive.read(name) for name in archive.namelist())
    with torch.no_grad():
        assert torch.equal(exporter.load(tmp_path / "ours.pt2")(images), network(images))
    theirs = tmp_path / "theirs.pt2"
    torch.export.save(torch.export.export(network, (images,)), theirs)
    with pytest.raises(RefusedError, match="has a pickle in it"):
        exporter.load(theirs)


def test_weights_that_share_memory_are_written_apart(registry, tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(4, 4, bias=False)
            self.two = nn.Linear(4, 4, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(x.flatten(1)))

    exporter = build(
        parse_choice(registry, "exporter", "safetensors"),
        classes=("a", "b"), preprocessing=Preprocessing(), rebuild=Tied,
    )  # fmt: skip
    network, images = Tied().eval(), torch.rand(2, 1, 2, 2)
    exporter(network, images, tmp_path / "tied.safetensors")
    with torch.no_grad():
        expected = network(images)
    assert torch.equal(exporter.load(tmp_path / "tied.safetensors")(images), expected)
    save_file({"one.weight": torch.zeros(4, 4)}, tmp_path / "half.safetensors")
    with pytest.raises(RuntimeError, match=r"two\.weight"):
        exporter.load(tmp_path / "half.safetensors")


# ---- networks of other kinds ------------------------------------------------------------------

_SLOW = pytest.mark.slow
_NETWORKS = [
    ("efficientnet-lite0", 32, "safetensors"),
    pytest.param("efficientnet-lite0", 32, "onnx", marks=_SLOW),
    pytest.param("efficientnet-lite0", 32, "pt2", marks=_SLOW),
    pytest.param("mobilenetv3", 32, "onnx", marks=_SLOW),
    pytest.param("mobilenetv3", 32, "pt2", marks=_SLOW),
    pytest.param("vit_tiny_patch16_224", 32, "onnx", marks=_SLOW),
    pytest.param("vit_tiny_patch16_224", 32, "pt2", marks=_SLOW),
    pytest.param("torchvision/resnet18", 32, "onnx", marks=_SLOW),
    pytest.param("convnext_atto", 32, "pt2", marks=_SLOW),
    pytest.param("swin_tiny_patch4_window7_224", 224, "onnx", marks=_SLOW),
    pytest.param("swin_tiny_patch4_window7_224", 224, "pt2", marks=_SLOW),
]


@pytest.mark.parametrize(("model", "side", "kind"), _NETWORKS)
def test_networks_of_other_kinds(shapes_folder, tmp_path, registry, model, side, kind):
    options = {**TINY, "img_size": side, "limit": 8, "runs": str(tmp_path)}
    run = zoo.run(model=model, data=str(shapes_folder), registry=registry, **options).path
    made = zoo.export(run, to=kind, registry=registry)
    assert made.comparison.difference <= 1e-4
    assert made.comparison.num_same == made.comparison.num_images == 8
    weights = json.loads((made.path / "model.json").read_text())["weights"]
    assert (weights["license"] == "Apache-2.0") == (model == "efficientnet-lite0"), weights
