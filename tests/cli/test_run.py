"""`zoo run` and `zoo resume` as a person uses them."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from zoo.data.reading.packed import content_digest

ROOT = Path(__file__).parents[2]
TINY = ("--model", "lenet", "--img-size", "16", "--batch-size", "8", "--threads", "1")


def test_a_run_prints_a_row_an_epoch_and_leaves_its_folder(zoo_command, shapes_folder, tmp_path):
    outcome = zoo_command("run", *TINY, "--data", shapes_folder, "--freeze-epochs", 1,
                          "--epochs", 2, "--runs", tmp_path / "runs")  # fmt: skip
    assert outcome.code == 0, outcome.err
    header = next(line for line in outcome.out.splitlines() if line.startswith("phase"))
    wanted = "phase epoch lr train loss train acc val loss val acc seconds images/s"
    assert " ".join(header.split()) == wanted
    rows = [line for line in outcome.out.splitlines() if re.match(r"(freeze|finetune) ", line)]
    assert [row.split()[:2] for row in rows] == [
        ["freeze", "1/3"], ["finetune", "2/3"], ["finetune", "3/3"],
    ]  # fmt: skip
    assert "test       accuracy" in outcome.out
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == f"lenet-{shapes_folder.name}-1"
    assert (run / "best" / "model.safetensors").is_file()
    assert "phase freeze: " in (run / "log.txt").read_text()


PRINTS = """
from torch.nn import functional as F
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="loss", name="chatty", target=f"{__name__}:chatty", summary="Prints")

def chatty():
    def loss(logits, target, weight=None):
        print("a loss")
        return F.cross_entropy(logits, target)
    return loss
"""


def test_what_a_component_prints_stays_out_of_the_json(
    make_plugin, zoo_command, shapes_folder, tmp_path
):
    make_plugin("acme", PRINTS)
    options = (*TINY, "--data", shapes_folder, "--epochs", 1, "--loss", "chatty", "--json")
    for command in (("run",), ("kfold", "--folds", 2), ("sweep", "--seeds", 1)):
        outcome = zoo_command(*command, *options, "--runs", tmp_path / command[0])
        assert json.loads(outcome.out), command
        assert "a loss" in outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals there")
def test_a_terminal_of_another_encoding_shows_what_it_can(shapes_folder, tmp_path):
    import pty

    data = tmp_path / "日本"
    shutil.copytree(shapes_folder, data)
    own, other = pty.openpty()
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-m", "zoo.cli.main", "run", *TINY, "--data", data, "--epochs", "1",
         "--runs", tmp_path / "runs"],
        stdout=other, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "latin-1", "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(other)
        shown = b""
        try:
            while block := os.read(own, 2**16):
                shown += block
        except OSError:  # as Linux says that the other end is closed
            pass
        assert process.wait(120) == 0, process.stderr.read()
    os.close(own)
    assert b"data       ??: 2 classes" in shown


def test_json_is_json_and_nothing_else(zoo_command, shapes_folder, tmp_path):
    outcome = zoo_command("run", *TINY, "--data", shapes_folder, "--epochs", 1,
                          "--runs", tmp_path, "--json")  # fmt: skip
    result = json.loads(outcome.out)
    assert result["rows"][0]["phase"] == "train"
    assert 0 <= result["test_accuracy"] <= 1


def test_config_set_and_flags_in_rising_order(zoo_command, shapes_folder, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        f'model = "lenet"\ndata = "{shapes_folder}"\nepochs = 5\nlr = 0.5\nseed = 3\n'
    )
    outcome = zoo_command("run", "--config", config, "--set", "lr=0.25", "--set", "epochs=7",
                          "--epochs", "2", "--dry-run", "--json")  # fmt: skip
    settled = json.loads(outcome.out)["config"]
    assert (settled["seed"], settled["lr"], settled["epochs"]) == (3, 0.25, 2)


def test_dry_run_trains_nothing(zoo_command, shapes_folder, tmp_path):
    outcome = zoo_command(
        "run", *TINY, "--data", shapes_folder, "--dry-run", "--runs", tmp_path / "r"
    )
    assert outcome.code == 0
    assert "nothing was trained" in outcome.out
    assert not (tmp_path / "r").exists()


WRONG = {
    "unknown names, all at once": (
        ["--model", "lenett", "--loss", "cee", "--optim", "adamm", "--sched", "sgd",
         "--aug", "flop"],
        2, ["lenett", "cee", "adamm", "'sgd'", "flop", "5 problems"],
    ),
    "bad values, all at once": (
        ["--lr", "-1", "--batch-size", "many", "--split", "0.5,0.6"],
        2, ["--lr is -1", "--batch-size is many", "split is", "3 problems"],
    ),
    "bad spec": (["--sched", "SGDR-0-2"], 2, ["t_0 is 0, and must be at least 1"]),
    "unknown flag": (["--learning-rate", "1"], 2, ["No such option", "--learning-rate"]),
    "no data of that name": (
        ["--data", "photoss"], 2, ["'photoss'", "no file or folder of that name", "datasets"],
    ),
    "unknown setting": (["--set", "optimiser=adam"], 2, ["no option 'optimiser'", "optim"]),
    "setting without =": (["--set", "lr"], 2, ["is not key=value"]),
    "empty config": (["--config", ""], 2, ["--config is empty"]),
    "epochs without end": (
        ["--epochs", "1e30", "--freeze-epochs", "1e30"], 2,
        ["--epochs is 1e", "--freeze-epochs is 1e"],
    ),
    "a phase without end": (["--phases", "all:epochs=1e30"], 2, ["phase all: epochs is 1e"]),
    "a world of threads": (["--threads", "1e30"], 2, ["--threads is 1e", "at most 1024"]),
    "missing config": (["--config", "nowhere.toml"], 2, ["nowhere.toml", "does not exist"]),
    "missing data": (["--data", "./nowhere"], 3, ["nowhere"]),
    "unknown data": (["--data", "fashion-maxi"], 2, ["no dataset is named", "fashion-mini"]),
    "missing weights": (["--model", "lenet", "--weights", "./w.pth"], 2, ["w.pth"]),
    "unknown weights": (["--weights", "in22k"], 2, ["no weights are named 'in22k'"]),
    "nothing to train": (["--model", "lenet", "--epochs", "0"], 2, ["nothing to train"]),
    "image too small": (["--model", "lenet", "--img-size", "4"], 2, ["lenet", "4"]),
    "image size that a ViT refuses": (
        ["--model", "torchvision/vit_b_16", "--weights", "none", "--img-size", "50"], 2, ["50"],
    ),
    "no such device": (["--model", "lenet", "--device", "tpu"], 2, ["--device tpu"]),
    "no cuda here": (["--model", "lenet", "--device", "cuda:99"], 2, ["CUDA devices"]),
    "fp16 without cuda": (
        ["--model", "lenet", "--device", "cpu", "--precision", "fp16"], 2, ["fp16"],
    ),
    "name that is a path": (["--model", "lenet", "--name", "../x"], 2, ["one plain folder name"]),
    "batch smaller than its parts": (["--accumulate", "9", "--batch-size", "4"], 2, ["9 parts"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_clear_message(zoo_command, tmp_path, monkeypatch, case):
    args, code, words = WRONG[case]
    monkeypatch.chdir(tmp_path)
    outcome = zoo_command("run", "--runs", tmp_path / "runs", *args)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.splitlines()) <= 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model = [", ["cannot be read"]),
        ('modle = "lenet"\nepoch = 3', ["modle", "model", "epoch", "2 problems"]),
        ('lr = "fast"', ["bad.toml: lr is fast"]),
        ("epochs = 2.5", ["epochs is 2.5, and must be an int"]),
        ("epochs = inf", ["epochs is inf"]),
        ("[model]\nname = 3", ["model is", "must be a str"]),
    ],
)
def test_wrong_configuration_files(zoo_command, tmp_path, text, words):
    (tmp_path / "bad.toml").write_text(text)
    outcome = zoo_command("run", "--config", tmp_path / "bad.toml")
    assert outcome.code == 2, outcome.err
    assert all(word in outcome.err for word in words), outcome.err


def test_data_that_cannot_be_used_is_exit_3(zoo_command, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "cat").mkdir(parents=True)
    (tmp_path / "file.png").write_bytes(b"x")
    for name in ("empty", "one", "file.png"):
        outcome = zoo_command("run", "--model", "lenet", "--data", tmp_path / name)
        assert outcome.code == 3, (name, outcome.err)


def _bytes_that_are_no_utf8(place: Path, shapes_folder: Path, name: bytes) -> str:
    """Copies a folder of images to a name as an old archive unpacks it; skips where none can be."""
    target = os.fsencode(place) + b"/" + name
    try:
        os.mkdir(target)
    except OSError as error:
        if error.errno not in (errno.EILSEQ, errno.EINVAL):
            raise
        pytest.skip("the file system takes UTF-8 names only")
    shutil.copytree(os.fsencode(shapes_folder), target, dirs_exist_ok=True)
    return os.fsdecode(target)


def test_a_class_of_bytes_that_are_no_utf8(zoo_command, shapes_folder, tmp_path):
    data = tmp_path / "data"
    for label, name in (("bar", b"caf\xe9"), ("dot", b"th\xc3\xa9")):
        for split in ("train", "val", "test"):
            (data / split).mkdir(parents=True, exist_ok=True)
            _bytes_that_are_no_utf8(data / split, shapes_folder / split / label, name)
    run = tmp_path / "r"
    trained = zoo_command("run", *TINY, "--data", data, "--epochs", 1, "--runs", tmp_path,
                          "--name", "r")  # fmt: skip
    assert trained.code == 0, trained.err
    written = (run / "environment.json").read_text(encoding="utf-8")
    assert json.loads(written)["data"]["classes"] == ["caf\udce9", "th\u00e9"]
    assert '"th\u00e9"' in written
    (run / "summary.json").unlink()
    for words in (
        ["resume", run], ["evaluate", run], ["report", run], ["compare", run, run],
        ["export", run, "--to", "safetensors"], ["export", run, "--to", "pt2"], ["review", run],
        ["heatmap", run, data, "--output", tmp_path / "heat.png"],
        ["predict", run, data, "--output", tmp_path / "out.csv"],
        ["predict", run, data, "--output", tmp_path / "out.jsonl"],
    ):  # fmt: skip
        outcome = zoo_command(*words)
        assert outcome.code == 0, (words, outcome.err)
        outcome.out.encode()  # what it prints is UTF-8
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {answer["label"] for answer in answers} <= {"caf\udce9", "th\u00e9"}
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 41


def test_data_whose_path_no_configuration_can_hold(zoo_command, shapes_folder, tmp_path, registry):
    data = _bytes_that_are_no_utf8(tmp_path, shapes_folder, b"im\xe9ges")
    asked = ("--data", data, *TINY, "--epochs", 1, "--runs", tmp_path / "runs")
    for words in (("run", *asked), ("run", *asked, "--dry-run"), ("kfold", *asked)):
        outcome = zoo_command(*words)
        assert outcome.code == 2, outcome.err
        assert "im\\udce9ges cannot be kept in the run's config.toml" in outcome.err
        assert "ln -s PATH LINK" in outcome.err
        assert not (tmp_path / "runs").exists()
    (tmp_path / "link").symlink_to(data)
    assert zoo_command("run", *asked, "--name", "r", "--data", tmp_path / "link").code == 0
    assert zoo_command("evaluate", tmp_path / "runs" / "r", "--data", data).code == 0


def test_a_name_in_a_strangers_file_writes_nothing_to_the_terminal(zoo_command, tmp_path):
    members = {
        "train.pixels": np.zeros((1, 16, 16), np.uint8), "train.labels": np.zeros(1, np.uint8),
        "train.names": np.frombuffer(b"a", np.uint8),
    }  # fmt: skip
    about = {
        "format": 1, "name": "\x1b]0;owned\x07\u202e", "classes": ["\x1b[31mred"],
        "splits": ["train"], "sha256": content_digest(members),
    }  # fmt: skip
    written = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "x.npz", about=written, **members)
    outcome = zoo_command("run", *TINY, "--data", tmp_path / "x.npz", "--runs", tmp_path)
    assert outcome.code == 3, outcome.err
    assert "\\x1b]0;owned\\x07\\u202e has 1 class" in outcome.err
    assert "has no images to val on" in outcome.err
    assert "\x1b" not in outcome.out + outcome.err


def _command(*args: object, cwd: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "zoo.cli.main", *map(str, args)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_a_stopped_run_goes_on_in_one_process_at_a_time(shapes_folder, tmp_path):
    run = _command("run", *TINY, "--data", shapes_folder, "--epochs", 400, "--runs", "runs",
                   "--name", "stopped", cwd=tmp_path)  # fmt: skip
    folder = tmp_path / "runs" / "stopped"
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143, err
    assert "zoo resume runs/stopped" in err
    before = len((folder / "metrics.jsonl").read_text().splitlines())

    resumed = _command("resume", "runs/stopped", cwd=tmp_path)
    busy_deadline = time.monotonic() + 60
    while time.monotonic() < busy_deadline:
        if len((folder / "metrics.jsonl").read_text().splitlines()) > before:
            break
        time.sleep(0.05)
    busy = _command("resume", "runs/stopped", cwd=tmp_path)
    _, busy_err = busy.communicate(timeout=60)
    assert busy.returncode == 8, busy_err
    resumed.kill()
    resumed.communicate(timeout=60)
    again = _command("resume", "runs/stopped", cwd=tmp_path)
    while len((folder / "metrics.jsonl").read_text().splitlines()) <= before + 1:
        time.sleep(0.05)
        assert again.poll() is None, again.communicate()
    again.kill()
    again.communicate(timeout=60)


def test_the_api_is_the_same_thing(shapes_folder, tmp_path, registry):
    import zoo

    result = zoo.run(model="lenet", data=str(shapes_folder), img_size=16, batch_size=8, epochs=6,
                     lr=5e-3, threads=1, runs=str(tmp_path), registry=registry)  # fmt: skip
    trained = zoo.load(result.path, registry=registry)
    files = sorted((shapes_folder / "test").rglob("*.png"))
    labels = [file.parent.name for file in files]
    share = sum(a == b for a, b in zip(trained.predict(files), labels, strict=True)) / len(files)
    assert share == result.test_accuracy
    rows = trained.probabilities(files)
    assert rows.shape == (8, 2)
    assert rows.sum(1).tolist() == pytest.approx([1.0] * 8, abs=1e-6)
    assert [e.id for e in zoo.list("model", "lenet*", registry=registry)] == ["classics/lenet"]


def test_training_goes_on_when_the_reader_of_its_output_leaves(shapes_folder, tmp_path):
    run = _command("run", *TINY, "--data", shapes_folder, "--epochs", 5, "--runs", "runs",
                   "--name", "piped", cwd=tmp_path)  # fmt: skip
    run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=120) == 0, run.stderr.read()
    run.stderr.close()
    assert len((tmp_path / "runs/piped/metrics.jsonl").read_text().splitlines()) == 5
