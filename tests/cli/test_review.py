"""`zoo review` as a person uses it."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import zoo

TINY = {"model": "lenet", "img_size": 20, "batch_size": 8, "threads": 1, "freeze_epochs": 0,
        "workers": 1, "lr": 5e-3}  # fmt: skip


@pytest.fixture(scope="module")
def run(shapes_folder, tmp_path_factory, registry):
    """A run that tells bars from dots, and a copy of its data in which two labels are wrong."""
    place = tmp_path_factory.mktemp("runs")
    made = zoo.run(**TINY, epochs=12, data=str(shapes_folder), runs=str(place), registry=registry)
    noisy = place / "noisy"
    shutil.copytree(shapes_folder, noisy)
    (noisy / "test" / "bar" / "bar-0.png").rename(noisy / "test" / "dot" / "=bar.png")
    (noisy / "test" / "dot" / "dot-1.png").rename(noisy / "test" / "bar" / "wrong.png")
    return made.path, noisy


def test_wrong_labels_come_first(zoo_command, run, tmp_path):
    outcome = zoo_command(
        "review", run[0], "--data", run[1], "--split", "test", "--reviewer", "margin",
        "-o", tmp_path / "list.csv", "--sheet", tmp_path / "page.png",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image_id"] for row in rows[:2]} == {"test/dot/=bar.png", "test/bar/wrong.png"}
    for row in rows[:2]:
        assert {row["label"], row["suggested"]} == {"bar", "dot"}
        assert row["split"] == "test"
    assert float(rows[0]["suspicion"]) >= float(rows[1]["suspicion"]) > 0.5
    assert f"{len(rows)} of 8 labels to look at (interpretation/margin)" in outcome.out
    assert "trained on" not in outcome.err
    with Image.open(tmp_path / "page.png") as page:
        assert np.ptp(np.asarray(page.convert("L")).astype(int)) > 150


def test_the_training_split_is_optimistic_and_json_has_all(zoo_command, run):
    outcome = zoo_command("review", run[0], "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said["images"] == 40
    assert "24 of these images were trained on" in outcome.err
    assert "zoo kfold" in outcome.err
    assert all(0 < one["suspicion"] <= 1 for one in said["candidates"])


def test_nothing_to_look_at_is_said(zoo_command, run):
    outcome = zoo_command("review", run[0], "--split", "test",
                          "--reviewer", "self-confidence:below=0")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "no label to look at among 8 images" in outcome.out


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--reviewer", "confidant-learning"], 2, "confident-learning"),
        (["--split", "other"], 2, "no split"),
        (["-o", "list.txt"], 2, ".csv"),
        (["--reviewer", "margin:above=3"], 2, "above"),
    ],
)
def test_what_cannot_be_done_has_a_clear_word(zoo_command, run, tmp_path, monkeypatch, options,
                                              code, word):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = zoo_command("review", run[0], *options)
    assert outcome.code == code, outcome.err
    assert word in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_several_labels_an_image_have_a_clear_word(zoo_command, tmp_path, registry):
    random, rows = np.random.default_rng(0), ["path,label,split"]
    for index in range(24):
        Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(
            tmp_path / f"{index}.png"
        )
        label, split = ("a|b", "a", "b")[index % 3], "train" if index < 16 else "val"
        rows.append(f"{index}.png,{label},{split}")
    table = tmp_path / "list.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    path = zoo.run(
        **TINY, epochs=1, loss="bce", data=f"manifest:path={table},multi_label=true,separator=|",
        runs=str(tmp_path), registry=registry,
    ).path  # fmt: skip
    outcome = zoo_command("review", path)
    assert outcome.code == 2
    assert "several labels" in outcome.err
    drawn = zoo_command("heatmap", path, "-o", tmp_path / "page.png", "--json")
    assert drawn.code == 0, drawn.err
    assert {one["label"] for one in json.loads(drawn.out)["images"]} <= {"a|b", "a", "b"}
    assert zoo_command("embed", path, "-o", tmp_path / "out.npz").code == 0
