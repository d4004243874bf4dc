"""The end of a process that has loaded torch: nothing that was to happen then is left out."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

BEGIN = """
import atexit, sys, types
from zoo.leaving import leave

class Taken:
    def __del__(self):
        print("taken apart")

sys.modules["torch"] = types.ModuleType("torch")
sys.modules["kept"] = Taken()
atexit.register(print, "registered")
sys.stdout.write("not written yet, ")
"""


def ended(code):
    return subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_nothing_is_taken_apart_and_all_else_is_done():
    done = ended("raise SystemExit(leave(3))")
    assert (done.returncode, done.stdout, done.stderr) == (3, "not written yet, registered\n", "")


@pytest.mark.parametrize(
    "before",
    [
        "del sys.modules['torch']",
        "sys.settrace(lambda *call: None)",
        "sys.setprofile(lambda *call: None)",
        "import os; os.environ['WORLD_SIZE'] = '2'",
        "import threading, time; threading.Thread(target=time.sleep, args=(0.3,)).start()",
    ],
)
def test_what_needs_the_ordinary_end_has_it(before):
    done = ended(f"{before}\nraise SystemExit(leave(3))")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.split("\n")[:2] == ["not written yet, registered", "taken apart"]


def test_what_other_threads_print_is_waited_for():
    done = ended("""
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.3), print("from a thread"))).start()
        raise SystemExit(leave(0))
    """)
    assert "from a thread" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_no_success():
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + "raise SystemExit(leave(0))"], stdout=full,
            stderr=subprocess.PIPE, text=True, check=False, env=buffered,
        )  # fmt: skip
    assert done.returncode == 120  # Python's own
    assert "No space left" in done.stderr
