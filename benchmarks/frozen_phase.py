"""The frozen phase on kept features against the same phase that runs the whole network each epoch.

    python benchmarks/frozen_phase.py [--model mobilenetv3] [--sizes 64,224] [--epochs 5,20]
        [--limit N] [--runs 3] [--engine auto] [--uncached-epochs 2]

Alternating: a run with an empty cache, one that finds its features there, one with --no-cache.
Times are those of the epochs, validation and the pass over the images included; start-up is the
same for all and left out. The phase without the cache is timed over a few epochs, and an epoch of
it stands for each: they all do the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import torch
from common import machine, spread

import zoo
from zoo.engine.events import Observer


class _Notes(Observer):
    """Prints which engine was chosen, once."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def noted(self, text: str) -> None:
        if "engine" in text and text.split("(")[0] not in self.told:
            self.told.add(text.split("(")[0])
            print(f"  {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--data", default="fashion-mini")
    parser.add_argument("--sizes", default="64,224")
    parser.add_argument("--epochs", default="5,20")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--uncached-epochs", type=int, default=2)
    args = parser.parse_args()
    notes = _Notes()
    print(machine(), f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = str(Path(scratch) / "cache")

        def seconds(size: int, epochs: int, *, empty: bool, cache: bool) -> float:
            if empty:
                shutil.rmtree(Path(scratch) / "cache", ignore_errors=True)
            result = zoo.run(
                {
                    "model": args.model, "data": args.data, "img_size": size, "epochs": 0,
                    "freeze_epochs": epochs, "cache": cache, "engine": args.engine,
                    "batch_size": args.batch_size, "runs": str(Path(scratch) / "runs"),
                    **({} if args.limit is None else {"limit": args.limit}),
                },
                observer=notes,
            )  # fmt: skip
            shutil.rmtree(result.path)
            return sum(row.seconds for row in result.rows)

        for size in (int(text) for text in args.sizes.split(",")):
            counts = [int(text) for text in args.epochs.split(",")]
            uncached: list[float] = []
            first: dict[int, list[float]] = {count: [] for count in counts}
            later: dict[int, list[float]] = {count: [] for count in counts}
            for _ in range(args.runs):
                for count in counts:
                    first[count].append(seconds(size, count, empty=True, cache=True))
                    later[count].append(seconds(size, count, empty=False, cache=True))
                total = seconds(size, args.uncached_epochs, empty=False, cache=False)
                uncached.append(total / args.uncached_epochs)
            print(
                f"{args.model}, {args.data}, {size} pixels, batch {args.batch_size}"
                f"{'' if args.limit is None else f', {args.limit} images of each split at most'}"
            )
            print(f"  an epoch of the whole network  {spread(uncached, ' s')}")
            for count in counts:
                ratios = [count * e / s for e, s in zip(uncached, first[count], strict=True)]
                print(f"  {count} epochs on features          {spread(first[count], ' s')}")
                print(f"  {count} epochs on kept features     {spread(later[count], ' s')}")
                print(f"  {count} epochs, so many times as fast: {spread(ratios)}")


if __name__ == "__main__":
    main()
