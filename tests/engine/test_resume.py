"""A run that was stopped anywhere ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.engine import loop, stage
from zoo.engine.events import Observer
from zoo.engine.features import evaluation
from zoo.engine.interrupts import Interrupted
from zoo.errors import CheckpointError, MachineError, NonFiniteError, UsageError, ZooError
from zoo.evaluation.sameness import compare_runs
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder

CASES = {
    "freeze then finetune": {"freeze_epochs": 2, "epochs": 2, "patience": 0},
    "dropout": {"model": "mlp-cifar", "epochs": 3},
    "batch norm and momentum": {"model": "mlp-mnist", "optim": "sgd", "epochs": 2},
    "plateau": {"sched": "default-0.5-0", "epochs": 4, "lr": 1e-3},
    "accumulate": {"accumulate": 3, "clip_norm": 0.5, "epochs": 2},
    "ranger": {"optim": "ranger", "epochs": 2, "freeze_epochs": 1},
    "warm-up and restarts": {"sched": "SGDR-2-1", "warmup": 1.5, "epochs": 3},
}


class StopAt(Observer):
    """Sends a signal to this process after a number of steps, as Ctrl-C would."""

    def __init__(self, at, number=signal.SIGINT):
        self.left, self.number = at, number

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def final(path):
    found, _ = checkpoint.latest(path / "checkpoints")
    return checkpoint.load(found), load_file(path / "best/model.safetensors")


def assert_same(a, b):
    (one, best_one), (two, best_two) = final(a), final(b)
    assert one.model.keys() == two.model.keys()
    for name in one.model:
        assert torch.equal(one.model[name], two.model[name]), name
    assert all(torch.equal(best_one[name], best_two[name]) for name in best_one)
    timed = ("seconds", "images_per_second")
    strip = [
        [{k: v for k, v in row.items() if k not in timed} for row in c.state["rows"]]
        for c in (one, two)
    ]
    assert strip[0] == strip[1]
    plain_one = checkpoint.tree.split(one.state["optimizer"])
    plain_two = checkpoint.tree.split(two.state["optimizer"])
    assert plain_one[0] == plain_two[0]
    assert all(torch.equal(plain_one[1][k], plain_two[1][k]) for k in plain_one[1])


@pytest.mark.parametrize("case", CASES)
def test_stopped_anywhere_and_resumed_ends_with_the_same_bits(train, registry, case):
    options = CASES[case]
    straight = train(name="straight", **options)
    num_steps = 3 * len(straight.rows)  # 24 images in batches of 8
    for at in range(1, num_steps + 1):
        with pytest.raises(Interrupted) as caught:
            train(name=f"stopped-{at}", observer=StopAt(at), **options)
        assert caught.value.exit_code == 130
        path = straight.path.parent / f"stopped-{at}"
        zoo.resume(path, registry=registry)
        assert_same(straight.path, path)
        assert len((path / "metrics.jsonl").read_text().splitlines()) == len(straight.rows)


def test_stopped_at_every_step_in_one_run(train, registry):
    straight = train(name="straight", freeze_epochs=1, epochs=2)
    with pytest.raises(Interrupted):
        train(name="often", freeze_epochs=1, epochs=2, observer=StopAt(1, signal.SIGTERM))
    path = straight.path.parent / "often"
    for _ in range(8):
        with pytest.raises(Interrupted) as caught:
            zoo.resume(path, registry=registry, observer=StopAt(1, signal.SIGTERM))
        assert caught.value.exit_code == 143
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)


@pytest.mark.parametrize("at", [2, 8])  # before anything is saved, and after two epochs
def test_what_a_signal_breaks_is_told_as_the_signal(train, registry, at, monkeypatch):
    """Ctrl-C ends the processes of a compiler, too: its error comes before the loop looks."""
    straight = train(name="straight", epochs=3)
    with monkeypatch.context() as patched:
        calls, gradient = iter(range(1, 10)), loop._gradient

        def ended(*args, **keywords):
            if next(calls) == at:
                os.kill(os.getpid(), signal.SIGTERM)
                raise RuntimeError("g++: Terminated")
            return gradient(*args, **keywords)

        patched.setattr(loop, "_gradient", ended)
        with pytest.raises(Interrupted, match="stopped by SIGTERM") as caught:
            train(name="ended", epochs=3)
    assert caught.value.exit_code == 143
    path = straight.path.parent / "ended"
    assert caught.value.kept == f"{path}, as it was last saved"
    assert caught.value.found == "RuntimeError: g++: Terminated"
    assert isinstance(caught.value.__cause__, RuntimeError)
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}], ids=["plain", "averaged"])
def test_a_signal_while_validating_leaves_before_the_end_of_it(
    train, registry, monkeypatch, options
):
    straight = train(name="straight", epochs=2, **options)
    with monkeypatch.context() as patched:
        epochs = iter(range(1, 9))

        def stopped(*args, **keywords):
            if next(epochs) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return loop.evaluate(*args, **keywords)

        patched.setattr(stage, "evaluate", stopped)
        with pytest.raises(Interrupted) as caught:
            train(name="cut", epochs=2, **options)
    path = straight.path.parent / "cut"
    assert caught.value.kept == f"{path}, after step 6"
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 1
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)


def test_a_signal_while_validating_what_the_time_allowed_loses_nothing(
    train, registry, monkeypatch, tmp_path
):
    with monkeypatch.context() as patched:

        def stopped(*args, **keywords):
            os.kill(os.getpid(), signal.SIGTERM)
            return loop.evaluate(*args, **keywords)

        patched.setattr(stage, "evaluate", stopped)
        with pytest.raises(Interrupted):
            train(name="cut", epochs=3, max_minutes=1e-6)
    result = zoo.resume(tmp_path / "runs" / "cut", registry=registry)
    assert [(row.epoch, row.best) for row in result.rows] == [(1, True)]
    assert final(result.path)[0].state["position"]["steps_done"] == 1


def test_a_signal_while_testing_leaves_before_the_end_of_it(train, registry, monkeypatch):
    straight = train(name="straight", epochs=2)
    with monkeypatch.context() as patched:

        def stopped(*args, **keywords):
            os.kill(os.getpid(), signal.SIGTERM)
            return loop.evaluate(*args, **keywords)

        patched.setattr(evaluation, "evaluate", stopped)
        with pytest.raises(Interrupted):
            train(name="cut", epochs=2)
    path = straight.path.parent / "cut"
    assert not (path / "summary.json").exists()
    assert zoo.resume(path, registry=registry).test_accuracy == straight.test_accuracy
    assert_same(straight.path, path)


def test_the_times_of_an_epoch_count_from_its_beginning(train, registry, tmp_path):
    class Slow(StopAt):
        def step_ended(self, *args, **keywords):
            time.sleep(0.1)
            super().step_ended(*args, **keywords)

    with pytest.raises(Interrupted):
        train(name="slow", epochs=2, observer=Slow(2))
    rows = zoo.resume(tmp_path / "runs" / "slow", registry=registry, observer=Slow(-1)).rows
    assert rows[0].seconds > 0.3
    for row in rows:
        assert row.images_per_second < 24 / 0.3
    assert rows[1].seconds < rows[0].seconds + 0.2  # what was before is not counted twice


def test_an_error_without_a_signal_is_told_as_what_it_is(train, monkeypatch):
    def broken(*args, **keywords):
        raise RuntimeError("of its own")

    monkeypatch.setattr(loop, "_gradient", broken)
    with pytest.raises(RuntimeError, match="of its own"):
        train(epochs=1)


def test_resuming_a_finished_run_changes_nothing(train, registry):
    def files():
        return {
            str(path.relative_to(result.path)): path.read_bytes()
            for path in result.path.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    result = train(epochs=2)
    before = files()
    again = zoo.resume(result.path, registry=registry)
    assert again == result
    assert files() == before


def test_a_broken_last_checkpoint_falls_back_to_the_one_before(train, registry):
    straight = train(name="straight", epochs=3)
    with pytest.raises(Interrupted):
        train(name="broken", epochs=3, observer=StopAt(8))
    path = straight.path.parent / "broken"
    newest, _ = checkpoint.latest(path / "checkpoints")
    (newest / "model.safetensors").write_bytes(b"")
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)


def test_all_checkpoints_broken_is_an_error_not_a_fresh_start(train, registry, tmp_path):
    with pytest.raises(Interrupted):
        train(name="broken", epochs=3, observer=StopAt(8))
    path = tmp_path / "runs" / "broken"
    for folder in (path / "checkpoints").iterdir():
        (folder / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint that can be used") as caught:
        zoo.resume(path, registry=registry)
    assert caught.value.found.count("it has no manifest") == 2


def test_other_data_is_refused(train, registry, shapes_folder, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    with pytest.raises(Interrupted):
        train(name="cut", data=str(data), epochs=2, observer=StopAt(4))
    path = tmp_path / "runs" / "cut"
    (data / "train" / "dot" / "dot-0.png").unlink()
    with pytest.raises(ZooError, match=r"data") as caught:
        zoo.resume(path, registry=registry)
    assert caught.value.exit_code in (3, 4)


def test_what_is_not_a_run_is_refused(tmp_path, registry):
    with pytest.raises(UsageError, match="not a run folder"):
        zoo.resume(tmp_path, registry=registry)


def test_a_loss_that_is_not_finite_stops_the_run(train, registry):
    with pytest.raises(NonFiniteError) as caught:
        train(name="nan", lr=1e30, optim="sgd", epochs=3, warmup=0.0, patience=0)
    assert caught.value.exit_code == 7
    assert "learning rate" in str(caught.value)


def test_weights_that_a_last_step_broke_are_not_kept(train, monkeypatch, tmp_path):
    """A network of NaN calls every image the first class: half of them are right."""
    steps, real = iter(range(1, 99)), torch.optim.SGD.step

    def step(self, closure=None):
        real(self, closure)
        if next(steps) == 6:  # the last of the second epoch
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    with pytest.raises(NonFiniteError, match="last step made weights") as caught:
        train(name="nan", optim="sgd", lr=1e-4, epochs=2)
    assert caught.value.found.endswith("the parameter head.weight: 1000 NaN of 1000 values")
    saved, best = final(tmp_path / "runs" / "nan")
    assert saved.state["position"]["epochs_done"] == 1
    assert all(tensor.isfinite().all() for tensor in (*saved.model.values(), *best.values()))


def test_the_run_folder_is_what_the_design_says(train):
    result = train(freeze_epochs=1, epochs=1)
    names = {p.name for p in result.path.iterdir()}
    assert {
        "config.toml",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "checkpoints",
        "best",
    } <= names
    rows = [json.loads(line) for line in (result.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["freeze", "finetune"]
    description = json.loads((result.path / "best/model.json").read_text())
    assert description["classes"] == ["bar", "dot"]
    text = (result.path / "environment.json").read_text()
    assert "classifier-zoo" in text
    assert "/home" not in text


def test_the_stored_configuration_repeats_the_run(train, registry, tmp_path):
    first = train(freeze_epochs=1, epochs=1, sched="SGDR-2-1")
    from zoo.config import load_config

    table = load_config(first.path / "config.toml")
    second = zoo.run(table, registry=registry, runs=str(tmp_path / "again"))
    assert_same(first.path, second.path)


def test_a_run_goes_on_in_another_place(train, registry, tmp_path):
    straight = train(name="straight", epochs=3)
    with pytest.raises(Interrupted):
        train(name="moved", epochs=3, observer=StopAt(4))
    target = tmp_path / "elsewhere" / "other name"
    target.parent.mkdir()
    (straight.path.parent / "moved").rename(target)
    zoo.resume(target, registry=registry)
    assert_same(straight.path, target)
    assert not (straight.path.parent / "moved").exists()


def test_a_torn_table_is_written_anew(train, registry, tmp_path):
    straight = train(name="straight", epochs=3)
    with pytest.raises(Interrupted):
        train(name="torn", epochs=3, observer=StopAt(7))
    path = tmp_path / "runs" / "torn"
    table = path / "metrics.jsonl"
    table.write_bytes(table.read_bytes()[:-9] + b"\xff\xfe")
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)
    assert len(RunFolder(path).rows()) == 3


def test_a_run_that_was_killed_before_its_configuration_starts_again(train, registry, tmp_path):
    straight = train(name="straight", epochs=1)
    path = tmp_path / "runs" / "early"
    path.mkdir()
    (path / ".lock").write_text("1")
    (path / "environment.json").write_text("{}")
    (path / ".tmp-1-ab-config.toml").write_text("half of i")
    with pytest.raises(UsageError, match="stopped before it had begun"):
        zoo.resume(path, registry=registry)
    train(name="early", epochs=1)
    assert_same(straight.path, path)
    assert not list(path.glob(".tmp-*"))


@pytest.mark.parametrize("limit", [4_000, 60_000, 230_000, 300_000, 690_000])
def test_a_full_disk_ends_the_run_and_harms_nothing(train, registry, tmp_path, limit):
    """Files of lenet here: weights 0.24 MB, the optimizer's state 0.47 MB."""
    straight = train(name="straight", epochs=2)
    with pytest.raises(Interrupted):
        train(name="full", epochs=2, observer=StopAt(2))
    path = tmp_path / "runs" / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        if limit < 600_000:
            with pytest.raises(MachineError) as caught:
                zoo.resume(path, registry=registry)
            assert caught.value.exit_code == 6
            assert "zoo resume" in caught.value.hint
        else:
            zoo.resume(path, registry=registry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(path.rglob(".tmp-*"))
    zoo.resume(path, registry=registry)
    assert_same(straight.path, path)


class Dies(BaseException):
    """Ends a process before its first step, as far as a test in one process can show it."""


def test_killed_before_the_first_checkpoint_it_says_the_same_of_its_weights(
    train, registry, tmp_path
):
    class Early(Observer):
        def phase_started(self, phase, *, trainable, total, cached):
            raise Dies

    options = {"model": "efficientnet-lite0", "weights": "auto", "img_size": 32, "epochs": 1}
    straight = train(name="straight", **options)
    with pytest.raises(Dies):
        train(name="early", observer=Early(), **options)
    path = tmp_path / "runs" / "early"
    assert not (path / "checkpoints").exists()
    zoo.resume(path, registry=registry)
    assert compare_runs(straight.path, path).verdict.startswith("bit-identical")
