"""What storing frozen features in bfloat16 costs in accuracy: the same heads, several seeds.

    python benchmarks/feature_dtype.py [--model efficientnet-lite0] [--data clipart10,fashion-mini]
        [--size 96] [--epochs 5] [--seeds 5] [--limit N]

The features of a data set are computed once for each type and kept, so every further seed is cheap.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch
from common import machine, spread

import zoo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet-lite0")
    parser.add_argument("--data", default="clipart10,fashion-mini")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=None)
    args = parser.parse_args()
    print(machine(), f"{torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ZOO_CACHE"] = str(Path(scratch) / "cache")
        for data in args.data.split(","):
            scores: dict[str, list[float]] = {"fp32": [], "bf16": []}
            losses: dict[str, list[float]] = {"fp32": [], "bf16": []}
            for seed in range(args.seeds):
                for dtype in scores:
                    result = zoo.run(
                        model=args.model, data=data, img_size=args.size, epochs=0, seed=seed,
                        freeze_epochs=args.epochs, feature_dtype=dtype,
                        runs=str(Path(scratch) / "runs"),
                        **({} if args.limit is None else {"limit": args.limit}),
                    )  # fmt: skip
                    assert result.test_accuracy is not None
                    assert result.test_loss is not None
                    scores[dtype].append(result.test_accuracy)
                    losses[dtype].append(result.test_loss)
            print(f"{args.model}, {data}, {args.size} pixels, {args.epochs} epochs")
            for dtype in scores:
                print(f"  {dtype}: test accuracy {spread(scores[dtype], digits=4)}, "
                      f"loss {spread(losses[dtype], digits=4)}")  # fmt: skip
            apart = [b - a for a, b in zip(scores["fp32"], scores["bf16"], strict=True)]
            print(f"  accuracy, bf16 - fp32, seed by seed: mean {statistics.mean(apart):+.4f} "
                  f"({min(apart):+.4f} to {max(apart):+.4f})")  # fmt: skip


if __name__ == "__main__":
    main()
