"""--callback from end to end: every tracker hears the whole run, and none of them changes it."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.engine.callbacks import guarded
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.errors import PluginError, UsageError
from zoo.registry import Registry, discover
from zoo.registry.settings import Settings
from zoo.runs import checkpoint

ALL = [name for name in ("tensorboard", "mlflow", "wandb") if importlib.util.find_spec(name)]


class StopAt(Observer):
    def __init__(self, at):
        self.left = at

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def scalars_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()
    return events, {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_all_callbacks_together_change_no_bit_of_a_run_that_is_stopped_and_resumed(
    train, registry, monkeypatch, capfd, tmp_path
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)  # where MLflow's own client of this test leaves a folder
    options = {"freeze_epochs": 2, "epochs": 2, "sched": "step-1-0.5", "warmup": 0.0}
    straight = train(name="straight", **options)
    spec = "+".join(["csv", *ALL]).replace("tensorboard", "tensorboard:every=1,histograms=true")
    with pytest.raises(Interrupted):
        train(name="told", callback=spec, observer=StopAt(8), **options)
    path = straight.path.parent / "told"
    told = zoo.resume(path, registry=registry)
    assert "INFO" not in capfd.readouterr().err
    a, b = (load_file(r.path / "best/model.safetensors") for r in (straight, told))
    assert all(torch.equal(a[name], b[name]) for name in a)
    with (path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [float(row["val/loss"]) for row in rows] == [row["val_loss"] for row in kept]
    if "tensorboard" in ALL:
        events, found = scalars_of(path / "tensorboard")
        expected = [(row["epoch"], pytest.approx(row["val_loss"], rel=1e-6)) for row in kept]
        assert found["val/loss"] == expected
        assert [e.step for e in events.Images("images/freeze")] == [1]
        assert [e.step for e in events.Images("images/finetune")] == [3]
        assert "weights/" in str(events.Tags()["histograms"])
        assert "gradients/" in str(events.Tags()["histograms"])
        _, steps = scalars_of(path / "tensorboard/steps")
        assert [step for step, _ in steps["train/loss"]] == list(range(1, 13))
        rates = [rate for _, rate in steps["lr"]]
        assert rates[::3] == pytest.approx([row["lr"] for row in kept])
    if "mlflow" in ALL:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{path}/mlflow.db")
        run_id = json.loads((path / "mlflow.json").read_text())["id"]
        points = client.get_metric_history(run_id, "val/loss")
        assert [(p.step, p.value) for p in points] == [(r["epoch"], r["val_loss"]) for r in kept]
        assert client.get_run(run_id).info.status == "FINISHED"
        names = {file.path for file in client.list_artifacts(run_id)}
        assert names == {"config.toml", "environment.json", "best"}
    if "wandb" in ALL:
        assert len(list(path.glob("wandb/offline-run-*"))) == 2


FAILING = """
from zoo.plugin import Component, Param, hookimpl

class Bad:
    def __init__(self, *, run_path, event, essential=False):
        def fail(*args, **facts):
            raise RuntimeError("gone")
        setattr(self, event, fail)

@hookimpl
def zoo_components():
    yield Component(kind="callback", name="bad", target=f"{__name__}:Bad", params=(
        Param(name="event", type="str", default="epoch_ended"),
        Param(name="essential", type="bool", default=False),
    ))
"""


@pytest.mark.parametrize("event", ["run_started", "sampled", "step_measured", "weights_shown",
                                   "epoch_ended", "run_ended", "closed"])  # fmt: skip
def test_a_callback_that_fails_loses_no_run_and_an_essential_one_stops_it(
    tmp_path, shapes_folder, make_plugin, event
):
    class Notes(Observer):
        def noted(self, text):
            notes.append(text)

    def run(name, spec):
        return zoo.run(
            data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
            epochs=1, threads=1, runs=str(tmp_path), name=name, callback=spec, observer=Notes(),
            registry=both,
        )  # fmt: skip

    make_plugin("acme", FAILING)
    notes, both = [], Registry(discover(Settings()))
    assert len(run("goes-on", f"bad:event={event}").rows) == 1
    assert sum("acme/bad" in note for note in notes) == 1
    with pytest.raises(PluginError, match=f"acme/bad failed at {event}") as caught:
        run("essential", f"bad:event={event},essential=true")
    assert caught.value.exit_code == 5
    saved, _ = checkpoint.latest(tmp_path / "essential/checkpoints")
    steps = 0 if saved is None else checkpoint.load(saved).state["position"]["steps_done"]
    assert steps == {"run_started": 0, "sampled": 0, "step_measured": 1}.get(event, 3)
    if event != "run_started":
        straight, resumed = (
            zoo.load(tmp_path / "goes-on", registry=both),
            zoo.load(go_on(tmp_path / "essential", both), registry=both),
        )
        one, two = straight.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)


def go_on(path, both):
    """Resumes a run without its callback, as a person would who takes it out of config.toml."""
    config = path / "config.toml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith("callback")))
    return zoo.resume(path, registry=both).path


@pytest.mark.parametrize("at", range(1, 7))
def test_an_essential_callback_that_fails_in_any_step_stops_a_run_that_resumes(train, registry, at):
    class Bad:
        def step_measured(self, *, steps_done, lr, loss):
            if steps_done == at:
                raise RuntimeError("gone")

    straight = train(name="straight", epochs=2)
    with pytest.raises(PluginError, match="step_measured"):
        train(name="stopped", epochs=2,
              observer=guarded(Bad(), name="acme/bad", essential=True, noted=print))  # fmt: skip
    path = straight.path.parent / "stopped"
    saved, _ = checkpoint.latest(path / "checkpoints")
    assert checkpoint.load(saved).state["position"]["steps_done"] == at
    zoo.resume(path, registry=registry)
    one, two = (load_file(p / "best/model.safetensors") for p in (straight.path, path))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_unknown_or_doubled_callback_is_refused_before_a_folder_is_made(train, tmp_path):
    with pytest.raises(UsageError, match="no callback is named"):
        train(callback="tensorbord")
    with pytest.raises(UsageError, match="csv is named 2 times"):
        train(callback="csv+csv")
    assert not (tmp_path / "runs").exists()
