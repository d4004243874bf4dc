"""The time of an optimizer step on a CPU: torch's own choice, foreach and fused, alternating.

python benchmarks/optimizers.py [--model mobilenetv3] [--runs 15]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from common import alternate, machine, spread

from zoo.registry import Registry, build, parse_choice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    choice = parse_choice(Registry.installed(), "model", args.model)
    model = build(choice, num_classes=10, channels=3, image_size=64)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    print(machine(), f"{torch.get_num_threads()} threads, {args.model}")
    for name, kind in (("AdamW", torch.optim.AdamW), ("SGD", torch.optim.SGD)):
        more = {"momentum": 0.9} if name == "SGD" else {}
        steps = []
        for way in ({}, {"foreach": True}, {"fused": True}):
            optimizer = kind(model.parameters(), lr=1e-6, **more, **way)

            def step(optimizer: torch.optim.Optimizer = optimizer) -> float:
                start = time.perf_counter()
                for _ in range(5):
                    optimizer.step()
                return (time.perf_counter() - start) / 5 * 1000

            step()
            steps.append(step)
        own, foreach, fused = alternate(args.runs, *steps)
        ratio = statistics.median(a / b for a, b in zip(fused, own, strict=True))
        print(f"{name:6} own {spread(own)} ms, foreach {spread(foreach)} ms, "
              f"fused {spread(fused)} ms, fused / own {ratio:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
