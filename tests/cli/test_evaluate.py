"""`zoo evaluate` as a person uses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import zoo
from zoo.runs.checkpoint import digest_of

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "lr": 5e-3, "workers": 1}


@pytest.fixture(scope="module")
def result(shapes_folder, tmp_path_factory, registry):
    place = str(tmp_path_factory.mktemp("runs"))
    return zoo.run(
        name="shapes", data=str(shapes_folder), epochs=6, runs=place, registry=registry, **TINY
    )


@pytest.fixture
def here(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(result.path, "run", ignore=shutil.ignore_patterns("predictions"))
    return tmp_path


def test_tables_and_what_is_kept(here, zoo_command, result):
    outcome = zoo_command("evaluate", "run", "--resamples", 50)
    assert outcome.code == 0, outcome.err
    assert "test: 8 images of 2 classes" in outcome.out
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("accuracy"))
    assert line.split()[1] == f"{result.test_accuracy:.4f}"
    assert " to " in line
    assert "calibration error" in outcome.out
    assert "fitted on val" in outcome.out
    assert Path("run/evaluation/test.json").is_file()
    assert Path("run/predictions/val.safetensors").is_file()
    rows = [line.split()[:2] for line in outcome.out.splitlines()]
    assert ["bar", "4"] in rows
    assert ["dot", "4"] in rows


def test_json_metrics_and_splits(here, zoo_command, result):
    outcome = zoo_command("evaluate", "run", "--split", "all", "--metric", "f1,auroc", "--metric",
                          "accuracy", "--resamples", 0, "--json")  # fmt: skip
    found = json.loads(outcome.out)
    assert [metric["label"] for metric in found["metrics"]] == ["f1", "auroc", "accuracy"]
    assert found["metrics"][0]["low"] is None
    assert (found["split"], found["num_images"]) == ("all", 40)
    assert zoo_command("evaluate", "run", "--metric", "f2").code == 2


def test_other_data(here, zoo_command, shapes_folder):
    shutil.copytree(shapes_folder / "test" / "dot", "more/dot")
    outcome = zoo_command("evaluate", "run", "--data", "more", "--resamples", 0, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0, outcome.err
    assert {row["name"]: row["support"] for row in found["classes"]} == {"bar": 0, "dot": 4}
    assert {m["label"]: m["value"] for m in found["metrics"]}["auroc"] is None  # one class only
    (kept,) = Path("run/evaluation").iterdir()
    assert kept.name.startswith("more-")
    shutil.move("more/dot", "more/eel")
    unknown = zoo_command("evaluate", "run", "--data", "more")
    assert unknown.code == 3
    assert "does not know: eel" in unknown.err
    for file in Path("more/eel").iterdir():
        shutil.move(file, "more")
    Path("more/eel").rmdir()
    unlabelled = zoo_command("evaluate", "run", "--data", "more")
    assert unlabelled.code == 3
    assert "4 of 4 images have no label" in unlabelled.err
    assert "zoo predict run more" in unlabelled.err


OPTIMISTIC = {
    "test": "",
    "val": "note: the weights were chosen on these images: the numbers are optimistic",
    "train": "note: these images were trained on: the numbers are optimistic",
    "all": "note: some of these images were trained on, or the weights were chosen on them: "
    "the numbers are optimistic",
}


@pytest.mark.parametrize("split", OPTIMISTIC)
def test_images_that_the_run_has_seen_are_said_to_be(here, zoo_command, shapes_folder, split):
    shutil.copytree(shapes_folder, "moved")
    places = {"its own": (), "the same": ("--data", shapes_folder), "a copy": ("--data", "moved")}
    for where, data in places.items():
        outcome = zoo_command("evaluate", "run", "--split", split, "--resamples", 0, *data)
        assert outcome.code == 0, outcome.err
        notes = [line for line in outcome.err.splitlines() if "optimistic" in line]
        assert notes == [OPTIMISTIC[split]] * (split != "test"), where
        fitted = {
            "val": "the temperature was fitted on the images that it is tried on",
            "all": "the temperature was fitted on some of the images that it is tried on",
        }
        assert ("the temperature was" in outcome.err) == (split in fitted)
        assert fitted.get(split, "") in outcome.err


def test_other_images_are_not_said_to_be_seen(here, zoo_command, shapes_folder):
    shutil.copytree(shapes_folder, "other")
    for file in Path("other").glob("*/*/*-0.png"):
        file.unlink()
    for args in (("--split", "val"), ("--split", "train"), ("--split", "all")):
        outcome = zoo_command("evaluate", "run", "--data", "other", "--resamples", 0, *args)
        assert outcome.code == 0, outcome.err
        assert "optimistic" not in outcome.err
        assert "the temperature was" not in outcome.err


def test_the_place_of_the_data_tells_where_its_fingerprint_does_not(
    here, zoo_command, shapes_folder
):
    """A run on some of the images recorded a fingerprint of these."""
    made = zoo_command("run", "--data", shapes_folder, "--fraction", 0.5, "--epochs", 1, "--runs",
                       ".", "--name", "some", "--model", "lenet", "--img-size", 16)  # fmt: skip
    assert made.code == 0, made.err
    for split, number in (("test", 0), ("val", 1)):
        outcome = zoo_command("evaluate", "some", "--data", shapes_folder, "--split", split,
                              "--resamples", 0)  # fmt: skip
        assert outcome.err.count("some of these images were trained on") == number


def test_runs_that_are_not_whole(here, zoo_command):
    shutil.copytree("run", "new")
    body = json.loads(Path("new/best/model.json").read_text())
    body.pop("previous", None)
    body["format"] = 3
    body["digest"] = digest_of(body)
    Path("new/best/model.json").write_text(json.dumps(body))
    shutil.copytree("run", "cut")
    shutil.rmtree("cut/best")
    for name, code, words in (
        ("new", 4, "made by format 3, this zoo reads 1"), ("cut", 4, "no best weights yet"),
        ("gone", 2, "is not a run folder"),
    ):  # fmt: skip
        outcome = zoo_command("evaluate", name)
        assert (outcome.code, words in outcome.err) == (code, True), outcome.err


def test_data_that_is_gone_is_no_reason_not_to_look_at_other_data(here, zoo_command, shapes_folder):
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace(str(shapes_folder), "/nowhere/at/all"))
    assert zoo_command("evaluate", "run").code == 3
    outcome = zoo_command(
        "evaluate", "run", "--data", shapes_folder, "--split", "test", "--resamples", 0
    )
    assert outcome.code == 0, outcome.err
    assert "no temperature was fitted" in outcome.err


def test_a_run_that_is_used_from_another_folder(
    shapes_folder, registry, zoo_command, tmp_path, monkeypatch
):
    monkeypatch.chdir(shapes_folder.parent)
    options = {**TINY, "data": shapes_folder.name, "runs": str(tmp_path), "registry": registry}
    path = zoo.run(epochs=1, **options).path
    assert zoo_command("evaluate", path, "--resamples", 0).code == 0
    monkeypatch.chdir(tmp_path)
    for command in ("evaluate", path), ("predict", path, "--split", "val"):
        outcome = zoo_command(*command)
        assert outcome.code == 3
        assert f"is not at {shapes_folder.name}\n" in outcome.err
        assert f"in {tmp_path}" in outcome.err
        assert "where the run was trained" in outcome.err
