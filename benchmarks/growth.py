"""How the frozen phase grows: with the number of images, and with the number of classes.

Noise images of 28 pixels (no two alike, so nothing is computed once for several), five epochs of
the head, an empty cache. Every run is a process of its own.

    python benchmarks/growth.py [--model mobilenetv3] [--size 64] [--runs 1] [--plot growth.png]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from common import machine, python, spread

IMAGES = (1_000, 5_000, 10_000, 25_000, 50_000)
CLASSES = (10, 100, 1_000)
EVALUATED = 1_000


def write(path: Path, *, images: int, classes: int) -> None:
    """Writes a data set of noise as arrays."""
    generator = np.random.default_rng(0)
    parts = {}
    for split, count in (("train", images), ("val", EVALUATED)):
        parts[f"x_{split}"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        parts[f"y_{split}"] = np.arange(count) % classes
    np.savez(path, **parts)


def measure(data: Path, *, model: str, size: int, folder: Path) -> dict[str, float]:
    """Trains the head for five epochs; seconds of the phase and of the process, peak MiB."""
    command = [
        python(), "-m", "zoo.cli.main", "run", "--model", model, "--weights", "none",
        "--data", str(data), "--img-size", str(size), "--freeze-epochs", "5", "--epochs", "0",
        "--runs", str(folder), "--json",
    ]  # fmt: skip
    began, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command, stdout=out, env={**os.environ, "ZOO_CACHE": str(folder / "cache")}
        )
        page = os.sysconf("SC_PAGE_SIZE")
        while process.poll() is None:
            resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            peak = max(peak, resident * page / 2**20)
            time.sleep(0.1)
        out.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        rows = json.loads(out.read())["rows"]
    return {
        "phase": sum(row["seconds"] for row in rows), "first": rows[0]["seconds"],
        "process": time.perf_counter() - began, "peak": peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    print(machine())
    print(f"{args.model}, {args.size} pixels, 5 frozen epochs, {EVALUATED:,} validation images\n")
    print("| images | classes | freeze phase, s | an image, ms | process, s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    cases = [(count, 10) for count in IMAGES] + [(10_000, count) for count in CLASSES[1:]]
    found: dict[tuple[int, int], list[dict[str, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as scratch:
        for images, classes in cases:
            write(Path(scratch) / f"{images}-{classes}.npz", images=images, classes=classes)
        for number in range(args.runs):
            for images, classes in cases:
                folder = Path(scratch) / f"run-{images}-{classes}-{number}"
                found[images, classes].append(
                    measure(Path(scratch) / f"{images}-{classes}.npz", model=args.model,
                            size=args.size, folder=folder)
                )  # fmt: skip
    for (images, classes), rows in found.items():
        phase = [row["phase"] for row in rows]
        each = [1000 * value / (images + EVALUATED) for value in phase]
        print(f"| {images:,} | {classes:,} | {spread(phase)} | {spread(each)} | "
              f"{spread([row['process'] for row in rows])} | "
              f"{spread([row['peak'] for row in rows], digits=4)} |")  # fmt: skip
    if args.plot:
        draw(args.plot, found)


def draw(path: Path, found: dict[tuple[int, int], list[dict[str, float]]]) -> None:
    """Draws the seconds of the phase against the number of images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    counts = [images for images, classes in found if classes == 10]
    middle = [float(np.median([row["phase"] for row in found[count, 10]])) for count in counts]
    axes.plot(counts, middle, marker="o", color="#2563a8", label="10 classes")
    for classes, mark in zip(CLASSES[1:], ("s", "^"), strict=True):
        value = float(np.median([row["phase"] for row in found[10_000, classes]]))
        axes.plot([10_000], [value], mark, color="#c2410c", label=f"{classes:,} classes")
    axes.set(xlabel="training images", ylabel="seconds of 5 frozen epochs", xlim=0, ylim=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
