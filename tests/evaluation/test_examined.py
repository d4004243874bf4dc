"""A run examined: its predictions are kept, and damaged runs are refused."""

from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from tests.evaluation.examined_runs import TINY, computed
from zoo.errors import CheckpointError, UsageError
from zoo.evaluation.evaluated import evaluate
from zoo.evaluation.examined import examine
from zoo.evaluation.predictions import Predictions, read_predictions, write_predictions
from zoo.runs.checkpoint import digest_of


def test_what_a_run_says_is_what_it_was_tested_with(run, trained_run, registry):
    found, fresh = computed(run, registry)
    assert fresh
    assert (found.split, found.own, found.notes, found.stem) == ("test", True, (), "test")
    assert float(found.predictions.right_N.double().mean()) == trained_run.test_accuracy
    files = [found.config.data + "/" + name for name in found.predictions.names]
    scores_NK = found.trained.probabilities(files)
    torch.testing.assert_close(found.predictions.probabilities_NK, scores_NK, atol=1e-5, rtol=0)
    assert found.picture(0).size == (24, 24)
    val = examine(run, split="val", registry=registry).predictions
    best = trained_run.rows[trained_run.best_epoch - 1]
    assert float(val.right_N.double().mean()) == best.val_accuracy
    whole = examine(run, split="all", registry=registry)
    assert len(whole.predictions) == 40
    assert torch.equal(whole.predictions.logits_NK[-8:], found.predictions.logits_NK)
    assert np.array_equal(whole.picture(39), found.picture(7))


def test_predictions_are_kept_and_taken_up(run, registry):
    first, _ = computed(run, registry)
    assert sorted(p.name for p in (run / "predictions").iterdir()) == [
        "test.json", "test.safetensors",
    ]  # fmt: skip
    again, fresh = computed(run, registry)
    assert not fresh
    assert torch.equal(first.predictions.logits_NK, again.predictions.logits_NK)
    assert first.predictions.facts == again.predictions.facts
    assert first.predictions.names == again.predictions.names
    assert computed(run, registry, fresh=True)[1]
    assert not computed(run, registry, engine="torch")[1]
    assert computed(run, registry, engine="folded")[1]
    warm = examine(run, registry=registry, temperature=2.0).predictions
    torch.testing.assert_close(
        warm.probabilities_NK, (first.predictions.logits_NK / 2).softmax(1), atol=1e-4, rtol=0
    )


def change_words(run, change):
    """Changes what the JSON file says, and makes its digest right again."""
    path = run / "predictions" / "test.json"
    body = json.loads(path.read_text())
    change(body)
    body["digest"] = digest_of(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "predictions/test.json").unlink(),
        lambda run: (run / "predictions/test.safetensors").unlink(),
        lambda run: (run / "predictions/test.json").write_text("{"),
        lambda run: (run / "predictions/test.json").write_text("[" * 100_000),
        lambda run: (run / "predictions/test.safetensors").write_bytes(b"\0" * 99),
        lambda run: change_words(run, lambda body: body.update(format=2)),
        lambda run: change_words(run, lambda body: body.update(classes=["dot", "bar"])),
        lambda run: change_words(run, lambda body: body["names"].reverse()),
        lambda run: change_words(run, lambda body: body["names"].pop()),
        lambda run: change_words(run, lambda body: body["facts"].update(weights="0" * 64)),
        lambda run: change_words(run, lambda body: body["facts"].update(torch="1.0")),
        lambda run: change_words(run, lambda body: body["facts"].update(preprocessing="{}")),
        lambda run: change_words(run, lambda body: body["facts"].pop("stamp")),
    ],
)
def test_damaged_and_foreign_predictions_are_computed_again(run, registry, damage):
    first, _ = computed(run, registry)
    damage(run)
    again, fresh = computed(run, registry)
    assert fresh
    assert torch.equal(first.predictions.logits_NK, again.predictions.logits_NK)
    assert not computed(run, registry)[1]


def test_a_flipped_bit_is_found(run, registry):
    computed(run, registry)
    path = run / "predictions/test.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)
    assert computed(run, registry)[1]


def test_other_weights_and_other_data_are_computed_again(run, shapes_folder, registry, tmp_path):
    data = shutil.copytree(shapes_folder, tmp_path / "data")
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(str(shapes_folder), str(data)))
    computed(run, registry)
    assert not computed(run, registry)[1]
    (data / "test/bar/bar-0.png").unlink()
    found, fresh = computed(run, registry)
    assert fresh
    assert len(found.predictions) == 7
    assert "has changed since the run was trained" in found.notes[0]


def test_images_that_are_overwritten_by_as_many_bytes_are_predicted_anew(tmp_path, registry):
    """The fingerprint knows names and sizes, and stays: it has to survive a copy of the data."""
    data = tmp_path / "data"
    for split, count in (("train", 6), ("val", 3)):
        for label, value in (("dark", 0), ("light", 255)):
            (data / split / label).mkdir(parents=True)
            for number in range(count):
                file = data / split / label / f"{number}.bmp"
                Image.new("RGB", (16, 16), (value, number, value)).save(file)
    options = {**TINY, "data": str(data), "runs": str(tmp_path), "registry": registry}
    run = zoo.run(name="r", epochs=1, **options).path
    first, _ = computed(run, registry)
    kept_times = {file: file.stat() for file in data.glob("val/*/*.bmp")}
    for file, status in kept_times.items():
        Image.new("RGB", (16, 16), (0, 255, 0)).save(file)
        assert file.stat().st_size == status.st_size
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as `cp -p` does
    again, fresh = computed(run, registry)
    assert fresh
    assert again.data.fingerprint == first.data.fingerprint
    assert again.predictions.logits_NK.unique(dim=0).shape[0] == 1  # all are the same green
    assert not torch.equal(first.predictions.logits_NK, again.predictions.logits_NK)
    assert not computed(run, registry)[1]
    shutil.copytree(data, tmp_path / "copy")
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(str(data), str(tmp_path / "copy")))
    copied, fresh = computed(run, registry)
    assert fresh
    assert copied.notes == ()


def test_a_run_whose_predictions_cannot_be_written(run, registry):
    (run / "predictions").write_text("a file where a folder should be")
    (run / "evaluation").write_text("likewise")
    found, _ = computed(run, registry)
    assert "the predictions were not kept" in found.notes[-1]
    notes = evaluate(run, registry=registry, resamples=0).notes
    assert any("the evaluation was not kept" in note for note in notes)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda run: (run / "config.toml").unlink(), UsageError, "is not a run folder"),
        (lambda run: shutil.rmtree(run / "best"), CheckpointError, "no best weights yet"),
        (lambda run: (run / "best/model.json").unlink(), CheckpointError, "cannot be read"),
        (lambda run: (run / "best/model.json").write_text("[]"), CheckpointError, "digest"),
        (lambda run: (run / "best/model.safetensors").write_bytes(b"x"), CheckpointError, "digest"),
    ],
)
def test_a_run_that_is_not_whole(run, registry, damage, error, words):
    damage(run)
    with pytest.raises(error) as caught:
        examine(run, registry=registry)
    assert words in str(caught.value)
    assert caught.value.exit_code in (2, 4)


def describe(run, **changes):
    path = run / "best/model.json"
    body = {**json.loads(path.read_text()), **changes}
    body.pop("previous", None)
    body["digest"] = digest_of(body)
    path.write_text(json.dumps(body))


def test_a_run_of_a_newer_zoo(run, registry):
    describe(run, format=3, classes={"new": "form"})
    with pytest.raises(CheckpointError) as caught:
        zoo.load(run, registry=registry)
    assert "made by format 3, this zoo reads 1" in caught.value.found
    assert "pip install -U" in caught.value.hint


@pytest.mark.parametrize("changes", [{"classes": None}, {"components": {}}, {"channels": "x"},
                                     {"preprocessing": {"image_size": 16, "new": 1}}])  # fmt: skip
def test_a_description_that_says_too_little(run, registry, changes):
    describe(run, **changes)
    with pytest.raises(CheckpointError, match="does not say what its weights are of"):
        zoo.load(run, registry=registry)


@pytest.mark.parametrize("targets", [False, True])
def test_predictions_survive_being_written(tmp_path, targets):
    names = ("a\udce9.png", "<b>", "") if sys.platform != "win32" else ("a", "b", "c")
    kept = Predictions(
        names=names, classes=("x", "=y\n"), logits_NK=torch.randn(3, 2),
        labels_N=torch.tensor([0, 1, -1]), facts={"data": "d"},
        targets_NK=torch.tensor([[0.0, 1], [1, 1], [0, 0]]) if targets else None,
    )  # fmt: skip
    write_predictions(tmp_path / "new" / "x.y", kept)
    found = read_predictions(tmp_path / "new" / "x.y")
    assert (found.names, found.classes, found.facts) == (kept.names, kept.classes, kept.facts)
    assert torch.equal(found.logits_NK, kept.logits_NK)
    assert torch.equal(found.labels_N, kept.labels_N)
    assert (found.targets_NK is None) == (not targets)
    assert not [p for p in (tmp_path / "new").iterdir() if p.name.startswith(".")]


def test_a_whole_evaluation(run, trained_run, registry):
    found = zoo.evaluate(run, registry=registry)
    assert found["accuracy"] == pytest.approx(trained_run.test_accuracy)
    (accuracy,) = (one for one in found.metrics if one.label == "accuracy")
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert [row.support for row in found.classes] == [4, 4]
    assert found.calibrated_on == "val"
    assert sum(c.count for c in found.confused) == round(8 * (1 - found["accuracy"]))
    kept = json.loads((run / "evaluation/test.json").read_text())
    assert kept["run"] == "run"
    assert kept["facts"]["split"] == "test"
    assert {m["label"]: m["value"] for m in kept["metrics"]}["f1"] == pytest.approx(found["f1"])
    assert str(run.parent) not in json.dumps(kept)  # a run folder says nothing of where it lies
    on_val = zoo.evaluate(run, split="val", metrics="f1", resamples=0, registry=registry)
    assert [one.label for one in on_val.metrics] == ["f1"]
    assert any("fitted on the images that it is tried on" in note for note in on_val.notes)
    json.dumps(on_val.as_dict(), allow_nan=False)


@pytest.mark.parametrize("resamples", [-1, 10**30])
def test_a_number_of_resamples_that_cannot_be_is_refused(trained_run, registry, resamples):
    with pytest.raises(UsageError, match="must be a whole number from 0 to 1,000,000"):
        zoo.evaluate(trained_run.path, resamples=resamples, registry=registry)
