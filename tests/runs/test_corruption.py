"""The benchmark of damaged files, in small: nothing damaged is loaded without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def corruption(*args):
    search = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "corruption.py", "--json", *args],
        capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": search},
    )  # fmt: skip
    return ended.returncode, json.loads(ended.stdout) if ended.stdout else ended.stderr


@pytest.mark.parametrize(
    "trials", [270, pytest.param(10_000, marks=pytest.mark.slow, id="the whole proof")]
)
def test_nothing_damaged_is_loaded_silently(trials):
    code, result = corruption("--trials", str(trials), "--seed", "1")
    assert code == 0, result
    total = result["total"]
    assert total.get("silent", 0) == total.get("fall-back lost", 0) == result["false alarms"] == 0
    assert total["refused"] > 0.98 * trials
    assert len(result["by kind"]) == 9
    assert all(kind["refused"] > 0.9 * trials / 9 for kind in result["by kind"].values())
