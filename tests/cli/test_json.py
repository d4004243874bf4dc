"""What ``--json`` prints: JSON that every parser reads, and nothing besides."""

import json

import pytest

PRINTS = """
import numpy as np
from torch import nn
from zoo.data.reading.sources import read_path
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    path = Param(name="path", type="str", default="")
    for kind, params in (("model", ()), ("scheduler", ()), ("projector", ()), ("dataset", (path,))):
        yield Component(
            kind=kind, name="chatty", target=f"{__name__}:{kind}", params=params, summary="Prints"
        )

class Chatty(nn.Module):
    zoo_head = "head"

    def __init__(self, num_classes, channels):
        super().__init__()
        print("a model")
        self.features = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        print("a pass")
        return self.head(self.features(images).mean((2, 3)))

def model(*, num_classes, channels):
    return Chatty(num_classes, channels)

def scheduler():
    print("a schedule")
    return lambda epoch: 1.0

def projector(*, seed):
    print("a projector")
    return lambda rows: np.asarray(rows)[:, :2]

def dataset(*, path, seed, split, on_bad):
    print("a data set")
    return read_path(path, seed=seed, split=split, on_bad=on_bad)
"""


@pytest.fixture
def chatty(make_plugin):
    """A plugin whose components print whenever they are called."""
    make_plugin("acme", PRINTS)


@pytest.fixture
def run(chatty, zoo_command, shapes_folder, tmp_path):
    """A run of a network that prints."""
    outcome = zoo_command("run", "--model", "chatty", "--data", shapes_folder, "--img-size", 24,
                          "--epochs", 1, "--runs", tmp_path, "--name", "run")  # fmt: skip
    assert outcome.code == 0, outcome.err
    return tmp_path / "run"


def strict(text):
    """The value of a text that is JSON by the letter."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_a_network_prints_stays_out_of_the_json(run, zoo_command, shapes_folder, tmp_path):
    image = next((shapes_folder / "test").rglob("*.png"))
    (one := tmp_path / "one").mkdir()
    (one / "bar").symlink_to(shapes_folder / "test" / "bar")  # one class: no AUROC
    for command in (
        ("evaluate", run),
        ("predict", run, image),
        ("predict", run, image, "--grid", tmp_path / "grid.png"),
        ("embed", run, image, "-o", tmp_path / "e.npz"),
        ("embed", run, "--plot", tmp_path / "e.png", "--projector", "chatty"),
        ("heatmap", run, image, "-o", tmp_path / "h.png"),
        ("review", run),
        ("report", run, "--data", one, "--explainer", "none"),
        ("compare", run, run),
        ("export", run, "--to", "safetensors"),
    ):
        outcome = zoo_command(*command, "--json")
        assert outcome.code == 0, outcome.err
        assert strict(outcome.out), command
        assert "a model" in outcome.err, command


def test_what_other_components_print_stays_out_of_it(chatty, zoo_command, shapes_folder, tmp_path):
    data = f"chatty:path={shapes_folder}"
    for command, said in (
        (("show", "model", "chatty"), "a model"),
        (("explain", "chatty"), "a schedule"),
        (("data", "check", data), "a data set"),
        (("data", "stats", data), "a data set"),
        (("data", "preview", "--data", data, "-o", tmp_path / "p.png"), "a data set"),
        (("run", "--data", data, "--model", "lenet", "--dry-run"), "a data set"),
    ):
        outcome = zoo_command(*command, "--json")
        assert outcome.code == 0, outcome.err
        assert strict(outcome.out), command
        assert said in outcome.err, command
