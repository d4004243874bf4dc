"""Resident memory of a run, epoch by epoch. Linux only.

Trains on 28-pixel PNG files (the embedded Fashion-MNIST images, linked as often as it takes) once
with the images held in memory and once decoding them in every epoch. The run is a process of its
own that is watched from outside, 20 times a second.

    python benchmarks/memory.py [--images 100000] [--epochs 5] [--folder DIR]
    python benchmarks/memory.py --images 200 --epochs 8 --model resnet50 --size 64 --batch 64
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import as_folder, machine, python

MIB = 2**20


def many_files(folder: Path, count: int) -> Path:
    """Returns an image folder with ``count`` training images: hard links to 6,000 files."""
    target = folder / f"linked-{count}"
    if target.is_dir():
        return target
    source = as_folder("fashion-mini", folder / "png")
    building = folder / f"building-{os.getpid()}"
    shutil.copytree(source / "val", building / "val", copy_function=os.link)
    files = sorted((source / "train").glob("*/*.png"))
    step = max(1, len(files) // count)  # some of each class, if few
    for index in range(count):
        file = files[index * step % len(files)]
        place = building / "train" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        os.link(file, place / f"{index}.png")
    building.rename(target)
    return target


def watch(
    data: Path, *, model: str, size: int, batch: int, epochs: int, ram: int, runs: Path
) -> list[tuple[float, float]]:
    """Returns (peak, end) resident memory in MiB of every epoch, start-up in the first."""
    command = [
        python(), "-m", "zoo.cli.main", "run", "--data", str(data), "--model", model,
        "--weights", "none", "--channels", "1", "--img-size", str(size), "--freeze-epochs", "0",
        "--epochs", str(epochs), "--batch-size", str(batch), "--threads", "1", "--ram", str(ram),
        "--runs", str(runs), "--name", "memory",
    ]  # fmt: skip
    page = os.sysconf("SC_PAGE_SIZE")
    rows_file = runs / "memory" / "metrics.jsonl"
    found: list[tuple[float, float]] = []
    peak = 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page / MIB
        peak = max(peak, resident)
        rows = rows_file.read_text().count("\n") if rows_file.exists() else 0
        if rows > len(found):
            found.append((peak, resident))
            peak = 0.0
        time.sleep(0.05)
    if process.returncode or len(found) < epochs:
        raise SystemExit(f"the run ended with {process.returncode} after {len(found)} epochs")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--size", type=int, default=28)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "zoo-pipeline")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    data = many_files(args.folder, args.images)
    print(machine())
    print(
        f"{args.model}, {args.images:,} training images of {args.size} pixels, grey, "
        f"batch {args.batch}, one thread"
    )
    print("Peak resident memory, MiB:")
    print(
        "| images | "
        + " | ".join(f"epoch {1 + n}" for n in range(args.epochs))
        + " | growth after the first |"
    )
    print("| --- |" + " --- |" * (args.epochs + 1))
    for label, ram in (("held in memory", 4096), ("decoded in every epoch", 0)):
        with tempfile.TemporaryDirectory(dir=args.folder) as runs:
            start = time.perf_counter()
            found = watch(
                data, model=args.model, size=args.size, batch=args.batch, epochs=args.epochs,
                ram=ram, runs=Path(runs),
            )  # fmt: skip
        peaks = [peak for peak, _ in found]
        cells = " | ".join(f"{peak:.0f}" for peak in peaks)
        growth = max(peaks[1:]) - peaks[1]  # after the first epoch, from one to the next
        print(f"| {label}, {time.perf_counter() - start:.0f} s | {cells} | {growth:+.1f} MiB |")


if __name__ == "__main__":
    main()
