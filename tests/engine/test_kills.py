"""Real processes: killed at random, stopped by signals at any time, ten at once on one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import zoo
from zoo.engine.interrupts import stopping_signals
from zoo.evaluation.kills import Kill, Life, Strata
from zoo.evaluation.sameness import compare_runs
from zoo.evaluation.stages import Stage
from zoo.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]


def environment():
    search = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    return {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"}


def kill_loop(*args, seconds=580):
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kill_loop.py", "--json", *args],
        capture_output=True, text=True, timeout=seconds, check=False, env=environment(),
    )  # fmt: skip
    assert ended.returncode == 0, (ended.stdout[-3000:], ended.stderr[-3000:])
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    ("model", "kills"),
    [
        ("lenet", 8),
        pytest.param("lenet", 44, marks=pytest.mark.slow),
        pytest.param("mobilenetv3", 6, marks=pytest.mark.slow),
    ],
)
def test_kills_leave_the_same_bits(model, kills):
    result = kill_loop("--model", model, "--kills", str(kills), "--seed", "7")[model]
    assert result["kills"] == kills
    assert result["same"] == result["runs"] >= 1
    assert result["different"] == result["corrupt"] == result["stuck"] == 0
    assert {trial["digest"] for trial in result["trials"]} == {result["digest"]}
    assert sum(result["hit"].values()) == kills
    if kills > 40:
        assert min(result["hit"].values()) >= 1, result["hit"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_kills_leave_the_same_bits():
    result = kill_loop("--kills", "1000", seconds=3500)
    for model in ("mobilenetv3", "efficientnet-lite0"):
        assert result[model]["kills"] == 500
        assert result[model]["same"] == result[model]["runs"]


def test_instants_are_drawn_from_what_is_left_of_a_run():
    visits = [(Stage.START_UP, 1.0)]
    visits += [(Stage.STEP, 0.1), (Stage.SAVE, 0.3)] * 4 + [(Stage.END, 0.2), (Stage.END, 0.1)]
    straight = Life(planned=None, killed=False, stage=Stage.END, visits=tuple(visits),
                    exit_code=0, hung=False, errors="")  # fmt: skip
    strata = Strata(straight, seed=3)
    kept = {Stage.STEP: 3, Stage.SAVE: 4}
    drawn = [strata.draw(kept=kept) for _ in range(300)]
    assert {kill.stage for kill in drawn} == {Stage.START_UP, Stage.STEP, Stage.END}
    assert {kill.visit for kill in drawn if kill.stage is Stage.STEP} == {1}
    assert all(kill.delay <= 0.1 for kill in drawn if kill.stage is Stage.STEP)
    counts = [sum(kill.stage is stage for kill in drawn) for stage in (Stage.STEP, Stage.END)]
    assert counts == [100, 100]
    again = Strata(straight, seed=3)
    assert [again.draw(kept=kept) for _ in range(300)] == drawn
    assert None in [strata.draw(kept={Stage.END: 1}) for _ in range(20)]


def test_what_a_kill_undoes_is_not_kept():
    visits = [Stage.START_UP, Stage.STEP, Stage.STEP, Stage.SAVE, Stage.STEP, Stage.SAVE]
    life = Life(planned=Kill(stage=Stage.SAVE, visit=2, delay=0.0), killed=True, stage=Stage.SAVE,
                visits=tuple((stage, 0.1) for stage in visits), exit_code=-9, hung=False,
                errors="")  # fmt: skip
    assert +life.kept() == {Stage.STEP: 2, Stage.SAVE: 1}


# ---- signals ------------------------------------------------------------------------------


class Command:
    """``zoo`` in a process of its own, in its own session as a terminal's would be."""

    def __init__(self, *args, interpreter=()):
        self.process = subprocess.Popen(
            [sys.executable, *interpreter, "-m", "zoo.cli.main", *map(str, args)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        self.seen = ""

    def wait_for(self, text, stream="stdout"):
        for line in getattr(self.process, stream):
            self.seen += line
            if text in line:
                return
        raise AssertionError(f"{text!r} never came: {self.seen} {self.process.stderr.read()}")

    def end(self):
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, self.seen + out, err


def options(shapes_folder, runs, **more):
    table = {"data": shapes_folder, "model": "lenet", "weights": "none", "img-size": 16,
             "batch-size": 8, "threads": 1, "runs": runs, **more}  # fmt: skip
    return [word for key, value in table.items() for word in (f"--{key}", str(value))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("module", ["numpy", "torch.nn", "accelerate"])
def test_a_signal_while_modules_are_imported_ends_at_once(shapes_folder, tmp_path, number, module):
    # -X importtime tells of each module on stderr as soon as it is imported
    command = Command("run", *options(shapes_folder, tmp_path), interpreter=("-X", "importtime"))
    command.wait_for(f" {module}.", stream="stderr")
    command.process.send_signal(number)
    code, _, err = command.end()
    assert code == 128 + number
    assert "Traceback" not in err
    assert "bug in zoo" not in err


@pytest.fixture
def hangup_heard():
    """SIGHUP as a terminal has it: whoever runs the tests may ignore it, and so would children."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name
)
@pytest.mark.usefixtures("hangup_heard")
def test_a_signal_while_training_saves_and_says_how_to_go_on(
    shapes_folder, tmp_path, number, train, registry
):
    command = Command("run", *options(shapes_folder, tmp_path, name="cut", epochs=100))
    command.wait_for(" 1/100 ")  # the first row
    command.process.send_signal(number)
    code, _, err = command.end()
    assert code == 128 + number
    assert f"stopped by {number.name}" in err
    assert f"zoo resume {tmp_path / 'cut'}" in err
    assert "Traceback" not in err
    result = zoo.resume(tmp_path / "cut", registry=registry)
    straight = train(epochs=100, runs=str(tmp_path), name="straight")
    assert compare_runs(straight.path, result.path).verdict.startswith("bit-identical")


@pytest.mark.usefixtures("hangup_heard")
def test_a_hangup_that_is_ignored_stays_so():
    """As ``nohup`` has it."""
    assert signal.SIGHUP in stopping_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert stopping_signals() == [signal.SIGINT, signal.SIGTERM]


def test_a_second_sigint_stops_at_once_and_harms_nothing(shapes_folder, tmp_path, registry):
    command = Command("run", *options(shapes_folder, tmp_path, name="twice", epochs=3000))
    command.wait_for(" 1/3000 ")
    for _ in range(20):
        command.process.send_signal(signal.SIGINT)
    code, _, err = command.end()
    assert code == 130
    assert "bug in zoo" not in err
    rows = [json.loads(line) for line in (tmp_path / "twice/metrics.jsonl").read_text().split("\n")
            if line]  # fmt: skip
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    weights, _ = RunFolder(tmp_path / "twice").read_best()
    assert weights


# ---- many processes on one folder ----------------------------------------------------------

CROWD = """
    import os, signal, sys, time
    from pathlib import Path
    from zoo.errors import BusyError, UsageError
    from zoo.runs.folder import RunFolder

    def contender(parent, gate, out):
        os.read(gate, 1)  # all at once: the pipe closes
        try:
            folder = RunFolder.create(parent, name="one", stem="x")
            with folder.owned():
                folder.write_text("config.toml", "")
                os.write(out, b"o")
                time.sleep(600)  # until it is killed
        except BusyError:
            os.write(out, b"b")
        except UsageError:
            os.write(out, b"u")
        os._exit(0)

    for number in range(int(sys.argv[2])):
        parent = Path(sys.argv[1]) / str(number)
        gate, gate_open = os.pipe()
        results, out = os.pipe()
        children = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os.close(gate_open)
                contender(parent, gate, out)
            children.append(child)
        os.close(gate_open)
        got = b""
        while len(got) < 10:
            got += os.read(results, 10)
        assert got.count(b"o") == 1, got
        folder = RunFolder(parent / "one")
        try:
            with folder.owned():
                raise AssertionError("two owners")
        except BusyError as error:
            owner = int(error.found.split()[-1])
        assert owner in children
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        with folder.owned():  # at once: the lock died with its process
            pass
        for child in children:
            if child != owner:
                os.waitpid(child, 0)
        for descriptor in (gate, results, out):
            os.close(descriptor)
    print("rounds", number + 1)
"""


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_of_ten_processes_that_start_at_once_one_has_the_run(tmp_path, rounds):
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CROWD), tmp_path, str(rounds)],
        capture_output=True, text=True, timeout=500, check=False, env=environment(),
    )  # fmt: skip
    assert ended.stdout == f"rounds {rounds}\n", ended.stderr


FULL = """
    set -e
    mount -t tmpfs -o size=900k none "$1"
    python="$2"; shift 2
    "$python" -m zoo.cli.main "$@" && code=0 || code=$?
    echo "code $code"
    mount -o remount,size=8m "$RUNS/.."
    "$python" -m zoo.cli.main resume "$RUNS/small" > /dev/null && echo "resumed"
    mount -o remount,ro "$RUNS/.."
    "$python" -m zoo.cli.main "$@" --name other && code=0 || code=$?
    echo "code $code"
"""


def can_mount():
    """Whether this user may have a file system of their own."""
    try:
        tried = subprocess.run(
            ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp"],
            capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs unshare with a user and a mount namespace")
def test_a_file_system_that_fills_up_and_one_that_is_read_only(shapes_folder, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    run = ["run", *options(shapes_folder, place / "runs", name="small", epochs=3)]
    ended = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", textwrap.dedent(FULL), "sh", place, sys.executable, *run],
        capture_output=True, text=True, timeout=300, check=False,
        env={**environment(), "RUNS": str(place / "runs")},
    )  # fmt: skip
    codes = [line for line in ended.stdout.splitlines() if line.startswith(("code", "resumed"))]
    assert codes == ["code 6", "resumed", "code 6"], (ended.stdout, ended.stderr)
    assert "the disk is full" in ended.stderr
    assert "MiB free there" in ended.stderr
    assert "the file system is read-only" in ended.stderr
    assert "Traceback" not in ended.stderr
