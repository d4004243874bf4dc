"""`zoo export`: other programs, with what stands in model.json, say what the run says."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import zoo
from zoo.errors import ZooError
from zoo.registry import PluginRecord, Registry, build, parse_choice

TINY = {"img_size": 24, "batch_size": 8, "threads": 1, "freeze_epochs": 0, "epochs": 1,
        "workers": 1}  # fmt: skip
FORMATS = {"onnx": "model.onnx", "pt2": "model.pt2", "safetensors": "model.safetensors"}

PLUGIN = """
from pathlib import Path
import torch
from zoo.plugin import Component, hookimpl

def made(change):
    class Exporter:
        suffix = change if change.startswith(".") or not change else ".bin"
        def __call__(self, network, example, target):
            self.network = network
            assert not target.exists() and target.parent.is_dir() and not network.training
            assert example.shape == (2, 3, 24, 24)
            if change == "fails":
                raise RuntimeError("an operator\\x1b[31m is missing")
            if change == "full":
                raise OSError(28, "No space left on device")
            if change == "elsewhere":
                (target.parent / "other").write_text("x")
            if change == "link":
                target.symlink_to("/etc/hostname")
            elif not change:
                (target / "deep").mkdir(parents=True)
                (target / "deep" / "part").write_text("weights")
            else:
                target.write_text("weights")
        def load(self, target):
            def forward(images):
                if change == "size" and len(images) == 1:
                    return torch.zeros(2, 2)
                with torch.no_grad():
                    logits = self.network(images)
                if change == "near":
                    return logits + 5e-5 * logits.abs().max()
                if change == "far":
                    return logits + 5e-4 * logits.abs().max()
                if change == "nan":
                    return logits * float("nan")
                if change == "half":
                    return logits.half()
                return logits
            return forward
    return lambda: Exporter()

NAMES = ("fails", "full", "elsewhere", "link", "size", "near", "far", "nan", "half")
for name in NAMES:
    globals()[name] = made(name)
folder = made("")
path = made("./../../x")
as_json = made(".json")

@hookimpl
def zoo_components():
    for name in (*NAMES, "folder", "path", "as_json"):
        yield Component(kind="exporter", name=name, target=f"{__name__}:{name}")
"""


@pytest.fixture(scope="module")
def lenet(shapes_folder, tmp_path_factory, registry):
    """A run, of which tests take copies."""
    return zoo.run(
        model="lenet", data=str(shapes_folder), runs=str(tmp_path_factory.mktemp("runs")),
        name="lenet", registry=registry, **TINY,
    ).path  # fmt: skip


@pytest.fixture
def run(lenet, tmp_path):
    return shutil.copytree(lenet, tmp_path / "lenet")


@pytest.fixture(scope="module")
def acme(registry, tmp_path_factory):
    """The built-in components and exporters that misbehave."""
    spec = spec_from_loader("acme_exporters", loader=None, origin="acme")
    module = sys.modules[spec.name] = module_from_spec(spec)
    exec(compile(PLUGIN, "acme_exporters.py", "exec"), module.__dict__)
    plugin = PluginRecord(
        namespace="acme", module=spec.name, distribution="zoo-acme", version="1.0",
        components=tuple(module.zoo_components()),
    )  # fmt: skip
    yield Registry([*registry.plugins, plugin])
    del sys.modules[spec.name]


def _other_program(kind, file, registry):
    """Returns what a program without zoo makes of an export: a function from images to logits."""
    if kind == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(
            file, providers=["CPUExecutionProvider"]
        )
        return lambda images: torch.from_numpy(session.run(["outputs"], {"images": images})[0])
    if kind == "pt2":
        program = torch.export.load(file).module()
        return lambda images: program(torch.from_numpy(images))
    model = parse_choice(registry, "model", "lenet")
    network = build(model, num_classes=2, channels=3, image_size=24).eval()
    network.load_state_dict(load_file(file))
    return lambda images: network(torch.from_numpy(images))


@pytest.mark.parametrize("kind", FORMATS)
def test_another_program_says_what_the_run_says(
    zoo_command, run, shapes_folder, registry, kind, tmp_path
):
    outcome = zoo_command("export", run, "--to", kind)
    assert outcome.code == 0, outcome.err
    assert "the same answer for 8 of 8 validation images" in outcome.out
    assert "model.json" in outcome.out
    folder = run / "exports" / kind
    assert sorted(one.name for one in folder.iterdir()) == sorted(["model.json", FORMATS[kind]])
    assert [one.name for one in (run / "exports").iterdir()] == [kind]

    table = json.loads((folder / "model.json").read_text())
    assert table["classes"] == ["bar", "dot"]
    assert table["input"]["shape"] == ["batch", 3, 24, 24]
    assert table["model"]["spec"] == "classics/lenet"
    assert table["versions"]["torch"] == torch.__version__
    assert ("onnxruntime" in table["versions"]) == (kind == "onnx")
    # The images are of the network's size, so this is all of the preprocessing.
    files = sorted((shapes_folder / "test").rglob("*.png"))[:3]
    mean, std = (np.float32(table["preprocessing"][name]) for name in ("mean", "std"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    images = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    answer = _other_program(kind, folder / FORMATS[kind], registry)
    with torch.no_grad():
        found = torch.cat([answer(images[:2].copy()), answer(images[2:].copy())]).softmax(1)
    expected = zoo.load(run, registry=registry).probabilities(files)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(expected[0], expected[-1], atol=1e-3)


def _page_says(file, registry, capsys):
    """What the program of the page prints for cat.jpg and runs/NAME, beside what zoo says."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copy(file, "cat.jpg")
    capsys.readouterr()
    exec(compile(program, "docs/export.md", "exec"), {})
    name, _, probability = capsys.readouterr().out.partition(" ")
    expected = zoo.load("runs/NAME", registry=registry).probabilities([file])[0]
    assert name == ["bar", "dot"][int(expected.argmax())]
    return float(probability), float(expected.max())


def test_the_program_that_the_page_shows(run, shapes_folder, registry, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    zoo.export(run, registry=registry)
    monkeypatch.chdir(run.parent)
    (run.parent / "runs").mkdir()
    run.rename(run.parent / "runs" / "NAME")
    file = sorted((shapes_folder / "test").rglob("*.png"))[0]
    said, expected = _page_says(file, registry, capsys)
    assert said == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("size", "fraction"), [(64, 0.875), (57, 0.57), (20, 0.9)])
def test_the_program_of_the_page_cuts_as_zoo_does(
    shapes_folder, registry, tmp_path, monkeypatch, capsys, size, fraction
):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    zoo.run(
        model="lenet", data=str(shapes_folder), name="NAME", registry=registry,
        crop_fraction=fraction, interpolation="nearest", **{**TINY, "img_size": size},
    )  # fmt: skip
    zoo.export("runs/NAME", registry=registry)
    file = tmp_path / "colours.png"  # each pixel as large as one of what is cut out
    side = math.floor(round(size / fraction, 12))
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    said, expected = _page_says(file, registry, capsys)
    assert said == pytest.approx(expected, abs=1e-6)


def test_json_and_the_api(zoo_command, run, tmp_path, registry):
    outcome = zoo_command(
        "export", run, "--to", "weights", "-o", tmp_path / "deep" / "er", "--json"
    )
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["file"] == str(tmp_path / "deep" / "er" / "model.safetensors")
    assert (said["comparison"]["difference"], said["comparison"]["num_same"]) == (0.0, 8)
    assert not (run / "exports").exists()
    steps = []
    made = zoo.export(
        run, to="safetensors", output=tmp_path / "api", registry=registry,
        progress=lambda what, done, total: steps.append((done, total)),
    )  # fmt: skip
    assert made.num_bytes == made.file.stat().st_size
    assert made.comparison.milliseconds > 0
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    with safe_open(made.file, "pt") as opened:
        assert json.loads(opened.metadata()["classes"]) == ["bar", "dot"]
    text = (tmp_path / "api" / "model.json").read_text()
    files = json.loads(text)["files"]
    assert (
        files["model.safetensors"]["sha256"] == hashlib.sha256(made.file.read_bytes()).hexdigest()
    )


def test_what_is_there_is_kept_or_replaced_on_request(zoo_command, run, tmp_path):
    again = ["export", run, "--to", "safetensors"]
    assert zoo_command(*again).code == 0
    place = run / "exports" / "safetensors"
    (place / "model.safetensors").write_bytes(b"older")
    refused = zoo_command(*again)
    assert refused.code == 2
    assert "--force" in refused.err
    assert (place / "model.safetensors").read_bytes() == b"older"
    assert zoo_command(*again, "--force").code == 0
    assert "head.weight" in load_file(place / "model.safetensors")
    assert sorted(one.name for one in (run / "exports").iterdir()) == ["safetensors"]

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    shutil.copy(place / "model.json", mine)
    link = tmp_path / "link"
    link.symlink_to(place)
    for other in (mine, link, tmp_path / "mine" / "thesis.txt"):
        outcome = zoo_command(*again, "--force", "-o", other)
        assert outcome.code == 9, outcome.err
    assert (mine / "thesis.txt").read_text() == "years"
    assert (place / "model.safetensors").exists()
    assert zoo_command(*again, "-o", mine / "thesis.txt" / "below").code == 6


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("fails", 5, ["acme/fails failed", "RuntimeError: an operator\\x1b", "exporters.py:14"]),
        ("full", 6, ["the disk is full"]),
        ("elsewhere", 5, ["did not write a file model.bin alone", "other"]),
        ("link", 5, ["did not write a file model.bin alone"]),
        ("size", 5, ["other logits", "another shape or type"]),
        ("far", 5, ["other logits", "0.0005 of the largest", "allowed are 0.0001"]),
        ("nan", 5, ["other logits", "not finite"]),
        ("half", 5, ["other logits", "shape or type"]),
        ("path", 5, ["no ending for its file"]),
        ("as_json", 5, ["no ending for its file"]),
        ("onxx", 2, ["no exporter", "onnx"]),
    ],
)
def test_an_exporter_that_fails_leaves_nothing(run, acme, to, code, words):
    before = set(run.rglob("*"))
    with pytest.raises(ZooError) as caught:
        zoo.export(run, to=to, registry=acme)
    assert caught.value.exit_code == code
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 4
    assert set(run.rglob("*")) - before <= {run / "exports"}


def test_an_export_that_is_another_network_is_an_error_of_the_plugin(zoo_command, run, make_plugin):
    make_plugin("acme", PLUGIN)
    outcome = zoo_command("export", run, "--to", "far")
    assert outcome.code == 5
    assert "what the exporter acme/far wrote gives other logits than the network" in outcome.err
    assert "8 of 8 validation images get the same answer" in outcome.err
    assert outcome.out == ""
    assert not list((run / "exports").iterdir())


def test_rounding_is_allowed_and_a_folder_is_an_export(run, acme):
    made = zoo.export(run, to="near", registry=acme)
    assert made.comparison.difference == pytest.approx(5e-5, rel=0.01)
    for force in (False, True):
        zoo.export(run, to="folder", force=force, registry=acme)
    place = run / "exports" / "folder"
    assert (place / "model" / "deep" / "part").read_text() == "weights"
    table = json.loads((place / "model.json").read_text())
    assert list(table["files"]) == ["model/deep/part"]
    assert table["exporter"] == {"spec": "acme/folder", "package": "zoo-acme 1.0"}
    assert table["versions"]["zoo-acme"] == "1.0"
    assert sorted(one.name for one in (run / "exports").iterdir()) == ["folder", "near"]


def test_a_package_that_is_missing_is_named_first(zoo_command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    outcome = zoo_command("export", tmp_path / "no run", "--to", "onnx")
    assert outcome.code == 5
    assert "onnxscript" in outcome.err
    assert "pip install 'classifier-zoo[onnx]'" in outcome.err


def test_where_the_data_is_gone_random_images_are_compared(zoo_command, run):
    text = (run / "config.toml").read_text()
    data = next(line for line in text.splitlines() if line.startswith("data = "))
    (run / "config.toml").write_text(text.replace(data, 'data = "gone/away"'))
    outcome = zoo_command("export", run, "--to", "safetensors")
    assert outcome.code == 0, outcome.err
    assert "note       random images were compared" in outcome.out
    assert "32 of 32 random images" in outcome.out
    table = json.loads((run / "exports" / "safetensors" / "model.json").read_text())
    assert table["compared"]["on"] == "random images"


def test_the_temperature_is_that_of_these_weights(zoo_command, run):
    def exported():
        assert zoo_command("export", run, "--to", "safetensors", "--force").code == 0
        return json.loads((run / "exports" / "safetensors" / "model.json").read_text())

    assert exported()["temperature"] is None
    assert zoo_command("evaluate", run).code == 0
    file = run / "evaluation" / "test.json"
    evaluation = json.loads(file.read_text())
    fitted = evaluation["calibration"]["temperature"]
    evaluation["calibration"]["at_limit"] = False
    file.write_text(json.dumps(evaluation))
    assert exported()["temperature"] == fitted
    evaluation["calibration"]["at_limit"] = True  # every validation image was right
    file.write_text(json.dumps(evaluation))
    assert exported()["temperature"] is None
    evaluation["calibration"]["at_limit"] = False
    evaluation["facts"]["weights"] = "0" * 64  # another epoch's
    file.write_text(json.dumps(evaluation))
    assert exported()["temperature"] is None
    file.write_text("[1, {")
    assert exported()["temperature"] is None


def test_images_with_several_labels_and_names_that_are_hostile(
    zoo_command, shapes_folder, tmp_path, registry
):
    table = tmp_path / "labels.csv"
    files = sorted(shapes_folder.rglob("*.png"))
    labels = {"dot": "dot|\x1b[31m", "bar": "bar"}
    rows = [f"{file},{labels[file.parts[-2]]},{file.parts[-3]}" for file in files]
    table.write_text("\n".join(["path,labels,split", *rows]) + "\n")
    run = zoo.run(
        model="lenet",
        data=f"manifest:path={table},separator=|",
        runs=str(tmp_path / "runs"),
        registry=registry,
        **TINY,
    ).path
    outcome = zoo_command("export", run, "--to", "safetensors")
    assert outcome.code == 0, outcome.err
    assert "8 of 8 validation images" in outcome.out
    text = (run / "exports" / "safetensors" / "model.json").read_text()
    assert "\x1b" not in text
    assert json.loads(text)["classes"] == ["\x1b[31m", "bar", "dot"]
    assert json.loads(text)["multi_label"] is True
    assert "the sigmoid is the probability" in json.loads(text)["output"]["what"]


def test_a_grey_network_has_one_mean(shapes_folder, tmp_path, registry):
    run = zoo.run(
        model="lenet", data=str(shapes_folder), channels=1, mean=[0.2, 0.4, 0.9],
        std=[0.1, 0.2, 0.6], runs=str(tmp_path), registry=registry, **TINY,
    ).path  # fmt: skip
    file = zoo.export(run, to="safetensors", registry=registry).file
    table = json.loads((file.parent / "model.json").read_text())
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["preprocessing"])
    for settings in (table["preprocessing"], header):
        assert settings["mean"] == pytest.approx([0.5])
        assert settings["std"] == pytest.approx([0.3])
    image = next((shapes_folder / "test").rglob("*.png"))  # of the network's size
    grey_1HW = np.asarray(Image.open(image).convert("L"), np.float32)[None] / 255
    mean, std = (
        np.float32(table["preprocessing"][name])[:, None, None] for name in ("mean", "std")
    )
    trained = zoo.load(run, registry=registry)
    with torch.no_grad():
        found = trained.model(torch.from_numpy((grey_1HW - mean) / std)[None]).softmax(1)
    assert torch.allclose(found, trained.probabilities([image]), atol=1e-5)
