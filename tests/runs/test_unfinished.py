"""Files and folders in the making: who is alive keeps them, and nothing else is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from zoo.unfinished import part_file, part_folder, remove_abandoned

DAY = 24 * 3600


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def older(path, seconds):
    for one in (path, *path.rglob("*")):
        os.utime(one, (time.time() - seconds,) * 2)


def test_a_file_becomes_another_or_goes(tmp_path):
    (tmp_path / "a").write_text("before")
    with part_file(tmp_path, prefix="a.") as part:
        part.file.write(b"whole")
        assert len(names(tmp_path)) == 2
        remove_abandoned(tmp_path, "*.part")
        assert part.path.exists()
        part.become(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), part_file(tmp_path, prefix="a."):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_folder_goes_and_what_links_in_it_lead_to_stays(tmp_path):
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "thesis").write_text("years")
    with part_folder(tmp_path, prefix=".x-", suffix="-y") as folder:
        (folder / "link").symlink_to(mine)
        (folder / "full" / "inner").mkdir(parents=True)
        (folder / "full" / "link").symlink_to(mine)
        (tmp_path / ".x-01234567-y").symlink_to(mine)
        remove_abandoned(tmp_path, ".x-????????-y")
        assert names(folder) == ["full", "link", "lock"]
    assert names(tmp_path) == [".x-01234567-y", "mine"]
    assert (mine / "thesis").read_text() == "years"


MAKING = """
    import sys, time
    from pathlib import Path
    from zoo.unfinished import part_file, part_folder

    with part_file(Path(sys.argv[1])), part_folder(Path(sys.argv[1]), prefix=".x-"):
        print("begun", flush=True)
        time.sleep(600)  # until it is killed
"""


def test_a_process_keeps_what_it_makes_for_as_long_as_it_lives(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MAKING), tmp_path], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == b"begun\n"
        older(tmp_path, 9 * DAY)
        for pattern in ("*.part", ".x-*"):
            remove_abandoned(tmp_path, pattern)
        assert len(names(tmp_path)) == 2
        process.kill()
    for pattern in ("*.part", ".x-*"):
        remove_abandoned(tmp_path, pattern)
    assert names(tmp_path) == []


def test_one_that_is_to_be_settled_stays_where_that_fails(tmp_path):
    def settle(path):
        raise OSError(errno.EIO, "an error")

    with pytest.raises(OSError, match="an error"), part_folder(tmp_path, prefix="x", settle=settle):
        pass
    with pytest.raises(OSError, match="an error"):
        remove_abandoned(tmp_path, "x*", settle=settle)
    assert len(names(tmp_path)) == 1
    settled = []
    remove_abandoned(tmp_path, "x*", settle=lambda path: settled.append(names(path)))
    assert settled == [["lock"]]
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EACCES])
def test_where_there_are_no_locks_age_tells(tmp_path, monkeypatch, number):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fails)
    with part_file(tmp_path) as part, part_folder(tmp_path, prefix=".x-") as folder:
        (folder / "inner").mkdir()
        for pattern in ("*.part", ".x-*"):
            remove_abandoned(tmp_path, pattern)
        assert names(tmp_path) == sorted([folder.name, part.path.name])
        older(tmp_path, 2 * DAY)
        (folder / "inner" / "new").touch()
        for pattern in ("*.part", ".x-*"):
            remove_abandoned(tmp_path, pattern)
        assert names(tmp_path) == [folder.name], "something in it has just changed"


@pytest.mark.parametrize("make", [part_file, part_folder])
def test_one_that_looked_abandoned_before_it_was_locked_is_made_anew(tmp_path, monkeypatch, make):
    real, taken = fcntl.flock, []

    def slow(descriptor, operation):
        """Has another process clean up just before the first lock is taken."""
        if not taken:
            taken.append(names(tmp_path))
            remove_abandoned(tmp_path, "x*")
            assert names(tmp_path) == []
        real(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", slow)
    with make(tmp_path, prefix="x"):
        assert len(names(tmp_path)) == 1
        assert names(tmp_path) != taken[0]
        remove_abandoned(tmp_path, "x*")
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []
