"""How long ``zoo data check`` takes over 10,000 photographs of 500 x 375 pixels, and what it finds.

python benchmarks/data_check.py [--images 10000] [--runs 3] [--folder DIR]

The images are random crops of the photographs that scikit-image and scikit-learn bring along
(``pip install scikit-image scikit-learn``), saved as JPEG of quality 90. 20 files are copied within
their class, 20 from training to validation, 20 are saved again at half the size, 20 are cut short:
the check has to name each of them. Prints wall and processor seconds of whole processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import machine, python, spread

NAMES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
PLANTED = 20


def photographs() -> list:
    """Returns the photographs as Pillow images, RGB."""
    import skimage
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    loaded = [Image.open(folder / name).convert("RGB") for name in NAMES]
    return loaded + [Image.fromarray(pixels) for pixels in load_sample_images().images]


def build(folder: Path, count: int) -> None:
    """Writes ``count`` images and the planted faults."""
    import numpy as np
    from PIL import Image

    random, sources = np.random.default_rng(0), photographs()
    for index in range(count):
        photo = sources[index % len(sources)]
        width = int(min(photo.width, photo.height * 4 / 3) * random.uniform(0.4, 1.0))
        height = width * 3 // 4
        left = int(random.integers(0, photo.width - width + 1))
        top = int(random.integers(0, photo.height - height + 1))
        box = (left, top, left + width, top + height)
        image = photo.resize((500, 375), Image.Resampling.BICUBIC, box=box)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        split = "train" if index < count * 0.9 else "val"
        target = folder / split / f"class-{index % len(sources)}"
        target.mkdir(parents=True, exist_ok=True)
        image.save(target / f"{index}.jpg", quality=90)
    chosen = sorted((folder / "train").rglob("*.jpg"))[:: max(1, count // 100)][: 4 * PLANTED]
    copied, leaked, halved, cut = (chosen[part::4] for part in range(4))
    for path in copied:
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    for path in leaked:
        shutil.copy(path, folder / "val" / path.parent.name / f"leak-{path.name}")
    for path in halved:
        small = Image.open(path).resize((250, 187), Image.Resampling.BILINEAR)
        small.save(path.with_name(f"half-{path.name}"), quality=80)
    for path in cut:
        path.write_bytes(path.read_bytes()[:-2000])


def check(folder: Path) -> tuple[float, float, dict]:
    """Returns wall seconds, processor seconds, and the report of ``zoo data check --json``."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [python(), "-m", "zoo.cli.main", "data", "check", str(folder), "--json"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return wall, used, json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "photos"
        if not folder.exists():
            build(folder, args.images)
        results = [check(folder) for _ in range(args.runs)]
    print(machine())
    report = results[0][2]
    print(f"{report['num_images']:,} images, {report['num_bytes'] / 1e6:,.0f} MB")
    print(f"wall       {spread([wall for wall, _, _ in results], ' s')}")
    print(f"processor  {spread([used for _, used, _ in results], ' s')}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"memory     {peak:,.0f} MiB at most")
    findings = report["findings"]
    planted = {"copy-": "duplicate", "leak-": "leak", "half-": "near-duplicate"}
    for prefix, kind in planted.items():
        named = {
            name.rpartition("/")[2]
            for finding in findings if finding["kind"].startswith(kind.partition(" ")[0])
            for name in finding["files"]
        }  # fmt: skip
        num = sum(name.startswith(prefix) for name in named)
        print(f"{kind:15} {num} of {PLANTED} planted")
    print(f"truncated       {sum(f['kind'] == 'truncated' for f in findings)} of {PLANTED} planted")
    groups = [f for f in findings if f["kind"].startswith("near-")]
    print(f"look alike      {len(groups)} groups, {sum(len(f['files']) for f in groups)} images")


if __name__ == "__main__":
    main()
