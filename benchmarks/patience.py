"""A training step alone, beside another one, and beside a loop: how long threads wait awake.

    python benchmarks/patience.py [--model mobilenetv3_large_100] [--size 64] [--batch 64]

Each measurement is a process of its own with GOMP_SPINCOUNT set; a number that is missing leaves
what GNU's OpenMP does by itself. Milliseconds of a step, medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from common import machine

LOOKS = (None, 100_000, 30_000, 10_000, 3_000, 1_000)
PAIRS = ((None, None), (10_000, 10_000), (3_000, 3_000), (1_000, 1_000), (10_000, 1_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3_large_100")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child:
        print(step(args))
        return
    print(machine())
    print(f"{args.model}, {args.size} pixels, batch {args.batch}, milliseconds a step")
    for _ in range(2):
        for looks in LOOKS:
            print(f"  alone, {told(looks)}: {finished(child(args, looks)):.0f}", flush=True)
    for pair in PAIRS:
        both = [child(args, looks, steps=4) for looks in pair]
        words = " and ".join(f"{told(looks)}: {finished(one):.0f}" for looks, one in
                             zip(pair, both, strict=True))  # fmt: skip
        print(f"  two at once, {words}", flush=True)
    for looks in LOOKS:
        with busy_loop():
            found = finished(child(args, looks, steps=6))
        print(f"  beside a loop in one thread, {told(looks)}: {found:.0f}", flush=True)


def told(looks: int | None) -> str:
    return "by itself" if looks is None else f"{looks:,} looks"


def child(args: Any, looks: int | None, *, steps: int | None = None) -> subprocess.Popen[str]:
    """Starts a process that measures."""
    environ = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    if looks is not None:
        environ["GOMP_SPINCOUNT"] = str(looks)
    options: Sequence[object] = (
        "--model", args.model, "--size", args.size, "--batch", args.batch,
        "--steps", steps or args.steps,
    )  # fmt: skip
    command = [sys.executable, __file__, "--child", *map(str, options)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> float:
    """Returns what a child has measured."""
    output, _ = process.communicate()
    return float(output.split()[-1])


@contextmanager
def busy_loop() -> Any:
    """Computes in another process, one thread, as long as the block lasts."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            yield
        finally:
            other.kill()


def step(args: Any) -> float:
    """Returns the median milliseconds of a training step as zoo makes it, held batch norms."""
    import timm
    import torch
    from torch.nn import functional

    from zoo.engine.allocator import freed_memory_kept
    from zoo.network.fast import accelerate, fuse
    from zoo.network.freeze import set_modes

    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, args.size, args.size)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (args.batch,))
    model = timm.create_model(args.model, num_classes=10).to(memory_format=torch.channels_last)
    accelerate(model)
    set_modes(model, ("",), hold_statistics=True)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    seconds = []
    with freed_memory_kept():
        fuse(model, images[:2], held=True)
        for _ in range(args.steps + 2):
            began = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:]) * 1e3


if __name__ == "__main__":
    main()
