"""What MLflow's store and Weights & Biases' files hold, read back.

One real run is recorded and told again to each callback.
"""

from __future__ import annotations

import json
import os
import struct
import sys

import pytest
from telling import assert_points, needs, tell

from zoo.errors import PluginError

# ---- mlflow -----------------------------------------------------------------------------------


@pytest.fixture
def mlflow_client(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(uri):
        from mlflow import MlflowClient

        return MlflowClient(uri)

    return call


def points_of(client, run_id):
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
        for name in client.get_run(run_id).data.metrics
    }


@needs("mlflow")
def test_mlflow_has_options_metrics_files_and_continues_its_run(
    told, make, mlflow_client, monkeypatch, tmp_path
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first, second, third = told.rows
    callback, folder = make("mlflow:experiment=shapes")
    for name in ("config.toml", "environment.json"):
        (folder / name).write_bytes((told.path / name).read_bytes())
    (folder / "best").mkdir()
    (folder / "best/model.json").write_bytes((told.path / "best/model.json").read_bytes())
    stopped = KeyboardInterrupt()
    tell(callback, told, [first], error=stopped)
    run_id = json.loads((folder / "mlflow.json").read_text())["id"]
    assert list((tmp_path / "here").iterdir()) == []
    client = mlflow_client(f"sqlite:///{folder}/mlflow.db")
    assert client.get_run(run_id).info.status == "KILLED"

    # Epoch 2 was saved and not told.
    tell(
        make("mlflow:experiment=shapes")[0],
        told,
        [third],
        before=[first, second],
        ended=True,
    )
    tell(make("mlflow:experiment=shapes")[0], told, [], before=told.rows, ended=True)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == folder.name
    experiment = client.get_experiment_by_name("shapes")
    assert [r.info.run_id for r in client.search_runs([experiment.experiment_id])] == [run_id]
    found = points_of(client, run_id)
    assert_points(found, told.rows, rel=1e-12)
    best = told.result.best_epoch
    assert found["test/accuracy"] == [(best, told.result.test_accuracy)]
    options = told.job.config.as_mapping()
    assert run.data.params == {name: str(value) for name, value in options.items()}
    assert run.data.tags["zoo.model"].startswith("classics/lenet (classifier-zoo ")
    assert run.data.tags["zoo.best_epoch"] == str(best)
    assert {f.path for f in client.list_artifacts(run_id)} == {
        "config.toml", "environment.json", "best"
    }  # fmt: skip
    copied = folder / "mlflow" / run_id / "artifacts/best/model.json"
    assert copied.read_bytes() == (told.path / "best/model.json").read_bytes()


@needs("mlflow")
def test_mlflow_goes_where_the_environment_says_and_says_what_failed(
    told, make, mlflow_client, monkeypatch, tmp_path
):
    uri = f"sqlite:///{tmp_path}/shared.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    callback, folder = make("mlflow")
    (folder / "mlflow.json").write_text('{"id": "of-another-store"}')  # the store was changed
    tell(callback, told, told.rows[:1], error=PluginError("no"))
    run_id = json.loads((folder / "mlflow.json").read_text())["id"]
    client = mlflow_client(uri)
    assert client.get_run(run_id).info.status == "FAILED"
    assert_points(points_of(client, run_id), told.rows[:1], rel=1e-12)
    assert not (folder / "mlflow.db").exists()


# ---- wandb ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_exit(monkeypatch):
    """wandb puts functions of its own in these places; the tests after it have the plain ones."""
    for name in ("exit", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))


def wandb_records(folder):
    """Returns the records of each offline part, oldest first.

    The format is a seven-byte header, then LevelDB's log: blocks of 32 KiB whose chunks have a
    checksum (4 bytes), a length (2) and a type (1): whole, first, middle, last.
    """
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service writes on until then, as it does until the process ends
    parts = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=os.path.getmtime):
        data, at, pending, records = file.read_bytes(), 7, b"", []
        assert data[:4] == b":W&B"
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack_from("<HB", data, at + 4)
            pending += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                records.append(Record.FromString(pending))
                pending = b""
        parts.append(records)
    return parts


def history_of(records):
    """Returns the points of each metric in one part."""
    found = {}
    for record in records:
        if record.WhichOneof("record_type") != "history":
            continue
        items = {
            i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item
        }
        for name, value in items.items():
            found.setdefault(name, []).append((record.history.step.num, value))
    return found


@needs("wandb")
def test_wandb_offline_has_options_metrics_and_summary(told, make, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")  # tests run with ZOO_OFFLINE, which is stronger
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    callback, folder = make("wandb:project=pets")
    tell(callback, told, told.rows, ended=True)
    [records] = wandb_records(folder)
    assert_points(history_of(records), told.rows, rel=1e-12)
    run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("pets", folder.name)
    assert run.run_id == json.loads((folder / "wandb.json").read_text())["id"]
    options = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert options["model"] == "lenet"
    assert options["batch_size"] == 8
    assert options["components"]["model"]["spec"].startswith("classics/lenet")
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }  # fmt: skip
    assert summary["test/accuracy"] == told.result.test_accuracy
    assert summary["best_epoch"] == told.result.best_epoch
    assert [r.exit.exit_code for r in records if r.WhichOneof("record_type") == "exit"] == [0]


@needs("wandb")
def test_wandb_after_a_resume_keeps_its_id_and_the_last_part_has_the_whole_run(
    told, make, monkeypatch
):
    monkeypatch.setenv("WANDB_PROJECT", "of the environment")
    callback, folder = make("wandb")
    tell(callback, told, told.rows[:1], error=PluginError("no"))
    tell(make("wandb")[0], told, told.rows[1:], before=told.rows[:1], ended=True)
    first, second = wandb_records(folder)
    runs = [
        next(r.run for r in part if r.WhichOneof("record_type") == "run")
        for part in (first, second)
    ]
    assert runs[0].run_id == runs[1].run_id
    assert runs[0].project == "of the environment"
    assert_points(history_of(first), told.rows[:1], rel=1e-12)
    assert_points(history_of(second), told.rows, rel=1e-12)
    assert [r.exit.exit_code for r in first if r.WhichOneof("record_type") == "exit"] == [5]


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, None),
        ({"WANDB_MODE": "online"}, None),
        ({"WANDB_MODE": "Offline "}, "offline"),
        ({"ZOO_OFFLINE": "1"}, "offline"),
        ({"ZOO_OFFLINE": "1", "WANDB_MODE": "online"}, "offline"),
        ({"ZOO_OFFLINE": "1", "WANDB_MODE": "disabled"}, "disabled"),
        ({"ZOO_OFFLINE": "0"}, None),
    ],
)
def test_wandb_mode_is_what_the_environment_says(environment, mode):
    from zoo_callbacks.wandb import mode_of

    assert mode_of(environment) == mode
