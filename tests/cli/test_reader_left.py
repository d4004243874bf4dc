"""Commands that change something go on when their reader leaves, and keep their exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import zoo

ROOT = Path(__file__).parents[2]


def unread(*args):
    """Returns how a command ends whose output nobody reads."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(
            [sys.executable, "-m", "zoo.cli.main", *map(str, args)], stdout=write,
            stderr=subprocess.PIPE, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    finally:
        os.close(write)


@pytest.fixture
def damaged(tmp_path):
    """A folder of images, three of which are none."""
    for number, label in enumerate("aabb"):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        side = 16 + number
        Image.new("RGB", (side, side), (number * 60, 9, 9)).save(
            tmp_path / "data" / label / f"{number}.png"
        )
    for number in range(3):
        (tmp_path / "data" / "a" / f"bad{number}.png").write_bytes(b"none %d" % number)
    return tmp_path / "data"


def test_all_files_are_moved_and_moved_back(damaged):
    done = unread("data", "check", damaged, "--fix", "quarantine")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (damaged / "a").iterdir()) == ["0.png", "1.png"]
    back = unread("data", "check", damaged, "--restore", f"{damaged}-quarantine")
    assert (back.returncode, len(list((damaged / "a").iterdir()))) == (0, 5)


def test_what_was_checked_is_the_exit_code(damaged, zoo_command):
    told = zoo_command("data", "check", damaged, "--strict").code
    assert unread("data", "check", damaged, "--strict").returncode == told != 0


def test_checkpoints_are_removed(shapes_folder, tmp_path):
    run = zoo.run(
        data=str(shapes_folder), model="lenet", img_size=16, epochs=1, batch_size=8, threads=1,
        runs=str(tmp_path / "runs"),
    ).path  # fmt: skip
    assert list((run / "checkpoints").iterdir())
    done = unread("runs", "prune", "--keep-best", "--yes", "--runs", tmp_path / "runs")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (run / "checkpoints").exists()
