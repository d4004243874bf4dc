"""What the command line tells GNU's OpenMP before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from zoo.cli.patience import others_compute, wait_patiently

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is Linux's")


@pytest.mark.parametrize(("busy", "looks"), [(True, "1000"), (False, "10000")])
def test_threads_sleep_sooner_beside_others(busy, looks):
    environ = {"HOME": "/"}
    wait_patiently(environ, busy=lambda: busy)
    assert environ == {"HOME": "/", "GOMP_SPINCOUNT": looks}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_has_said_stays(name):
    environ = {name: "active"}
    wait_patiently(environ, busy=lambda: True)
    assert environ == {name: "active"}


@pytest.mark.parametrize(
    ("status", "others"),
    [
        ("0.50 0.40 0.30 1/200 4242", False), ("0.00 0.00 0.00 3/200 4242", True),
        ("9.00 9.00 9.00 1/200 4242", False), ("nonsense", False), ("", False),
    ],
)  # fmt: skip
def test_others_are_seen_in_what_runs_now(tmp_path, status, others):
    (tmp_path / "loadavg").write_text(status)
    assert others_compute(tmp_path / "loadavg") is others
    assert others_compute(tmp_path / "missing") is False


def test_a_process_that_computes_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            time.sleep(0.3)
            assert sum(others_compute() for _ in range(20)) >= 15
        finally:
            other.kill()


def test_openmp_is_told_by_the_command_before_torch_is_there():
    code = (
        "import sys; from zoo.cli.main import main; assert not main(['--version']); "
        "import os; assert 'torch' not in sys.modules; print(os.environ['GOMP_SPINCOUNT'])"
    )
    environ = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines()[-1] in ("1000", "10000")
    environ["OMP_DISPLAY_ENV"] = "VERBOSE"
    loaded = subprocess.run(
        [sys.executable, "-c", code + "; import torch"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    looks = loaded.stdout.splitlines()[-1]
    assert f"GOMP_SPINCOUNT = '{looks}'" in loaded.stderr, "what torch's OpenMP has read"
