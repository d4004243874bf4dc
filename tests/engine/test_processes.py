"""Two processes train what one trains: each sample counts once, in gradient and score."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted

ROOT = Path(__file__).parents[2]

needs_distribution = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this build of torch has no torch.distributed"
)


@needs_distribution
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--epochs", "2"), marks=pytest.mark.slow),  # the next one does that, too
        ("--freeze-epochs", "2", "--epochs", "1"),
        ("--epochs", "3", "--aug", "flip+mixup-0.4", "--accumulate", "2", "--ema", "0.9",
         "--swa", "2", "--soup", "2", "--max-minutes", "9"),
    ],
    ids=["train", "freeze", "mixed and averaged"],
)  # fmt: skip
def test_two_processes_end_where_one_does(shapes_folder, tmp_path, options):
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    # The seven-image batches are cut unevenly: four and three.
    common = ["-m", "zoo.cli.main", "run", "--model", "lenet", "--img-size", "16", "--threads", "1",
              "--batch-size", "7", "--optim", "sgd", "--lr", "0.05", "--device", "cpu", "--data",
              str(shapes_folder), "--runs", str(tmp_path), *options]  # fmt: skip
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    for name, command in (("one", common), ("two", [*launch, *common])):
        done = subprocess.run([sys.executable, *command, "--name", name], env=environment,
                              capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"one", "two"}
    rows = [
        [json.loads(line) for line in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    ]
    for one, two in zip(*rows, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-5)
        assert two["val_loss"] == pytest.approx(one["val_loss"], abs=1e-5)
        assert two["val_accuracy"] == one["val_accuracy"]
    single = load_file(tmp_path / "one/best/model.safetensors")
    double = load_file(tmp_path / "two/best/model.safetensors")
    for name, value in single.items():
        assert torch.allclose(value, double[name], atol=1e-6), name


def two_processes(*command):
    """Returns what two processes say that make a command."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "zoo.cli.main", *map(str, command)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode
    return done.stderr


@needs_distribution
@pytest.mark.parametrize(
    ("model", "side", "batch_size", "said"),
    [
        ("lenet", 16, 1, "zoo: 2 processes cannot share a batch of 1\n"),
        ("timm/test_resnet", 32, 2, "batches of 2, shared by 2 processes: some are computed one"),
    ],
)
def test_processes_that_cannot_share_a_batch_are_refused(
    shapes_folder, tmp_path, model, side, batch_size, said
):
    errors = two_processes(
        "run", "--model", model, "--weights", "none", "--img-size", side, "--batch-size",
        batch_size, "--device", "cpu", "--data", shapes_folder, "--runs", tmp_path / "runs",
    )  # fmt: skip
    assert said in errors
    assert "bug" not in errors
    assert not (tmp_path / "runs").exists()


class _Stop(Observer):
    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        os.kill(os.getpid(), signal.SIGINT)


@needs_distribution
def test_processes_that_cannot_share_a_batch_go_on_with_no_run(train, tmp_path):
    with pytest.raises(Interrupted):
        train(name="cut", batch_size=1, device="cpu", observer=_Stop())
    errors = two_processes("resume", tmp_path / "runs" / "cut")
    assert "zoo: 2 processes cannot share a batch of 1\n" in errors
    assert "bug" not in errors


_WAIT = """
import sys
from pathlib import Path
import torch
from zoo.config import RunConfig
from zoo.engine.device import Device
device = Device.open(RunConfig(device="cpu"))
group = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
Path(sys.argv[1], str(device.rank)).write_text(str(group.options._timeout.total_seconds()))
"""


@needs_distribution
def test_processes_wait_as_long_as_the_first_one_computes_features(tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(_WAIT)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    waits = [float((tmp_path / rank).read_text()) for rank in ("0", "1")]
    assert min(waits) >= 24 * 3600
