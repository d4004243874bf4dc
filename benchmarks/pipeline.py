"""Images per second from files to normalised float batches: zoo's pipeline against the usual one.

The usual way is torch's DataLoader with 2 workers over torchvision's ImageFolder with v2.Resize,
CenterCrop, ToImage, ToDtype and Normalize. Each run is a process of its own, A B A B; ratios are
taken pair by pair. The usual way's time is that of its later epochs, when its workers are there.

    pip install scikit-image scikit-learn
    python benchmarks/pipeline.py [--runs 5] [--epochs 3] [--images 1500] [--folder DIR]
                                  [--only jpeg|png] [--ways usual,streamed,held,kept]
    python benchmarks/pipeline.py --difference      what decoding at reduced scale changes
    python benchmarks/pipeline.py --squares         what resizing several images at once saves
    python benchmarks/pipeline.py --plain           what small PNG files without metadata save
    python benchmarks/pipeline.py --normal          bytes to normalised floats, three ways
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import alternate, as_folder, machine, python, spread
from PIL import Image

from zoo.data.pixels import decode
from zoo.data.pixels.decode import open_image
from zoo.data.pixels.normalise import as_floats, as_normalised, normalise_
from zoo.data.pixels.resize import needed_sides, to_bytes, write_squares
from zoo.data.pixels.store import Store
from zoo.data.reading.folder import FileImages
from zoo.engine.allocator import freed_memory_kept
from zoo.protocols import Preprocessing

BATCH, WORKERS = 64, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDES = {"jpeg": 224, "png": 28}
WAYS = ("usual", "streamed", "held", "kept")


def photographs() -> list[Image.Image]:
    """Returns photographs of at least 500 x 375 that scikit-image and scikit-learn ship."""
    import skimage
    import sklearn.datasets

    first = Path(skimage.__file__).parent / "data"
    second = Path(sklearn.datasets.__file__).parent / "images"
    paths = [first / name for name in (
        "astronaut.png", "coffee.png", "rocket.jpg", "motorcycle_left.png",
        "hubble_deep_field.jpg", "ihc.png",
    )]  # fmt: skip
    paths += [second / "china.jpg", second / "flower.jpg"]
    return [Image.open(path).convert("RGB") for path in paths]


def write_jpegs(folder: Path, count: int) -> Path:
    """Writes random pieces of 500 x 375 pixels, a class for each photograph, quality 85 to 95."""
    if len(list(folder.glob("*/*.jpg"))) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    chance, sources = random.Random(0), photographs()
    for index in range(count):
        which = index % len(sources)
        source = sources[which]
        left = chance.randint(0, source.width - 500)
        top = chance.randint(0, source.height - 375)
        target = folder / str(which) / f"{index}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        piece = source.crop((left, top, left + 500, top + 375))
        piece.save(target, "JPEG", quality=chance.randint(85, 95))
    return folder


def seconds_of_epochs(epochs: Iterable[Iterator[Any]], total: int) -> list[float]:
    """Returns how long each epoch takes to be drawn to its end."""
    seconds = []
    for batches in epochs:
        start = time.perf_counter()
        assert sum(len(batch) for batch in batches) == total
        seconds.append(time.perf_counter() - start)
    return seconds


def usual(folder: Path, side: int, epochs: int) -> dict[str, Any]:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([
        v2.Resize(side), v2.CenterCrop(side), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
    ])  # fmt: skip
    data = ImageFolder(str(folder), transform)
    loader = DataLoader(
        data, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )
    seconds = seconds_of_epochs(((x for x, _ in loader) for _ in range(epochs)), len(data))
    return {"opening": 0.0, "epochs": seconds, "images": len(data)}


def ours(
    folder: Path, side: int, epochs: int, *, budget_bytes: int, keep: Path | None
) -> dict[str, Any]:
    paths = sorted(folder.glob("*/*"))
    images = FileImages(root=folder, names=tuple(str(p.relative_to(folder)) for p in paths))
    preprocessing = Preprocessing(image_size=side, mean=MEAN, std=STD)
    start = time.perf_counter()
    store = Store.open(
        images, preprocessing=preprocessing, channels=3, budget_bytes=budget_bytes,
        num_threads=torch.get_num_threads(), keep_decoded=keep,
    )  # fmt: skip
    opening = time.perf_counter() - start

    def epoch(number: int) -> Iterator[torch.Tensor]:
        order = np.random.default_rng(number).permutation(len(images))
        plan = np.array_split(order, len(order) // BATCH)
        for _, bytes_BCSS in store.stream(plan, lambda samples: samples):
            yield as_normalised(bytes_BCSS, MEAN, STD)

    seconds = seconds_of_epochs((epoch(number) for number in range(epochs)), len(images))
    return {"opening": opening, "epochs": seconds, "images": len(images)}


def measure(way: str, folder: Path, side: int, epochs: int) -> dict[str, Any]:
    """Runs one way in this process and returns its times, and processor seconds an image."""
    before = _processor_seconds()
    if way == "usual":
        result = usual(folder, side, epochs)
    elif way == "kept":
        with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
            result = ours(folder, side, epochs, budget_bytes=0, keep=Path(cache))
    else:
        result = ours(folder, side, epochs, budget_bytes=2**40 if way == "held" else 0, keep=None)
    result["processor"] = (_processor_seconds() - before) / epochs / result["images"]
    return result


def _processor_seconds() -> float:
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def in_a_process(way: str, folder: Path, side: int, epochs: int) -> dict[str, Any]:
    command = [python(), __file__, "--one", way, str(folder), str(side), str(epochs)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def compare(name: str, folder: Path, runs: int, epochs: int, ways: Sequence[str]) -> None:
    """Prints the table of one kind of images. The usual way comes first."""
    side = SIDES[name]
    by_way: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(runs):
        for way in ways:
            by_way[way].append(in_a_process(way, folder, side, epochs))
    total = by_way["usual"][0]["images"]
    usual_epoch = [statistics.median(run["epochs"][1:]) for run in by_way["usual"]]
    print(f"\n{name}: {total} images at {side} pixels, batches of {BATCH}, {epochs} epochs a run")
    print("| way | images/s | times the usual | processor ms an image |\n| --- | --- | --- | --- |")

    def row(label: str, seconds: list[float], way: str, count: int = 1) -> None:
        speeds = [count * total / taken for taken in seconds]
        ratios = [count * base / taken for base, taken in zip(usual_epoch, seconds, strict=True)]
        processor = [1000 * run["processor"] for run in by_way[way]]
        print(f"| {label} | {spread(speeds)} | {spread(ratios)} | {spread(processor)} |")

    row("DataLoader, later epochs", usual_epoch, "usual")
    for way in ways[1:]:
        later = [statistics.median(run["epochs"][1:]) for run in by_way[way]]
        first = [run["opening"] + run["epochs"][0] for run in by_way[way]]
        whole = [run["opening"] + sum(run["epochs"]) for run in by_way[way]]
        row(f"zoo, {way}: first epoch, opening included", first, way)
        row(f"zoo, {way}: later epochs", later, way)
        row(f"zoo, {way}: all {epochs}, opening included", whole, way, epochs)


def difference() -> None:
    """Prints how far reduced decoding is from full, in grey levels, on the photographs."""
    print("| image size | photographs reduced | mean difference (range over photographs) |")
    print("| --- | --- | --- |")
    for side in (32, 64, 96, 128):
        preprocessing = Preprocessing(image_size=side)
        sides, found, reduced = needed_sides(preprocessing), [], 0
        for photograph in photographs():
            file = io.BytesIO()
            photograph.save(file, "JPEG", quality=90)
            whole, small = (
                open_image(file.getvalue(), name="", at_least=needed) for needed in (None, sides)
            )
            reduced += small.size != whole.size
            squares = [to_bytes(image, preprocessing, 3).float() for image in (whole, small)]
            found.append((squares[0] - squares[1]).abs().mean().item())
        print(f"| {side} | {reduced} of {len(found)} | {spread(found)} |")


def squares(runs: int) -> None:
    """Times images that become squares one by one, and those of one size together."""
    preprocessing = Preprocessing(image_size=64)
    noise = np.random.default_rng(0)
    print("| image | one by one, us | 16 at once, us | ratio |\n| --- | --- | --- | --- |")
    for side, mode in ((28, "L"), (28, "RGB"), (96, "RGB"), (500, "RGB")):
        shape = (16, side, side) if mode == "L" else (16, side, side, 3)
        images = dict(enumerate(map(Image.fromarray, noise.integers(0, 256, shape, np.uint8))))
        squares_BSSC = np.empty((16, 64, 64, 3), dtype=np.uint8)

        def alone(images: Any = images, squares_BSSC: Any = squares_BSSC) -> float:
            start = time.perf_counter()
            for row, image in images.items():
                write_squares({row: image}, squares_BSSC, preprocessing)
            return 1e6 * (time.perf_counter() - start) / len(images)

        def together(images: Any = images, squares_BSSC: Any = squares_BSSC) -> float:
            start = time.perf_counter()
            write_squares(images, squares_BSSC, preprocessing)
            return 1e6 * (time.perf_counter() - start) / len(images)

        alone(), together()  # warm up
        one, all_ = alternate(20 * runs, alone, together)
        ratios = [a / b for a, b in zip(one, all_, strict=True)]
        print(f"| {side}x{side} {mode} | {spread(one)} | {spread(all_)} | {spread(ratios)} |")


def plain(runs: int) -> None:
    """Times PNG files of noise by Pillow's reader and without it, from memory, microseconds."""
    noise = np.random.default_rng(0)
    print("| image | Pillow's reader, us | without, us | ratio |\n| --- | --- | --- | --- |")
    for side, shape in ((28, (28, 28)), (28, (28, 28, 3)), (64, (64, 64, 3)), (224, (224, 224, 3))):
        # Few grey levels, so that there is something to unpack.
        values = noise.integers(0, 8, (100, *shape), np.uint8) * 32
        files = []
        for pixels in values:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            files.append(file.getvalue())

        def opened(files: Any = files) -> float:
            start = time.perf_counter()
            for content in files:
                open_image(content, name="")
            return 1e6 * (time.perf_counter() - start) / len(files)

        def by_pillow(opened: Any = opened) -> float:
            with patch.object(decode, "plain_png", lambda content, most_pixels: None):
                taken: float = opened()
            return taken

        by_pillow(), opened()  # warm up
        usual, without = alternate(4 * runs, by_pillow, opened)
        ratios = [a / b for a, b in zip(usual, without, strict=True)]
        kind = "grey" if len(shape) == 2 else "RGB"
        print(f"| {side}x{side} {kind} | {spread(usual)} | {spread(without)} | {spread(ratios)} |")


def normal(runs: int) -> None:
    """Times a batch of bytes that becomes normalised floats, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numbers = np.random.default_rng(0)
    mean_C11, std_C11 = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    print(
        "| images | a tensor a step, us an image | in place, step by step | a few at once |\n"
        "| --- | --- | --- | --- |"
    )
    for count, side in ((64, 64), (512, 64), (40, 224), (64, 224)):
        pixels_BSSC = numbers.integers(0, 256, (count, side, side, 3), np.uint8)
        bytes_BCSS = torch.from_numpy(pixels_BSSC).permute(0, 3, 1, 2)

        def timed(way: Callable[[Any], Any], given: Any = bytes_BCSS) -> float:
            start = time.perf_counter()
            way(given)
            return 1e6 * (time.perf_counter() - start) / len(given)

        ways = [
            partial(timed, lambda given: (given.float() / 255 - mean_C11) / std_C11),
            partial(timed, lambda given: normalise_(as_floats(given), MEAN, STD)),
            partial(timed, lambda given: as_normalised(given, MEAN, STD)),
        ]
        with freed_memory_kept():  # as in a run
            alternate(2, *ways)  # warm up
            cells = [spread(times) for times in alternate(10 * runs, *ways)]
        print(f"| {count} of {side}x{side} | {' | '.join(cells)} |")
    torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "zoo-pipeline")
    parser.add_argument("--only", choices=sorted(SIDES))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--difference", action="store_true")
    parser.add_argument("--squares", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--normal", action="store_true")
    parser.add_argument(
        "--one", nargs=4, metavar=("WAY", "FOLDER", "SIDE", "N"), help="one run as JSON"
    )
    args = parser.parse_args()
    if args.one:
        way, folder, side, epochs = args.one
        print(json.dumps(measure(way, Path(folder), int(side), int(epochs))))
        return
    print(machine())
    if args.difference:
        difference()
        return
    if args.squares:
        squares(args.runs)
        return
    if args.plain:
        plain(args.runs)
        return
    if args.normal:
        normal(args.runs)
        return
    ways = args.ways.split(",")
    if args.only != "png":
        compare(
            "jpeg", write_jpegs(args.folder / "jpeg", args.images), args.runs, args.epochs, ways
        )
    if args.only != "jpeg":
        folder = as_folder("fashion-mini", args.folder / "png") / "train"
        compare("png", folder, args.runs, args.epochs, ways)


if __name__ == "__main__":
    main()
