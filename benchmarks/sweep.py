"""A sweep of losses, learning rates and weight decays of the head against one frozen phase.

    python benchmarks/sweep.py [--model mobilenetv3] [--size 64] [--runs 3] [--jobs 1,2]

Whole commands in turn, each with a cache that is empty but for compiled code: a run, then sweeps of
twenty (five learning rates, two losses, two weight decays), one for each number of jobs. The first
run of a sweep pays for the features and the others find them. The start of the command is taken off
a sweep's time: it is what the single run's command takes before and after the run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from common import empty_cache, machine, spread

GRID = ("--grid", "loss=ce,focal", "--grid", "lr=1e-4,3e-4,1e-3,3e-3,1e-2",
        "--grid", "weight-decay=0,0.05")  # fmt: skip


def timed(command: str, *flags: str) -> tuple[float, list[Path]]:
    """Returns the seconds that a command takes with an empty cache, and its run folders."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "zoo.cli.main", command, *flags], check=True,
            stdout=subprocess.DEVNULL, env={**os.environ, "ZOO_CACHE": empty_cache(cache)},
        )  # fmt: skip
        seconds = time.perf_counter() - began
    runs = Path(flags[flags.index("--runs") + 1])
    return seconds, [file.parent for file in runs.rglob("summary.json")]


def phase_seconds(run: Path) -> float:
    """Returns how long the epochs of a run took, the features included."""
    rows = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(sum(json.loads(row)["seconds"] for row in rows))


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", default="1,2", help="at once: one sweep for each of these")
    asked = parser.parse_args(args)
    jobs = [int(count) for count in asked.jobs.split(",")]
    flags = ("--model", asked.model, "--data", asked.data, "--img-size", str(asked.size),
             "--epochs", "0", "--freeze-epochs", str(asked.epochs))  # fmt: skip
    print(machine(), f"{torch.get_num_threads()} threads")
    phases: list[float] = []
    commands: list[float] = []
    sweeps: dict[int, list[float]] = {count: [] for count in jobs}
    for _ in range(asked.runs):
        with tempfile.TemporaryDirectory() as runs:
            seconds, (run,) = timed("run", *flags, "--runs", runs)
            commands.append(seconds)
            phases.append(phase_seconds(run))
            summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
            start = seconds - float(summary["seconds"])
        for count in jobs:
            with tempfile.TemporaryDirectory() as runs:
                seconds, made = timed("sweep", *flags, *GRID, "--jobs", str(count), "--runs", runs)
                assert len(made) == 20, made
                sweeps[count].append(seconds - start)
    print(f"{asked.model}, {asked.data}, {asked.size} pixels, {asked.epochs} frozen epochs")
    print(f"  one run's frozen phase     {spread(phases, ' s')}")
    print(f"  zoo run as a whole         {spread(commands, ' s')}")
    for count, seconds_of in sweeps.items():
        ratios = [sweep / phase for sweep, phase in zip(seconds_of, phases, strict=True)]
        print(f"  a sweep of 20, {count} at once   {spread(seconds_of, ' s')}")
        print(f"  over the frozen phase      {spread(ratios)}")


if __name__ == "__main__":
    main()
