"""What the CSV file and TensorBoard's files hold, read back with the reader that their users have.

One real run is recorded and told again to each callback.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from telling import NAMES, assert_points, needs, tell

from zoo.engine.events import Sample, WeightsView
from zoo.registry import parse_choice

# ---- csv --------------------------------------------------------------------------------------


def csv_rows(folder):
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_an_epoch_with_the_numbers_of_metrics_jsonl(told, make):
    callback, folder = make("csv")
    tell(callback, told, told.rows)
    rows = csv_rows(folder)
    assert set(rows[0]) >= {"epoch", "phase", *NAMES, "seconds", "best"}
    kept = [json.loads(line) for line in (told.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == [row["phase"] for row in kept]
    assert [int(row["best"]) for row in rows] == [row["best"] for row in kept]
    for name in NAMES:  # every digit, not only some
        assert [float(row[name]) for row in rows] == [r[name.replace("/", "_")] for r in kept]
    assert [path.name for path in folder.iterdir()] == ["metrics.csv"]


def test_csv_after_a_resume_has_each_epoch_once(told, make):
    first, second, third = told.rows
    callback, folder = make("csv")
    tell(callback, told, [first, replace(second, val_loss=99.0)])  # the second was never saved
    tell(make("csv")[0], told, [second, third], before=[first])
    assert [float(row["val/loss"]) for row in csv_rows(folder)] == [r.val_loss for r in told.rows]
    tell(make("csv")[0], told, [], before=told.rows)  # saved, and killed before it was told
    assert [int(row["epoch"]) for row in csv_rows(folder)] == [1, 2, 3]


def test_csv_that_cannot_be_written_leaves_the_old_one_whole(told, make, monkeypatch):
    callback, folder = make("csv")
    tell(callback, told, told.rows[:1])
    before = (folder / "metrics.csv").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        callback.epoch_ended(told.rows[1])
    assert (folder / "metrics.csv").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["metrics.csv"]


# ---- tensorboard ------------------------------------------------------------------------------


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    return EventAccumulator(str(folder), size_guidance=everything).Reload()


def scalars_of(folder):
    events = events_of(folder)
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@needs("tensorboard")
def test_tensorboard_has_the_metrics_by_epoch_and_the_test_score(told, make):
    callback, folder = make("tensorboard")
    tell(callback, told, told.rows, ended=True)
    found = scalars_of(folder / "tensorboard")
    assert_points(found, told.rows)
    best = told.result.best_epoch
    assert found["test/accuracy"] == [(best, pytest.approx(told.result.test_accuracy))]
    assert found["test/loss"] == [(best, pytest.approx(told.result.test_loss, rel=1e-6))]


@needs("tensorboard")
def test_tensorboard_has_the_options_as_hyperparameters(told, make):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    callback, folder = make("tensorboard")
    tell(callback, told, told.rows, ended=True)
    kept = events_of(folder / "tensorboard").summary_metadata
    content = kept["_hparams_/session_start_info"].plugin_data.content
    options = HParamsPluginData.FromString(content).session_start_info.hparams
    assert options["model"].string_value == "lenet"
    assert options["batch_size"].number_value == 8
    assert options["restore_best"].string_value == "True"
    assert set(options) == set(told.job.config.as_mapping())
    assert "_hparams_/session_end_info" in kept


@needs("tensorboard")
def test_tensorboard_after_a_resume_has_each_epoch_once(told, make):
    first, second, third = told.rows
    callback, folder = make("tensorboard")
    tell(callback, told, [first, replace(second, val_loss=99.0)])  # the second was never saved
    tell(make("tensorboard")[0], told, [], before=[first])  # retrains it, saves it, is killed
    tell(make("tensorboard")[0], told, [third], before=[first, second], ended=True)
    tell(make("tensorboard")[0], told, [], before=told.rows, ended=True)  # resumed when done
    found = scalars_of(folder / "tensorboard")
    assert [epoch for epoch, _ in found["test/loss"]] == [told.result.best_epoch]
    assert_points(found, told.rows)


@needs("tensorboard")
def test_tensorboard_is_readable_after_a_kill(told, make):
    callback, folder = make("tensorboard")
    tell(callback, told, told.rows[:2], closed=False)
    [file] = (folder / "tensorboard").glob("events.*")
    file.write_bytes(file.read_bytes()[:-7])  # torn in the second epoch's last number
    tell(make("tensorboard")[0], told, told.rows[2:], before=told.rows[:2])
    assert_points(scalars_of(folder / "tensorboard"), told.rows)
    callback.closed(None)


@needs("tensorboard")
def test_tensorboard_shows_the_images_once_a_phase(told, make):
    generator = np.random.default_rng(0)
    images_BCHW = torch.from_numpy(generator.random((3, 3, 16, 16), dtype=np.float32))
    callback, folder = make("tensorboard")
    callback.run_started(told.job, told.path, resumed_epoch=0)
    sample = Sample(images_BCHW=images_BCHW, labels=("bar", "dot", "dot"))
    callback.sampled(told.job.phases[0], lambda: sample, epoch=1)
    callback.closed(None)
    callback, _ = make("tensorboard")
    callback.run_started(told.job, told.path, resumed_epoch=1)
    callback.resumed(told.rows[:1])
    callback.sampled(told.job.phases[0], lambda: pytest.fail("decoded again"), epoch=2)
    callback.closed(None)
    events = events_of(folder / "tensorboard")
    [shown] = events.Images("images/freeze")
    pixels_HWC = np.asarray(Image.open(BytesIO(shown.encoded_image_string)))
    first_HWC = (images_BCHW[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    assert np.abs(pixels_HWC[:16, :16].astype(int) - first_HWC).max() <= 1
    [text] = events.Tensors("classes/freeze/text_summary")
    assert text.tensor_proto.string_val == [b"bar, dot, dot"]


@needs("tensorboard")
def test_tensorboard_decodes_no_images_that_nobody_wants(told, make):
    callback, _ = make("tensorboard:images=false")
    callback.run_started(told.job, told.path, resumed_epoch=0)
    callback.sampled(told.job.phases[0], lambda: pytest.fail("decoded"), epoch=1)
    callback.closed(None)


@needs("tensorboard")
def test_tensorboard_draws_weights_and_gradients_on_request(told, make):
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    model(torch.ones(4, 3)).square().sum().backward()
    with torch.no_grad():
        model.weight[0, 0] = float("nan")  # diverging: the rest of it can still be seen
    for spec, names in (("tensorboard", []), ("tensorboard:histograms=true", [
        "weights/weight", "weights/bias", "gradients/weight"])):  # fmt: skip
        callback, folder = make(spec)
        callback.run_started(told.job, told.path, resumed_epoch=0)
        callback.weights_shown(WeightsView(model), epoch=1)
        callback.closed(None)
        events = events_of(folder / "tensorboard")
        assert sorted(events.Tags()["histograms"]) == sorted(names)
    [drawn] = events.Histograms("weights/weight")
    finite = model.weight.detach().numpy().ravel()[1:].astype(np.float64)
    value = drawn.histogram_value
    assert (drawn.step, value.num, value.sum) == (1, 5, pytest.approx(finite.sum(), rel=1e-6))
    assert (value.min, value.max) == (pytest.approx(finite.min()), pytest.approx(finite.max()))
    gradient = events.Histograms("gradients/weight")[0].histogram_value
    assert gradient.sum == pytest.approx(float(model.weight.grad.sum()), rel=1e-6)


@needs("tensorboard")
def test_tensorboard_has_points_within_epochs_and_a_resume_doubles_none(told, make):
    callback, folder = make("tensorboard:every=2")
    callback.run_started(told.job, told.path, resumed_epoch=0)
    for step in range(1, 9):  # on a GPU not every loss is looked at
        callback.step_measured(steps_done=step, lr=0.1 / step, loss=None if step == 3 else step)
    callback.closed(None)
    callback, _ = make("tensorboard:every=2")
    callback.run_started(told.job, told.path, resumed_epoch=0)
    for step in range(6, 11):
        callback.step_measured(steps_done=step, lr=0.1 / step, loss=step)
    callback.closed(None)
    found = scalars_of(folder / "tensorboard/steps")
    assert found["train/loss"] == [(2, 2), (4, 4), (6, 6), (8, 8), (10, 10)]
    assert found["lr"] == [(step, pytest.approx(0.1 / step)) for step, _ in found["train/loss"]]


def test_a_view_of_the_weights_cannot_change_them():
    model = torch.nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    before = [p.detach().clone() for p in model.parameters()]
    view = WeightsView(model)
    for _, tensor in (*view.weights(), *view.gradients()):
        tensor.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert float(model.weight.grad.sum()) == 4.0


# ---- all of them ------------------------------------------------------------------------------


def test_the_list_shows_all_four_with_their_summaries(zoo_command):
    outcome = zoo_command("list", "callbacks", "--json")
    listed = {entry["name"]: entry for entry in json.loads(outcome.out)}
    assert list(listed) == ["csv", "tensorboard", "mlflow", "wandb"]
    assert all(entry["summary"] for entry in listed.values())
    shown = zoo_command("list", "callbacks").out
    assert all(entry["summary"] in shown for entry in listed.values())


def test_every_callback_can_be_essential(registry):
    for entry in registry.entries("callback"):
        choice = parse_choice(registry, "callback", f"{entry.id}:essential=true")
        assert choice.arguments["essential"] is True
