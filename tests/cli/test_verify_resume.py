"""zoo verify-resume: fresh processes killed for real, a verdict, and that it can be a bad one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from zoo.config import RunConfig
from zoo.errors import ZooError
from zoo.evaluation import kills, resume_proof, sameness
from zoo.evaluation.resume_proof import prove, shortened
from zoo.evaluation.stages import Stage
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder
from zoo.runs.tensor_file import TensorFile


@pytest.fixture
def config_file(tmp_path, shapes_folder):
    path = tmp_path / "mine.toml"
    path.write_text(
        f'model = "lenet"\nweights = "none"\ndata = "{shapes_folder}"\nimg_size = 16\n'
        'batch_size = 8\nfreeze_epochs = 9\nepochs = 90\nthreads = 1\naug = "light"\n'
    )
    return path


def test_a_run_of_the_users_own_is_killed_and_proved(zoo_command, config_file):
    ended = zoo_command(
        "verify-resume", "--config", config_file, "--kills", 2, "--seed", 5, "--json"
    )
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["holds"] is True
    assert result["kills"] == 2 == sum(result["hit"].values())
    assert set(result["hit"]) == {stage.label for stage in Stage}
    assert result["same"] == result["runs"] == len(result["trials"])
    assert all(trial["verdict"].startswith("bit-identical") for trial in result["trials"])
    assert result["stages"]["validation"]["visits"] == 3  # 1 frozen epoch and 2 others, not 99


def test_a_configuration_that_cannot_run_says_so(zoo_command, tmp_path):
    ended = zoo_command("verify-resume", "--data", tmp_path / "nowhere", "--model", "lenet")
    assert ended.code in (2, 3)
    assert "nowhere" in ended.err


def test_what_computes_a_step_is_not_cut_down():
    config = RunConfig(freeze_epochs=4, epochs=7, batch_size=16, limit=None, optim="sgd", ema=0.9)
    short = shortened(config)
    assert (short.freeze_epochs, short.epochs, short.limit, short.save_steps) == (1, 2, 64, 2)
    cut = {"freeze_epochs", "epochs", "limit", "save_steps"}
    assert {k: v for k, v in short.as_mapping().items() if k not in cut} == {
        k: v for k, v in config.as_mapping().items() if k not in cut
    }
    given = RunConfig(phases="head:epochs=1+all:epochs=2", callback="csv", max_minutes=5.0)
    assert (shortened(given).callback, shortened(given).max_minutes) == (None, 0.0)
    assert (shortened(given).phases, shortened(given).epochs) == (given.phases, None)


def children_of(pid):
    """Returns the processes whose parent it is, with the parent of each."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = (int(after_name[1]), after_name[0])
    return [child for child, (parent, state) in parents.items() if parent == pid and state != "Z"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_to_the_parent_alone_leaves_no_process_and_no_folder(
    config_file, tmp_path, number
):
    root = Path(__file__).parents[2]
    text = config_file.read_text().replace("freeze_epochs = 9\nepochs = 90\n", "")
    config_file.write_text(f'{text}phases = "head:epochs=3000"\n')
    (tmp_path / "place").mkdir()
    search = os.pathsep.join([str(root), str(root / "plugins")])
    parent = subprocess.Popen(
        [sys.executable, "-m", "zoo.cli.main", "verify-resume", "--config", config_file],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": search, "TMPDIR": str(tmp_path / "place")},
    )  # fmt: skip
    deadline = time.monotonic() + 100
    while not list((tmp_path / "place").rglob("metrics.jsonl")) and time.monotonic() < deadline:
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.02)
    (child,) = children_of(parent.pid)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 128 + number
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    assert list((tmp_path / "place").iterdir()) == []


# ---- the proof itself must be able to fail ---------------------------------------------------


def write_run(runs, name, *, value=1.0, rows=1, momentum=0.5):
    folder = RunFolder.create(runs, name=name, stem="x")
    folder.write_text("config.toml", "")
    weights = {"weight": torch.full((3, 2), value)}
    state = {"optimizer": {0: torch.tensor([momentum, 0.0])}, "seconds": value}
    checkpoint.save(folder.checkpoints, step=4, model=TensorFile.of(weights), state=state)
    folder.write_best(TensorFile.of(weights), {"classes": ["a"]})
    folder.write_rows({"epoch": n + 1, "seconds": n * value} for n in range(rows))
    folder.write_json("summary.json", {"best_epoch": 1, "seconds": 3 * value})


@pytest.mark.parametrize(
    ("change", "first", "largest"),
    [
        ({"value": 1.25}, "weights/weight", 0.25),
        ({"momentum": 0.0}, "state/optimizer/0", 0.5),
        ({"rows": 2}, "rows/1/epoch is in one run only", 0.0),
    ],
)
def test_any_difference_is_named_with_its_size(tmp_path, change, first, largest):
    write_run(tmp_path, "one")
    write_run(tmp_path, "two", **change)
    compared = sameness.compare_runs(tmp_path / "one", tmp_path / "two")
    assert not compared.identical
    assert compared.differences[0] == first
    assert compared.largest == largest
    assert compared.verdict.startswith(f"different: {first}")
    assert sameness.compare_runs(tmp_path / "one", tmp_path / "one").identical


def test_the_sign_of_zero_and_the_bits_of_nan_count():
    def differ(a, b):
        return sameness.compare_states({"t": torch.tensor(a)}, {"t": torch.tensor(b)})[0]

    assert differ([0.0], [-0.0]) == ["t"]
    assert differ([float("nan")], [float("nan")]) == []
    assert differ(1.0, 1.0) == differ([True], [True]) == []
    assert differ([1.0], [1]) == ["t: torch.float32 (1,), torch.int64 (1,)"]
    assert sameness.compare_states({"a": float("nan")}, {"a": float("nan")})[0] == []
    assert sameness.compare_states({"a": 1}, {"a": True})[0] == ["a: 1, True"]
    long = "the same words again and again, " * 5
    (line,) = sameness.compare_states({"a": f"{long}one"}, {"a": f"{long}two"})[0]
    assert "one" in line
    assert "two" in line


class Forked:
    """A process that tells of a few stages and leaves a run, or fails."""

    def __init__(self, act):
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            code = 1
            try:
                code = act(writing)
            finally:
                os._exit(code)
        os.close(writing)
        self.marks = os.fdopen(reading, "rb", buffering=0)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def errors(self):
        return "zoo: it went wrong"


@pytest.mark.parametrize(
    ("outcome", "code", "value"),
    [("same", 0, 1.0), ("different", 0, 1.5), ("corrupt", 4, 1.0), ("stuck", 1, 1.0)],
)
def test_every_outcome_is_told_apart(tmp_path, monkeypatch, outcome, code, value):
    monkeypatch.setattr(kills.Strata, "draw", lambda self, *, kept: None)  # let them live

    def launch(name):
        def act(channel):
            os.write(channel, b"tse")
            write_run(tmp_path, name, value=1.0 if name == "straight" else value)
            return 0 if name == "straight" else code

        return Forked(act)

    proof = prove(launch, tmp_path, kills=1, seed=0, max_seconds=0.3)
    assert {trial.outcome for trial in proof.trials} == {outcome}
    assert proof.holds is (outcome == "same")
    assert proof.count(outcome) == len(proof.trials) >= 1
    if code:
        assert "it went wrong" in proof.trials[0].verdict


def test_a_process_without_a_word_counts_as_stuck(tmp_path, monkeypatch):
    monkeypatch.setattr(resume_proof, "_PATIENCE", 0.5)
    monkeypatch.setattr(kills.Strata, "draw", lambda self, *, kept: None)

    def launch(name):
        def act(channel):
            if name == "straight":
                write_run(tmp_path, name)
                return 0
            os.write(channel, b"t")
            signal.pause()
            return 0

        return Forked(act)

    proof = prove(launch, tmp_path, kills=1, seed=0, max_seconds=0.4)
    assert [trial.outcome for trial in proof.trials] == ["stuck"]
    assert "stage step" in proof.trials[0].verdict


def test_a_process_is_followed_to_its_end_or_ended(monkeypatch):
    process = Forked(lambda channel: signal.pause())
    real = process.marks

    class Interrupting:
        """Sends a signal to this process when it is first read."""

        def read(self, size):
            os.kill(os.getpid(), signal.SIGINT)
            return real.read(size)

        def close(self):
            real.close()

    process.marks = Interrupting()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            kills.live(process, kill=None, patience=60.0)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        process.kill()
    assert real.closed


def test_a_run_that_fails_when_left_alone_is_no_proof(tmp_path):
    with pytest.raises(ZooError, match="even when it is left alone") as caught:
        prove(lambda name: Forked(lambda channel: 3), tmp_path, kills=1, seed=0)
    assert caught.value.exit_code == 3
    assert "it went wrong" in caught.value.found
