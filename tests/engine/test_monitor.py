"""--metric and --monitor: any metric in the table, in the files, and as what decides."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.engine.events import EpochRow, Observer, RunResult
from zoo.engine.interrupts import Interrupted
from zoo.engine.records.earlier import result_of
from zoo.engine.scores import Collector, Measure, Monitor, Scores
from zoo.errors import PluginError, UsageError
from zoo.registry import Registry, build, discover, parse_choice
from zoo.registry.settings import Settings
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]


class StopAt(Observer):
    """Sends a signal to this process after a number of steps, as Ctrl-C would."""

    def __init__(self, at):
        self.left = at

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


class Notes(Observer):
    def __init__(self):
        self.notes = []

    def noted(self, text):
        self.notes.append(text)


def tiny(data, runs, registry, **options):
    """Trains with the components of a registry."""
    return zoo.run(data=str(data), model="lenet", weights="none", img_size=16, batch_size=8,
                   threads=1, runs=str(runs), registry=registry, **options)  # fmt: skip


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_metrics_are_in_the_table_the_files_and_the_result(
    zoo_command, shapes_folder, tmp_path, registry
):
    done = zoo_command(
        "run", "--data", shapes_folder, "--model", "lenet", "--weights", "none", "--img-size", "16",
        "--batch-size", "8", "--epochs", "2", "--threads", "1", "--runs", tmp_path, "--name", "a",
        "--metric", "f1,auroc+ece:bins=4", "--callback", "csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    header = next(line for line in done.out.splitlines() if line.startswith("phase"))
    first = done.out.splitlines()[done.out.splitlines().index(header) + 1]
    assert "val acc   val f1 val auroc val ece-bins-4  seconds" in header
    path = tmp_path / "a"
    rows = lines(path)
    assert f"{rows[0]['val_f1']:>8.4f} {rows[0]['val_auroc']:>9.4f}" in first
    assert list(rows[0])[6:10] == ["val_accuracy", "val_f1", "val_auroc", "val_ece-bins-4"]
    assert "log.txt" in os.listdir(path)
    assert header in (path / "log.txt").read_text()

    table = list(csv.DictReader((path / "metrics.csv").read_text().splitlines()))
    assert [float(row["val/f1"]) for row in table] == [row["val_f1"] for row in rows]

    trained = zoo.load(path, registry=registry)
    data = zoo.prepare(data=str(shapes_folder), model="lenet", registry=registry).data
    summary = json.loads((path / "summary.json").read_text())
    best = rows[summary["best_epoch"] - 1]
    for split, found in (("test", summary), ("val", best)):
        part = data.splits[split]
        scores = trained.probabilities([part.images.read(i) for i in range(len(part.images))])
        f1 = reference.f1_score(part.labels_N, scores.argmax(1), average="macro")
        assert found[f"{split}_f1"] == pytest.approx(f1)
        auroc = reference.roc_auc_score(part.labels_N, scores[:, 1])
        assert found[f"{split}_auroc"] == pytest.approx(auroc)
    result = result_of(RunFolder.open(path))
    assert result.test_metrics["f1"] == summary["test_f1"]
    assert result.rows[0].metrics["auroc"] == rows[0]["val_auroc"]
    assert f"f1 {summary['test_f1']:.4f}, auroc" in done.out


def test_without_metrics_nothing_is_kept_and_nothing_is_new(train):
    result = train()
    assert result.rows[0].metrics == {}
    assert set(lines(result.path)[0]) == {f for f in EpochRow.__slots__ if f != "metrics"}
    kept = Collector((), num_samples=4, multi_label=False)
    kept.add(np.arange(4), torch.zeros(4, 2), torch.zeros(4).long())
    assert kept._probabilities_NK is None


@pytest.mark.parametrize(
    ("monitor", "better"), [("f1", max), ("val_brier", min), ("nll", min), ("val_loss", min)]
)
def test_the_best_epoch_is_the_best_of_any_metric(train, monitor, better):
    result = train(epochs=5, lr=5e-3, monitor=monitor, metric="f1")
    name = f"val_{monitor.removeprefix('val_')}"
    values = [row.as_dict()[name] for row in result.rows]
    assert result.monitor == name
    assert result.greater_is_better == (better is max)
    assert result.best_score == better(values)
    assert result.best_epoch == values.index(better(values)) + 1
    summary = json.loads((result.path / "summary.json").read_text())
    assert (summary["monitor"], summary["best_score"]) == (name, better(values))


def test_a_metric_that_is_below_zero_is_told_as_it_is(make_plugin, shapes_folder, tmp_path):
    code = """
from zoo.plugin import Component, hookimpl
class Fixed:
    greater_is_better = True
    values = iter([-0.5, -0.5, -0.25, -0.75, -0.5, -0.5])
    def __call__(self, probabilities_NK, target):
        import torch
        return torch.tensor(next(self.values))
def build():
    return Fixed()
@hookimpl
def zoo_components():
    yield Component(kind="metric", name="fixed", target=f"{__name__}:build")
"""
    make_plugin("acme", code)
    registry = Registry(discover(Settings(only=frozenset({"acme"}))))
    result = tiny(shapes_folder, tmp_path, registry, epochs=3, monitor="fixed")
    assert (result.best_epoch, result.best_score) == (2, -0.25)


def test_early_stopping_plateau_swa_and_soup_follow_the_metric(train):
    """With a rate too small to change predictions F1 stands still, while the Brier score moves."""
    notes = Notes()
    result = train(
        epochs=6, patience=2, lr=1e-7, monitor="f1-micro", swa=2, soup=2, observer=notes,
        sched="plateau:factor=0.5,patience=0,min_lr=0",
    )  # fmt: skip
    values = [row.metrics["f1-micro"] for row in result.rows]
    assert len(values) < 6
    assert len(set(values[-3:])) == 1
    assert result.best_epoch == len(values) - 2
    assert result.rows[-1].lr == pytest.approx(result.rows[-2].lr / 2)
    assert any("soup" in note and "val_f1-micro" in note for note in notes.notes)
    moving = train(epochs=4, patience=2, lr=1e-4, monitor="brier")
    assert len(moving.rows) == 4


def test_it_resumes_exactly(train, registry):
    options = {"epochs": 4, "lr": 5e-3, "metric": "f1,auroc", "monitor": "brier", "patience": 3,
               "sched": "default-0.5-0", "freeze_epochs": 1}  # fmt: skip
    straight = train(**options, name="straight")
    with pytest.raises(Interrupted):
        train(**options, name="stopped", observer=StopAt(8))
    again = zoo.resume(straight.path.parent / "stopped", registry=registry)
    timed = ("seconds", "images_per_second")

    def untimed(table):
        return {k: v for k, v in table.items() if k not in timed}

    assert [untimed(r.as_dict()) for r in again.rows] == [
        untimed(r.as_dict()) for r in straight.rows
    ]
    assert untimed(again.summary()) == untimed(straight.summary())
    states = [
        checkpoint.load(checkpoint.latest(r.path / "checkpoints")[0]) for r in (straight, again)
    ]
    assert states[0].state["best"] == states[1].state["best"]
    assert all(torch.equal(states[0].model[n], states[1].model[n]) for n in states[0].model)
    ended = zoo.resume(again.path, registry=registry)
    assert untimed(ended.summary()) == untimed(again.summary())


def test_nan_ranks_below_every_number_and_files_have_no_nan():
    for upwards in (True, False):
        monitor = Monitor(label="x", greater_is_better=upwards)
        nan, number = (monitor.score(Scores(0.0, 0.0, {"x": value})) for value in (math.nan, -1e30))
        assert nan < number or not upwards
        assert nan < monitor.score(Scores(0.0, 0.0, {"x": 1e30}))
        assert math.isnan(monitor.value(nan))
        assert monitor.value(monitor.score(Scores(0.0, 0.0, {"x": -0.25}))) == -0.25
        assert math.copysign(1, monitor.value(monitor.score(Scores(0.0, 0.0, {"x": 0.0})))) == 1
    row = EpochRow(phase="a", epoch=1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val_loss=1.0,
                   val_accuracy=0.5, seconds=1.0, images_per_second=9.0, best=True,
                   metrics={"auroc": math.nan, "f1": 0.5})  # fmt: skip
    table = json.loads(json.dumps(row.as_dict(), allow_nan=False))
    assert table["val_auroc"] is None
    again = EpochRow.from_dict(table)
    assert math.isnan(again.metrics["auroc"])
    assert again.metrics["f1"] == 0.5
    result = RunResult(path=Path("x"), rows=(row,), best_epoch=1, best_score=math.nan,
                       monitor="val_auroc", test_accuracy=0.5, test_loss=1.0, num_test=3,
                       seconds=1.0, test_metrics={"auroc": math.nan, "metrics": 2.0})  # fmt: skip
    told = json.loads(json.dumps(result.summary(), allow_nan=False))
    back = RunResult.from_summary(told, path=result.path, rows=result.rows)
    assert math.isnan(back.best_score)
    assert back.summary() == result.summary()
    assert back.test_metrics["metrics"] == 2.0


def test_a_run_whose_metric_is_not_defined_goes_on(train, tmp_path, shapes_folder):
    """A validation split of one class has no ROC."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    for file in (data / "val" / "dot").iterdir():
        file.unlink()
    result = train(data=str(data), epochs=2, monitor="auroc", soup=1)
    assert math.isnan(result.best_score)
    assert [row["val_auroc"] for row in lines(result.path)] == [None, None]
    assert result.best_epoch == 1
    assert not math.isnan(result.test_metrics["auroc"])


BROKEN = """
from zoo.plugin import Component, hookimpl
class Bad:
    greater_is_better = {better}
    def __call__(self, probabilities_NK, target):
        import torch
        return {value}
def build():
    return Bad()
@hookimpl
def zoo_components():
    yield Component(kind="metric", name="bad", target=f"{{__name__}}:build")
"""


@pytest.mark.parametrize(
    ("better", "value", "words"),
    [
        ("True", "1 / 0", "ZeroDivisionError"),
        ("True", "0.5", "returns float"),
        ("True", "probabilities_NK", "returns (4, 2)"),
        ("None", "torch.tensor(1.0)", "whether greater is better"),
    ],
)
def test_a_plugin_s_metric_that_breaks_its_contract(make_plugin, shapes_folder, better, value,
                                                    words):  # fmt: skip
    make_plugin("acme", BROKEN.format(better=better, value=value))
    registry = Registry(discover(Settings(only=frozenset({"acme"}))))
    with pytest.raises(PluginError) as caught:
        zoo.prepare(data=str(shapes_folder), model="lenet", metric="bad", registry=registry)
    assert words in str(caught.value)
    assert "acme/bad (zoo-acme 1.0)" in str(caught.value)


def test_an_unknown_metric_of_a_resumed_run_is_told(
    registry, make_plugin, shapes_folder, tmp_path
):  # fmt: skip
    make_plugin("acme", BROKEN.format(better="True", value="torch.tensor(1.0)"))
    acme = Registry(discover(Settings(only=frozenset({"acme"}))))
    with pytest.raises(Interrupted):
        tiny(shapes_folder, tmp_path, acme, epochs=3, monitor="bad", observer=StopAt(4), name="a")
    with pytest.raises(PluginError, match="was made with the metric acme/bad"):
        zoo.resume(tmp_path / "a", registry=registry)


class Shares:
    """A device of several processes: its sum adds up what each of them has."""

    torch_device = torch.device("cpu")

    def __init__(self, main, others):
        self.main, self.others, self.world = main, others, 1 + len(others)

    def from_main(self, make):
        return getattr(self.main, make.__name__)()

    def sum(self, tensor):
        for other in self.others:
            match = [t for t in (other._probabilities_NK, other._target)
                     if t is not None and t.dtype == tensor.dtype]  # fmt: skip
            tensor = sum(match, tensor)
        return tensor


@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 1000))
def test_each_sample_counts_once_on_any_number_of_processes(registry, world, num_samples, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((num_samples, 3), generator=generator)
    target = torch.randint(3, (num_samples,), generator=generator)
    metric = build(parse_choice(registry, "metric", "auroc"), num_classes=3, multi_label=False)
    measures = (Measure(label="auroc", owner="x", metric=metric),)
    kept = [Collector(measures, num_samples=num_samples, multi_label=False) for _ in range(world)]
    for rank, one in enumerate(kept):
        mine = np.arange(num_samples)[rank::world]
        for part in np.array_split(mine, 2):
            if len(part):
                one.add(part, logits[part], target[part])
    expected = pytest.approx(float(metric(logits.softmax(1), target)), nan_ok=True)
    assert kept[0].read(Shares(kept[0], kept[1:]))["auroc"] == expected
    assert kept[-1].read(Shares(kept[0], kept[:-1]))["auroc"] == expected  # may have seen none


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distribution")
def test_two_processes_measure_what_one_does(train, shapes_folder, tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    options = {"batch_size": 7, "optim": "sgd", "lr": 0.05, "epochs": 2, "device": "cpu",
               "metric": "f1,auroc,nll", "monitor": "brier"}  # fmt: skip
    one = train(**options)
    # Not as flags: torchrun takes --monitor for its own --monitor-interval, wherever it stands.
    (tmp_path / "run.toml").write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "zoo.cli.main", "run", "--config", str(tmp_path / "run.toml"), "--model", "lenet",
         "--weights", "none", "--img-size", "16", "--threads", "1", "--data", str(shapes_folder),
         "--runs", str(tmp_path), "--name", "two"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row, two in zip(one.rows, lines(tmp_path / "two"), strict=True):
        for name, value in row.metrics.items():
            assert two[f"val_{name}"] == pytest.approx(value, abs=1e-5)
    summary = json.loads((tmp_path / "two/summary.json").read_text())
    assert summary["best_epoch"] == one.best_epoch
    assert summary["test_auroc"] == pytest.approx(one.test_metrics["auroc"], abs=1e-5)


def test_several_labels(train, tmp_path, registry):
    from PIL import Image

    generator = np.random.default_rng(0)
    rows = ["path,labels,split"]
    for number in range(36):
        present = generator.random(3) < 0.5
        pixels = generator.integers(0, 40, (24, 24, 3), dtype=np.uint8)
        for bar in np.flatnonzero(present):
            pixels[:, 8 * bar + 2 : 8 * bar + 6, bar] = 250
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        names = "|".join(name for name, there in zip("abc", present, strict=True) if there)
        rows.append(f"{number}.png,{names or 'none'},{'train' if number < 20 else 'val'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    data = f"manifest:path={tmp_path / 'labels.csv'},separator=|"
    result = train(data=data, epochs=3, lr=5e-3, monitor="f1-micro", metric="accuracy,auroc")
    trained = zoo.load(result.path, registry=registry)
    val = zoo.prepare(data=data, model="lenet", registry=registry).data.splits["val"]
    scores = trained.probabilities([val.images.read(i) for i in range(len(val.images))])
    expected = reference.f1_score(val.targets_NK, scores.numpy() > 0.5, average="micro")
    assert result.best_score == pytest.approx(expected)
    with pytest.raises(UsageError, match="one label an image"):
        train(data=data, monitor="kappa")
