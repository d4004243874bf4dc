"""How long ``zoo runs`` takes over 1,000 runs: whole processes, and the listing alone.

python benchmarks/runs_listing.py [--runs 5] [--folders 1000] [--epochs 30]

The run folders are written as a run leaves them, weights and tensors of a few bytes: their size
does not matter, since only their lengths are looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from common import alternate, machine, seconds_of, spread

from zoo.api import list_runs
from zoo.config import RunConfig

ZOO = [sys.executable, "-m", "zoo.cli.main"]


def write_run(path: Path, *, number: int, epochs: int) -> None:
    """Writes a run folder with ten classes and two checkpoints."""
    for folder in ("best", "checkpoints/step-00000007", "checkpoints/step-00000014"):
        (path / folder).mkdir(parents=True)
    config = RunConfig(
        name=path.name, epochs=epochs, freeze_epochs=0, lr=0.001 * (1 + number % 7), img_size=64
    )
    (path / "config.toml").write_text(config.to_toml())
    component = {"spec": "classics/efficientnet-lite0", "package": "classifier-zoo 0.1.0"}
    (path / "environment.json").write_text(json.dumps({
        "packages": {"classifier-zoo": "0.1.0", "torch": "2.14.1"},
        "components": {"model": component, "loss": component, "optimizer": component},
        "data": {"name": "fashion-mini", "classes": [f"class-{k}" for k in range(10)]},
    }, indent=2))  # fmt: skip
    rows = [
        {
            "phase": "finetune", "epoch": epoch, "lr": 0.003, "train_loss": 1.3170088417828083,
            "train_accuracy": 0.52, "val_loss": 0.7597759515047073 + epoch / 100,
            "val_accuracy": 0.7 + number % 100 / 500, "seconds": 2.056744324,
            "images_per_second": 200.23456448020335, "best": epoch == 1,
        }
        for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "log.txt").write_text("said\n")
    (path / "summary.json").write_text(json.dumps({
        "best_epoch": 1, "best_score": 0.7 + number % 100 / 500, "monitor": "val_accuracy",
        "test_accuracy": 0.7, "test_loss": 0.85, "num_test": 400, "seconds": 7.5,
    }))  # fmt: skip
    for name in ("best/model.safetensors", "best/model.json"):
        (path / name).write_bytes(b"x")
    for step in (path / "checkpoints").iterdir():
        for name in ("model.safetensors", "state.safetensors", "state.json", "MANIFEST.json"):
            (step / name).write_bytes(b"x")


def listed(folder: Path, count: int, clock: Callable[[], float]) -> float:
    """Returns the seconds of a listing in this process."""
    began = clock()
    found = list_runs(folder, where=["val_accuracy>0.8"], sort="val_loss")
    seconds = clock() - began
    if not 0 < len(found) < count:
        raise SystemExit("the condition does not choose some of the runs")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(args.folders):
            write_run(folder / f"run-{number:04d}", number=number, epochs=args.epochs)
        command = [
            *ZOO,
            "runs",
            "--runs",
            name,
            "--where",
            "val_accuracy>0.8",
            "--sort",
            "val_loss",
        ]
        seconds_of(command)  # warm the file cache
        whole, inner, processor, bare = alternate(
            args.runs, partial(seconds_of, command),
            partial(listed, folder, args.folders, time.perf_counter),
            partial(listed, folder, args.folders, time.process_time),
            partial(seconds_of, [*ZOO, "--version"]),
        )  # fmt: skip
    print(machine())
    print(f"{args.folders:,} runs of {args.epochs} epochs, filtered and sorted")
    print(f"zoo runs, whole process       {spread(whole, ' s')}")
    print(f"the listing in one process    {spread(inner, ' s')}")
    print(f"its processor time            {spread(processor, ' s')}")
    print(f"zoo --version, for comparison {spread(bare, ' s')}")


if __name__ == "__main__":
    main()
