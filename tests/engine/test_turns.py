"""Processes that ask for the same frozen features at once: one computes them, the others wait."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import zoo
from zoo.engine.events import Observer
from zoo.engine.features.turns import in_turn
from zoo.errors import MachineError
from zoo.runs.folder import RunFolder

OPTIONS = {
    "model": "mlp-mnist", "img_size": 16, "freeze_epochs": 1, "epochs": 0, "workers": 0,
    "batch_size": 8, "threads": 1,
}  # fmt: skip

HELD = """
import sys, time
from pathlib import Path
import zoo
from zoo.engine.events import Observer

class Slow(Observer):
    def preparing(self, what, done, total):
        if what.startswith("frozen features"):
            Path("computing").touch()
            while not Path("go").exists():
                time.sleep(0.01)

zoo.run(data=sys.argv[1], runs="held", observer=Slow(), **{options})
"""


class Waiting(Observer):
    """Does something when it hears that another process computes."""

    def __init__(self, do):
        self.heard, self._do = [], do

    def preparing(self, what, done, total):
        if "another process computes them" in what:
            self.heard.append(what)
            self._do()


@pytest.fixture
def held(request, shapes_folder, tmp_path):
    """A process that computes features and stops until a file says that it may go on."""
    code = HELD.replace("{options}", repr({**OPTIONS, **getattr(request, "param", {})}))
    process = subprocess.Popen([sys.executable, "-c", code, str(shapes_folder)], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "computing").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def train(data, tmp_path, observer, **options):
    return zoo.run(
        data=str(data), runs=str(tmp_path / "runs"), observer=observer, **OPTIONS, **options
    )  # fmt: skip


def left():
    return list((Path(os.environ["ZOO_CACHE"]) / "features").glob(".tmp-turn-*"))


def test_who_waits_finds_what_the_other_process_computed(shapes_folder, tmp_path, held, passes):
    ours = Waiting((tmp_path / "go").touch)
    result = train(shapes_folder, tmp_path, ours)
    assert held.wait(120) == 0
    assert ours.heard[0].startswith("frozen features, train, val: ")
    assert sum(passes) <= 8, "none but those of the test split, which both ask for at their end"
    [other] = (tmp_path / "held").iterdir()
    weights = [folder / "best/model.safetensors" for folder in (other, result.path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not left()


@pytest.mark.parametrize("held", [{"fold": "1/4"}], indirect=True)
def test_the_folds_of_a_data_set_ask_for_the_same(shapes_folder, tmp_path, held, passes):
    ours = Waiting((tmp_path / "go").touch)
    train(shapes_folder, tmp_path, ours, fold="3/4")
    assert ours.heard
    assert held.wait(120) == 0
    assert sum(passes) <= 8, "none but those of the test split"


def test_who_waits_for_a_process_that_is_killed_computes_by_itself(
    shapes_folder, tmp_path, held, passes
):
    train(shapes_folder, tmp_path, Waiting(held.kill))
    sizes = {name: len(list((shapes_folder / name).rglob("*.png"))) for name in ("train", "val")}
    assert passes[:2] == list(sizes.values())
    assert not left()


def test_a_signal_ends_the_wait_and_the_other_process_goes_on(shapes_folder, tmp_path, held):
    class Stopped(Exception):
        pass

    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        train(shapes_folder, tmp_path, Waiting(stop))
    assert left()  # it is still computing
    (tmp_path / "go").touch()
    assert held.wait(120) == 0
    assert not left()


def test_blocks_of_one_path_follow_each_other_and_those_of_two_do_not(tmp_path):
    inside, most, done = [], [], []

    def work(name):
        with in_turn(tmp_path / name, waiting=lambda: None):
            inside.append(name)
            most.append(tuple(inside))
            time.sleep(0.03)
            inside.remove(name)
            done.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "aaabbb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list("aaabbb")
    assert max(names.count(name) for names in most for name in "ab") == 1
    assert any(len(names) == 2 for names in most)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_nobody_waits(tmp_path):
    (tmp_path / "file").touch()
    with in_turn(tmp_path / "file" / "turn", waiting=pytest.fail):
        pass


def test_where_a_lock_fails_nobody_waits(tmp_path, monkeypatch):
    def fails(descriptor, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", fails)
    with in_turn(tmp_path / "turn", waiting=pytest.fail):
        pass
    folder = RunFolder.create(tmp_path, name="run", stem="run")
    with pytest.raises(MachineError, match="reports an input/output error"), folder.owned():
        pass


def test_an_error_in_the_block_ends_the_turn(tmp_path):
    with pytest.raises(ValueError, match="inside"), in_turn(tmp_path / "turn", waiting=pytest.fail):
        raise ValueError("inside")
    with in_turn(tmp_path / "turn", waiting=pytest.fail):
        pass
