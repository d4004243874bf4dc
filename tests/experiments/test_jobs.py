"""Runs of an experiment side by side: the same runs, and what becomes of them when one is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import zoo
from zoo import errors
from zoo.config import RunConfig
from zoo.cores import may_have_gpu
from zoo.engine.device import own_device
from zoo.errors import MachineError, UsageError, ZooError, as_zoo_error
from zoo.evaluation.sameness import compare_runs
from zoo.experiments import processes
from zoo.experiments.running import run_trials
from zoo.experiments.trials import fold_trials, grid_trials, side_by_side, usual_jobs

OPTIONS = {
    "model": "mlp-mnist", "img_size": 16, "epochs": 2, "workers": 0, "batch_size": 8, "threads": 1,
}  # fmt: skip
GRID = {"lr": [1e-2, 1e30], "optim": ["sgd", "adamw"], "seed": [0, 1]}
ROOT = Path(__file__).parents[2]


def sweep(data, runs, **more):
    return zoo.sweep({**OPTIONS, "data": str(data), "runs": str(runs)}, **{"grid": GRID, **more})


def test_runs_side_by_side_are_those_made_one_after_the_other(shapes_folder, tmp_path):
    told, pids = [], set()

    def ended(outcome):
        told.append(outcome.trial.name)
        pids.add((tmp_path / "two" / outcome.trial.name / ".lock").read_text())

    two = sweep(shapes_folder, tmp_path, name="two", jobs=2, ended=ended,
                listener="zoo.cli.progress:LogFile")  # fmt: skip
    one = sweep(shapes_folder, tmp_path, name="one")
    assert len(pids) == 2
    assert str(os.getpid()) in pids
    names = [outcome.trial.name for outcome in two.outcomes]
    assert names == [outcome.trial.name for outcome in one.outcomes]
    assert sorted(told) == sorted(names)
    assert any(outcome.failure for outcome in one.outcomes)  # lr 1e30
    for mine, alone in zip(two.outcomes, one.outcomes, strict=True):
        assert mine.failure == alone.failure
        paths = one.path / alone.trial.name, two.path / mine.trial.name
        if alone.result is not None:
            assert compare_runs(*paths).verdict.startswith("bit-identical")
        elsewhere = (two.path / mine.trial.name / ".lock").read_text() != str(os.getpid())
        assert (two.path / mine.trial.name / "log.txt").exists() == elsewhere
    assert [(line.setting, line.score, line.failures) for line in two.lines] == [
        (line.setting, line.score, line.failures) for line in one.lines
    ]


def test_a_lost_process_ends_the_experiment_and_the_same_command_goes_on(
    shapes_folder, tmp_path, monkeypatch
):
    real = processes.Process.train

    def killed_while_it_trains(process, config):
        process.start()
        process.child.kill()
        return real(process, config)

    with monkeypatch.context() as patch:
        patch.setattr(processes.Process, "train", killed_while_it_trains)
        with pytest.raises(MachineError) as lost:
            sweep(shapes_folder, tmp_path, name="s", jobs=2)
    assert lost.value.exit_code == 6
    assert "was lost" in lost.value.what
    assert lost.value.found == "SIGKILL"
    assert "--jobs" in lost.value.hint
    again = sweep(shapes_folder, tmp_path, name="s")
    assert len([one for one in again.outcomes if one.result or one.failure]) == 8


EPOCHS, RATES = 20, [1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 6e-2]
SIX = f"lr={','.join(map(str, RATES))}"


class Sweep:
    """``zoo sweep --jobs 2``, over six runs if nothing else is said, as a terminal starts it."""

    def __init__(self, data, runs, *, epochs=EPOCHS, grid=SIX, **environment):
        flags = {**OPTIONS, "epochs": epochs, "data": data, "runs": runs, "name": "s",
                 "grid": grid, "jobs": 2}  # fmt: skip
        search = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
        words = (word for key, value in flags.items()
                 for word in (f"--{key.replace('_', '-')}", str(value)))  # fmt: skip
        self.folder = runs / "s"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zoo.cli.main", "sweep", *words], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": search, **environment},
        )  # fmt: skip

    def other(self):
        """The process that trains besides, once it has saved something."""
        until = time.monotonic() + 60
        while True:
            for lock in self.folder.glob("*/.lock"):
                pid = lock.read_text()
                if pid not in ("", str(self.process.pid)) and any(
                    lock.parent.glob("checkpoints/*/MANIFEST.json")
                ):
                    return int(pid)
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)


def is_alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_a_stopped_experiment_leaves_no_process_and_goes_on(shapes_folder, tmp_path, number):
    command = Sweep(shapes_folder, tmp_path)
    other = command.other()
    command.process.send_signal(number)
    _, err = command.process.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert command.process.returncode == 130
        assert err.startswith(("zoo: stopped by SIGINT\n", "stopped\n"))  # in a run, or between two
        assert "--name s goes on" in err or err == "stopped\n"  # while a module was imported
    until = time.monotonic() + 30
    while is_alive(other):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert len(list(command.folder.glob("*/summary.json"))) < len(RATES)
    again = zoo.sweep({**OPTIONS, "epochs": EPOCHS, "data": str(shapes_folder)},
                      grid={"lr": RATES}, runs=str(tmp_path), name="s")  # fmt: skip
    for outcome in again.outcomes:
        assert [row.epoch for row in outcome.result.rows] == list(range(1, EPOCHS + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_signal_while_only_other_processes_train_says_how_to_go_on(shapes_folder, tmp_path):
    command = Sweep(shapes_folder, tmp_path, grid="epochs=1,5000")
    command.other()
    command.process.stdout.readline()  # the run of this process has ended
    command.process.send_signal(signal.SIGTERM)
    _, err = command.process.communicate(timeout=60)
    assert command.process.returncode == 143
    assert err.lstrip() == (
        f"stopped\n  kept:  all runs in {tmp_path / 's'}\n"
        "  try:   the same command with --name s goes on\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="no copies are made there")
def test_a_copy_of_the_command_trains_what_one_process_does(shapes_folder, tmp_path):
    command = Sweep(shapes_folder, tmp_path, epochs=8)
    names = [Path(f"/proc/{pid}/cmdline").read_text() for pid in
             (command.process.pid, command.other())]  # fmt: skip
    assert (names[0] == names[1]) is not may_have_gpu()
    out, err = command.process.communicate(timeout=120)
    assert (command.process.returncode, err) == (0, "")
    assert out.count("val_accuracy") == len(RATES)
    one = zoo.sweep({**OPTIONS, "epochs": 8, "data": str(shapes_folder)},
                    grid={"lr": RATES}, runs=str(tmp_path), name="one")  # fmt: skip
    for outcome in one.outcomes:
        made = command.folder / outcome.trial.name
        told = compare_runs(one.path / outcome.trial.name, made)
        assert told.verdict.startswith("bit-identical"), told


def test_the_bar_is_the_first_runs_until_another_trains(shapes_folder, tmp_path):
    command = Sweep(shapes_folder, tmp_path, epochs=2, FORCE_COLOR="1", TERM="xterm")
    out, err = command.process.communicate(timeout=120)
    assert (command.process.returncode, err) == (0, "")
    moved = re.findall(r"images, train|train \d/2|runs that have ended|\d/6  val_accuracy", out)
    of_all = moved.index("runs that have ended")
    assert moved[0] == "images, train"
    assert "train 1/2" not in moved[of_all:]
    assert moved[of_all:].count("images, train") == 0
    ended = [text for text in moved if text.endswith("val_accuracy")]
    assert ended == [f"{number}/6  val_accuracy" for number in range(1, 7)]
    assert moved.index(ended[0]) > of_all


# ---- what each run is given -----------------------------------------------------------------


def test_threads_and_memory_are_shared_out_but_not_against_the_user():
    trials = grid_trials(RunConfig(), {"lr": [1e-3, 1e-2]})
    shared = side_by_side(trials, jobs=2, num_cores=8)
    assert [(one.config.threads, one.config.ram) for one in shared] == [(4, 2048)] * 2
    assert [one.name for one in shared] == [one.name for one in trials]
    assert side_by_side(trials, jobs=5, num_cores=2)[0].config.threads == 1
    own = grid_trials(RunConfig(threads=3), {"lr": [1e-3, 1e-2]})
    assert side_by_side(own, jobs=2, num_cores=8)[0].config.threads == 3


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"epochs": 0}, None),
        ({"epochs": 0, "freeze_views": 3}, None),
        ({"epochs": 0, "threads": 1}, 1),
        ({"epochs": 0, "freeze_aug": True}, 4),
        ({"epochs": 0, "cache": False}, 4),
        ({"epochs": 0, "frozen_norm": "train"}, 4),
        ({"phases": "head:3"}, 4),
        ({}, 4),
    ],
)
def test_the_first_of_many_heads_computes_features_with_all_threads(options, first):
    trials = fold_trials(RunConfig(**options), folds=3)
    threads = [one.config.threads for one in side_by_side(trials, jobs=2, num_cores=8)]
    assert threads == [first, *[options.get("threads", 4)] * 2]


HEADS = {"epochs": 0, "freeze_epochs": 2}


@pytest.mark.parametrize(
    ("options", "trials", "cores", "gpu", "jobs"),
    [
        (HEADS, 20, 2, False, 2),
        (HEADS, 20, 64, False, 4),
        (HEADS, 9, 64, False, 2),
        (HEADS, 7, 64, False, 1),
        (HEADS, 20, 1, False, 1),
        (HEADS, 20, 8, True, 1),
        (HEADS | {"device": "cpu"}, 20, 8, True, 4),
        (HEADS | {"device": "cuda"}, 20, 8, False, 1),
        (HEADS | {"threads": 2}, 20, 8, False, 1),
        (HEADS | {"cache": False}, 20, 8, False, 1),
        ({}, 20, 8, False, 1),
    ],
)
def test_where_nobody_says_how_many_heads_alone_have_the_cores(options, trials, cores, gpu, jobs):
    made = grid_trials(RunConfig(**options), {"seed": [*range(trials)]})
    assert usual_jobs(made, num_cores=cores, gpu=gpu) == jobs


def test_a_sweep_of_heads_has_a_process_for_each_core(zoo_command, shapes_folder, tmp_path,
                                                      monkeypatch):  # fmt: skip
    monkeypatch.setattr("zoo.cores.num_cores", lambda: 2)
    monkeypatch.setattr("zoo.cores.may_have_gpu", lambda: False)
    flags = ["--model", "cifar-quick", "--data", str(shapes_folder), "--img-size", "16",
             "--runs", str(tmp_path), "--name", "s", "--epochs", "0", "--freeze-epochs", "1",
             "--seeds", "0,1,2,3,4,5,6,7"]  # fmt: skip
    outcome = zoo_command("sweep", *flags, "--grid", "lr=1e-2")
    assert outcome.code == 0, outcome.err
    locks = [lock.read_text() for lock in (tmp_path / "s").glob("*/.lock")]
    assert (len(locks), len(set(locks))) == (8, 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = []
    zoo.sweep(
        {**OPTIONS, **HEADS, "data": str(shapes_folder), "runs": str(tmp_path)},
        grid={"seed": [*range(8)]}, jobs=None, at_once=told.append,
    )  # fmt: skip
    assert told == [1]


def test_the_gpus_are_taken_in_turn(monkeypatch):
    assert own_device("auto", number=1) == "auto"  # there is none
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [own_device("auto", number=n) for n in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert own_device("cpu", number=1) == "cpu"
    assert own_device("cuda:0", number=1) == "cuda:0"


# ---- what cannot be -------------------------------------------------------------------------


def test_jobs_that_cannot_be_are_refused(zoo_command, shapes_folder, tmp_path, registry,
                                         monkeypatch):  # fmt: skip
    with pytest.raises(UsageError, match="not 1 or more"):
        sweep(shapes_folder, tmp_path, jobs=0)
    with pytest.raises(UsageError, match="components that are installed"):
        sweep(shapes_folder, tmp_path, jobs=2, registry=registry)
    assert zoo_command("sweep", "--grid", "lr=1e-3,1e-2", "--jobs", "0").code == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = zoo_command("sweep", "--grid", "lr=1e-3,1e-2", "--jobs", "2")
    assert (outcome.code, "one process each" in outcome.err) == (2, True)


KINDS = [kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_in_another_process(kind):
    error = kind("what", found="fóund", kept="kept", hint="hint")
    error.exit_code = 130
    came = processes._error_from(json.loads(json.dumps(processes._described(error))))
    assert type(came) is kind
    assert (str(came), came.exit_code) == (str(error), 130)


def test_an_error_of_a_run_is_told_as_what_it_is():
    def divides():
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as raised:
        divides()
    told = as_zoo_error(raised.value)
    assert (type(told), told.exit_code) == (ZooError, 1)
    assert "this is a bug in zoo: ZeroDivisionError" in told.what
    assert told.found.startswith(f"{__file__}:")
    assert as_zoo_error(MemoryError()).exit_code == 6
    full = as_zoo_error(OSError(errno.ENOSPC, "No space left on device"))
    assert (full.exit_code, full.what) == (6, "writing failed: No space left on device")
    same = UsageError("x")
    assert as_zoo_error(same) is same


def test_a_listener_that_fails_in_another_thread_stops_the_experiment(tmp_path):
    class Other:
        def train(self, config):
            return "a result"

        def ask_to_end(self):
            raise AssertionError("nothing runs there any more")

    failed = threading.Event()

    def started(number, total, trial):
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise BrokenPipeError

    def train(config):
        if config.seed:  # the first has to end before another process takes one
            assert failed.wait(30)
        return "a result"

    with pytest.raises(BrokenPipeError):
        run_trials(grid_trials(RunConfig(), {"seed": [0, 1, 2, 3]}), tmp_path, train=train,
                   others=[Other()], begun=threading.Event(), started=started)  # fmt: skip


def test_what_stops_a_run_in_another_process_stops_the_experiment(tmp_path):
    """The run that trains here meanwhile is trained to its end, and no other is begun."""
    failed, trained = threading.Event(), []

    class Other:
        def train(self, config):
            failed.set()
            raise errors.DataError("no images")

        def ask_to_end(self):
            raise AssertionError("nothing runs there any more")

    def train(config):
        if trained:  # the first has to end before another process takes one
            assert failed.wait(30)
        trained.append(config.name)
        return "a result"

    trials = grid_trials(RunConfig(), {"seed": [0, 1, 2, 3]})
    with pytest.raises(errors.DataError, match="no images"):
        run_trials(trials, tmp_path, train=train, others=[Other()], begun=threading.Event())
    assert 1 <= len(trained) <= 3
