"""A sweep of losses, learning rates and weight decays of the head against one frozen phase.

    python benchmarks/sweep.py [--model mobilenetv3] [--size 64] [--runs 3] [--jobs 1,2]

Alternating: one run with an empty cache, then sweeps of twenty with an empty cache, one for each
number of jobs: five learning rates, two losses, two weight decays. The first run of a sweep pays
for the features and the others find them. Processes that jobs start are part of a sweep's time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import machine, spread

import zoo

GRID: dict[str, list[object]] = {
    "loss": ["ce", "focal"],
    "lr": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2],
    "weight_decay": [0.0, 0.05],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--jobs", default="1,2", help="at once: one sweep for each of these")
    args = parser.parse_args()
    jobs = [int(count) for count in args.jobs.split(",")]
    print(machine(), f"{torch.get_num_threads()} threads")
    phases: list[float] = []
    wholes: list[float] = []
    sweeps: dict[int, list[float]] = {count: [] for count in jobs}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = str(Path(scratch) / "cache")
        options: dict[str, Any] = {
            "model": args.model, "data": args.data, "img_size": args.size, "epochs": 0,
            "freeze_epochs": args.epochs, "runs": str(Path(scratch) / "runs"),
            **({} if args.limit is None else {"limit": args.limit}),
        }  # fmt: skip
        zoo.run(options, limit=100, freeze_epochs=1)  # imports are not what is compared
        for _ in range(args.runs):
            shutil.rmtree(Path(scratch) / "cache", ignore_errors=True)
            began = time.perf_counter()
            result = zoo.run(options)
            wholes.append(time.perf_counter() - began)
            phases.append(sum(row.seconds for row in result.rows))
            for count in jobs:
                shutil.rmtree(Path(scratch) / "cache", ignore_errors=True)
                began = time.perf_counter()
                experiment = zoo.sweep(options, grid=GRID, jobs=count)
                sweeps[count].append(time.perf_counter() - began)
                assert all(outcome.result is not None for outcome in experiment.outcomes)
            shutil.rmtree(Path(scratch) / "runs")
    print(f"{args.model}, {args.data}, {args.size} pixels, {args.epochs} frozen epochs")
    print(f"  one run's frozen phase     {spread(phases, ' s')}")
    print(f"  one run as a whole         {spread(wholes, ' s')}")
    for count, seconds in sweeps.items():
        ratios = [sweep / phase for sweep, phase in zip(seconds, phases, strict=True)]
        print(f"  a sweep of 20, {count} at once   {spread(seconds, ' s')}")
        print(f"  over the frozen phase      {spread(ratios)}")


if __name__ == "__main__":
    main()
