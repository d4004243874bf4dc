"""How long ``zoo report`` takes for 10 classes and 10,000 test images, and how large its page is.

python benchmarks/report.py [--images 10000] [--runs 5] [--folder DIR]

The images are JPEGs of 256 x 192 pixels, stripes in ten directions under noise. A network is
trained on 500 of them and asked once; then whole processes are measured, each of which finds the
predictions that are kept and writes page, plots and card: 14 metrics with intervals, heat maps,
some 70 pictures. The aim is a page under 5 MB in under 15 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path

from common import machine, python, seconds_of, spread

CLASSES = 10
WIDTH, HEIGHT = 256, 192


def build(folder: Path, num_test: int) -> None:
    """Writes 500, 200 and ``num_test`` images."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    y_HW, x_HW = np.mgrid[:HEIGHT, :WIDTH]
    for split, count in (("train", 500), ("val", 200), ("test", num_test)):
        for index in range(count):
            label = index % CLASSES
            turned_HW = x_HW * np.cos(label * np.pi / 10) + y_HW * np.sin(label * np.pi / 10)
            stripes_HW = 128 + 60 * np.sin(turned_HW / random.uniform(4, 20))
            noise_HW3 = random.normal(0, 40, (HEIGHT, WIDTH, 3))
            pixels_HW3 = np.clip(stripes_HW[..., None] + noise_HW3, 0, 255).astype(np.uint8)
            target = folder / split / f"class-{label}"
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_HW3).save(target / f"{index}.jpg", quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(machine())
    folder = options.folder or Path(tempfile.mkdtemp())
    data, run = folder / "data", folder / "runs" / "measured"
    if not (data / "test").is_dir():
        build(data, options.images)
    zoo = [python(), "-m", "zoo.cli.main"]
    if not run.is_dir():
        seconds_of([*zoo, "run", "--data", str(data), "--img-size", "64", "--freeze-epochs", "1",
                    "--epochs", "0", "--runs", str(run.parent), "--name", run.name])  # fmt: skip
    report = [*zoo, "report", str(run), "--json"]
    first = seconds_of(report)
    times = [seconds_of(report) for _ in range(options.runs)]
    told = json.loads(subprocess.run(report, check=True, capture_output=True, text=True).stdout)
    page = Path(told["report"])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{options.images:,} test images, {CLASSES} classes: whole process {spread(times, ' s')}")
    print(f"the first one, which asks the network: {first:.1f} s")
    print(f"page {page.stat().st_size / 1e6:.2f} MB, {len(told['plots'])} plots, "
          f"peak memory of a process {memory:,.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
