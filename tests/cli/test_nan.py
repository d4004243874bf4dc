"""A network that gives NaN for an image: that is no answer, and was taken for the first class."""

import json
import shutil

import pytest
from PIL import Image

import zoo
from zoo.errors import NonFiniteError

DIVIDES = """
from torch import nn
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="model", name="divides", target=f"{__name__}:Divides", summary="x / std")

class Divides(nn.Module):
    zoo_head = "head"

    def __init__(self, num_classes, channels):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        mean, std = (f((1, 2, 3), keepdim=True) for f in (images.mean, images.std))
        return self.head(self.features((images - mean) / std).mean((2, 3)))
"""


@pytest.fixture
def run(make_plugin, zoo_command, shapes_folder, tmp_path):
    make_plugin("acme", DIVIDES)
    outcome = zoo_command("run", "--model", "divides", "--data", shapes_folder, "--img-size", 24,
                          "--epochs", 1, "--runs", tmp_path, "--name", "run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    return tmp_path / "run"


@pytest.fixture
def images(shapes_folder, tmp_path):
    """Two images of a class, the second of one colour: its deviation is zero."""
    folder = tmp_path / "images"
    (folder / "bar").mkdir(parents=True)
    image = next((shapes_folder / "test" / "bar").iterdir())
    (folder / "bar" / "a.png").write_bytes(image.read_bytes())
    Image.new("RGB", (24, 24), "white").save(folder / "bar" / "b.png")
    return folder


def test_predict_has_a_row_with_the_reason(run, images, zoo_command):
    for more in ((), ("--tta", "flip"), ("--engine", "folded")):
        outcome = zoo_command("predict", run, images, "--json", *more)
        assert outcome.code == 3
        first, second = json.loads(outcome.out)
        assert first["label"] in ("bar", "dot")
        assert 0 < first["score"] < 1
        assert second["label"] is None
        assert second["score"] is None
        assert second["error"] == "the network gives NaN for it"
    left = json.loads(zoo_command("predict", run, images, "--json", "--on-bad", "skip").out)
    assert [row["image_id"] for row in left] == [str(images / "bar" / "a.png")]
    outcome = zoo_command("predict", run, images, "--on-bad", "fail")
    assert outcome.code == 3
    assert "no prediction for the image" in outcome.err


def test_what_has_no_place_for_a_reason_ends_with_7(run, images, zoo_command, tmp_path):
    for command in (
        ("evaluate", run, "--data", images),
        ("evaluate", run, "--data", images),  # with what is kept of the first time
        ("heatmap", run, images, "-o", tmp_path / "h.png"),
        ("embed", run, images, "-o", tmp_path / "e.npz"),
    ):
        outcome = zoo_command(*command)
        assert outcome.code == 7, command
        assert "the network gives NaN for 1 of 2 images" in outcome.err
        assert "b.png" in outcome.err
    with pytest.raises(NonFiniteError, match="picture 2"):
        zoo.load(run).predict([Image.open(file) for file in sorted((images / "bar").iterdir())])


def test_a_run_takes_it_for_no_class(run, shapes_folder, zoo_command, tmp_path):
    data = shutil.copytree(shapes_folder, tmp_path / "data")
    for split in ("val", "test"):  # nothing but blank images of the class that argmax would name
        for image in (data / split / "bar").iterdir():
            Image.new("RGB", (24, 24), "white").save(image)
    outcome = zoo_command(
        "run", "--model", "divides", "--data", data, "--img-size", 24, "--epochs", 1,
        "--metric", "f1", "--runs", tmp_path, "--name", "blank",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    row = json.loads((tmp_path / "blank" / "metrics.jsonl").read_text().splitlines()[-1])
    summary = json.loads((tmp_path / "blank" / "summary.json").read_text())
    assert row["val_accuracy"] <= 0.5
    assert summary["test_accuracy"] <= 0.5
    assert row["val_loss"] is row["val_f1"] is summary["test_f1"] is None
