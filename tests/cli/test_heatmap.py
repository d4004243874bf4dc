"""`zoo heatmap` as a person uses it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import zoo

TINY = {"img_size": 28, "batch_size": 8, "threads": 1, "freeze_epochs": 0, "epochs": 1,
        "workers": 1}  # fmt: skip


@pytest.fixture(scope="module")
def runs(shapes_folder, tmp_path_factory, registry):
    place = str(tmp_path_factory.mktemp("runs"))
    options = {**TINY, "data": str(shapes_folder), "runs": place, "registry": registry}
    return {name: zoo.run(model=name, name=name, **options).path for name in ("lenet", "mlp-mnist")}


def test_a_page_of_the_test_split(zoo_command, runs, tmp_path):
    outcome = zoo_command("heatmap", runs["lenet"], "-o", tmp_path / "page.png", "--count", 6)
    assert outcome.code == 0, outcome.err
    assert "6 images in" in outcome.out
    assert "2 more were left out" in outcome.out
    with Image.open(tmp_path / "page.png") as page:
        pixels = np.asarray(page.convert("RGB")).astype(int)
    assert pixels.shape[1] > 8 * 150  # four images a row, each beside its heat
    coloured = (np.ptp(pixels, axis=2) > 60).any(0)
    cells = [coloured[24 + 180 * k : 24 + 180 * k + 168] for k in range(8)]
    assert [bool(cell.any()) for cell in cells] == [False, True] * 4  # the images are grey
    again = zoo_command("heatmap", runs["lenet"], "-o", tmp_path / "page.png")
    assert again.code == 2
    assert "--force" in again.err


def test_images_by_path_a_class_and_json(zoo_command, runs, shapes_folder, tmp_path):
    (tmp_path / "bad\x1b[31m.png").write_bytes(b"no image")
    good = sorted((shapes_folder / "test" / "dot").iterdir())[:2]
    outcome = zoo_command(
        "heatmap", runs["lenet"], good[0], tmp_path / "bad\x1b[31m.png", good[1], "--json",
        "-o", tmp_path / "page.png", "--class", "bar", "--explainer", "layercam:layer=features.1",
    )  # fmt: skip
    assert outcome.code == 3
    assert "not read: " in outcome.err
    assert "\x1b" not in outcome.err
    said = json.loads(outcome.out)
    assert [one["image_id"] for one in said["images"]] == [str(path) for path in good]
    assert {(one["class"], one["label"]) for one in said["images"]} == {("bar", "dot")}
    assert all(0 <= one["probability"] <= 1 for one in said["images"])
    assert (tmp_path / "page.png").exists()


def test_a_folder_as_data_with_a_file_that_is_no_image(zoo_command, runs, shapes_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    (data / "test" / "bar" / "empty.png").write_bytes(b"")
    for command in (
        ("heatmap", runs["lenet"], "-o", tmp_path / "page.png"),
        ("embed", runs["lenet"], "-o", tmp_path / "out.npz"),
    ):
        outcome = zoo_command(*command, "--data", data)
        assert outcome.code == 3
        assert "8 images" in outcome.out
        assert "not read: test/bar/empty.png: an empty file" in outcome.err


def test_a_bad_image_of_the_run_s_own_data_names_no_option_that_does_not_help(
    zoo_command, shapes_folder, registry, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    run = zoo.run(model="lenet", data=str(data), runs=str(tmp_path), registry=registry, **TINY).path
    (data / "test" / "bar" / "empty.png").write_bytes(b"")
    for command in (
        ("heatmap", run, "-o", tmp_path / "page.png"),
        ("embed", run, "-o", tmp_path / "out.npz"),
        ("predict", run, "--split", "test", "--on-bad", "skip"),
    ):
        outcome = zoo_command(*command)
        assert outcome.code == 3
        assert "test/bar/empty.png" in outcome.err
        assert "zoo data check" in outcome.err
        assert "--on-bad" not in outcome.err


@pytest.mark.parametrize(
    ("model", "options", "code", "words"),
    [
        ("lenet", ["--class", "bra"], 2, ["no class 'bra'", "bar"]),
        ("lenet", ["--explainer", "gradcam:layer=head"], 2, ["no height and width"]),
        ("lenet", ["--explainer", "gradcam:layer=features.9"], 2, ["no layer 'features.9'"]),
        ("lenet", ["--explainer", "gradcan"], 2, ["no explainer", "gradcam"]),
        ("lenet", ["--split", "other"], 2, ["no split"]),
        ("mlp-mnist", [], 2, ["no layer keeps height and width"]),
    ],
)
def test_what_cannot_be_explained_has_a_clear_word(
    zoo_command, runs, tmp_path, model, options, code, words
):
    outcome = zoo_command("heatmap", runs[model], "-o", tmp_path / "page.png", *options)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert len(outcome.err.splitlines()) <= 4
    assert list(tmp_path.iterdir()) == []
