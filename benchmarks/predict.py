"""``zoo predict`` against a bare PyTorch loop: the same network, the same images, the same labels.

The loop is what one writes by hand: a Dataset over sorted paths with torchvision's Resize,
CenterCrop and Normalize, a DataLoader with 2 workers in batches of 64, the network in evaluation
mode under ``inference_mode``, a CSV at the end. It loads its network from a state dict. The network
is mobilenetv3_large_100 at 224 pixels with the weights of a run of four steps.

Each run is a process of its own, A B A B; ratios are taken pair by pair. "Whole" is the wall time
of the process, imports included; "loop" is from the first image read to the last answer, with the
choice of an engine and its preparation, without imports and the loading of weights.

    pip install scikit-image scikit-learn
    python benchmarks/predict.py [--runs 5] [--small 10000] [--jpegs 1000] [--folder DIR]
                                 [--only small|jpeg] [--engine auto]
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import machine, python, spread

BATCH, WORKERS, SIDE = 64, 2, 224
MODEL = "timm/mobilenetv3_large_100"


def write_small(folder: Path, count: int) -> Path:
    """Writes pieces of photographs of 28 to 64 pixels, half of them PNG and half JPEG."""
    from pipeline import photographs

    if len(list(folder.glob("*/*"))) == count:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    chance, sources = random.Random(0), photographs()
    for index in range(count):
        which = index % len(sources)
        source, side = sources[which], chance.choice((28, 32, 48, 64))
        scale = chance.randint(1, 4)
        left = chance.randint(0, source.width - scale * side)
        top = chance.randint(0, source.height - scale * side)
        piece = source.crop((left, top, left + scale * side, top + scale * side))
        target = folder / str(which) / f"{index}.{'png' if index % 2 else 'jpg'}"
        target.parent.mkdir(parents=True, exist_ok=True)
        piece.resize((side, side)).save(target)
    return folder


def make_run(folder: Path, images: Path) -> Path:
    """Trains one step on a few of the images, and keeps the weights as a state dict as well."""
    import torch

    import zoo

    run = folder / "runs" / "tiny"
    if not (run / "best" / "model.safetensors").is_file():
        shutil.rmtree(run, ignore_errors=True)
        zoo.run(
            model=MODEL, weights="none", data=str(images), img_size=SIDE, epochs=1, freeze_epochs=0,
            limit=64, batch_size=16, runs=str(run.parent), name="tiny", lr=0.02,
        )  # fmt: skip
    trained = zoo.load(run)
    torch.save(trained.model.state_dict(), folder / "weights.pth")
    (folder / "bare.json").write_text(json.dumps({
        "classes": trained.classes, "mean": trained.preprocessing.mean,
        "std": trained.preprocessing.std, "crop": trained.preprocessing.crop_fraction,
        "interpolation": trained.preprocessing.interpolation,
    }))  # fmt: skip
    return run


def bare(folder: Path, images: Path, output: Path) -> None:
    """Predicts as one does by hand, and prints the seconds of the loop."""
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    told = json.loads((folder / "bare.json").read_text())
    model = timm.create_model(MODEL.partition("/")[2], num_classes=len(told["classes"]))
    model.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    model.eval()
    transform = v2.Compose([
        v2.Resize(int(SIDE / told["crop"]), v2.InterpolationMode(told["interpolation"])),
        v2.CenterCrop(SIDE), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(told["mean"], told["std"]),
    ])  # fmt: skip

    class Files(Dataset):  # type: ignore[misc]  # torch's own idiom
        paths = sorted(images.glob("*/*"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.open(self.paths[index]).convert("RGB"))

    began = time.perf_counter()
    loader = DataLoader(Files(), batch_size=BATCH, num_workers=WORKERS)
    with torch.inference_mode(), output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "label", "score"])
        done = 0
        for batch in loader:
            scores, best = model(batch).softmax(1).max(1)
            for score, index in zip(scores.tolist(), best.tolist(), strict=True):
                writer.writerow([Files.paths[done], told["classes"][index], f"{score:.6g}"])
                done += 1
    print(json.dumps({"loop": time.perf_counter() - began}))


def timed(command: Sequence[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Returns the wall time of a process and what it said."""
    began = time.perf_counter()
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, ended


def by_hand(folder: Path, images: Path) -> dict[str, float]:
    output = folder / "bare.csv"
    whole, ended = timed([python(), __file__, "--bare", str(folder), str(images), str(output)])
    return {"whole": whole, **json.loads(ended.stdout.splitlines()[-1])}


def by_zoo(folder: Path, images: Path, engine: str) -> dict[str, Any]:
    command = ["predict", str(folder / "runs" / "tiny"), str(images), "--engine", engine]
    whole, ended = timed(
        [python(), "-m", "zoo.cli.main", *command, "-o", str(folder / "zoo.csv"), "--force"]
    )
    said = re.search(r"images in ([0-9.]+) s, [0-9,]+ images/s, (.*)", ended.stderr)
    assert said is not None, ended.stderr
    return {"whole": whole, "loop": float(said[1]), "engine": said[2]}


def agreement(folder: Path) -> str:
    """Returns how many labels are the same, and how far the scores are apart."""
    tables = []
    for name in ("bare.csv", "zoo.csv"):
        with (folder / name).open(newline="") as file:
            tables.append({row["image_id"]: row for row in csv.DictReader(file)})
    hand, ours = tables
    assert hand.keys() == ours.keys()
    same = sum(hand[name]["label"] == ours[name]["label"] for name in hand)
    far = sorted(abs(float(hand[name]["score"]) - float(ours[name]["score"])) for name in hand)
    return (
        f"labels: {same:,} of {len(hand):,} the same; scores differ by {far[len(far) // 2]:.1g} "
        f"(median), {far[-1]:.1g} (most)"
    )


def compare(name: str, folder: Path, images: Path, runs: int, engine: str) -> None:
    """Prints the table of one kind of images."""
    total = len(list(images.glob("*/*")))
    pairs = [(by_hand(folder, images), by_zoo(folder, images, engine)) for _ in range(runs)]
    engines = ", ".join(sorted({pair[1]["engine"] for pair in pairs}))
    print(f"\n{name}: {total:,} images, {SIDE} pixels, engine {engines}; {agreement(folder)}")
    print("| what | PyTorch loop, images/s | zoo predict, images/s | times |")
    print("| --- | --- | --- | --- |")
    for what in ("whole", "loop"):
        hand, ours = ([total / pair[side][what] for pair in pairs] for side in (0, 1))
        ratios = [two / one for one, two in zip(hand, ours, strict=True)]
        print(f"| {what} | {spread(hand)} | {spread(ours)} | {spread(ratios)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--jpegs", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "zoo-predict")
    parser.add_argument("--only", choices=("small", "jpeg"))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--bare", nargs=3, metavar=("FOLDER", "IMAGES", "OUTPUT"))
    args = parser.parse_args()
    if args.bare:
        bare(*map(Path, args.bare))
        return
    from pipeline import write_jpegs

    args.folder.mkdir(parents=True, exist_ok=True)
    small = write_small(args.folder / "small", args.small)
    make_run(args.folder, small)
    print(machine())
    if args.only != "jpeg":
        compare("small", args.folder, small, args.runs, args.engine)
    if args.only != "small":
        jpegs = write_jpegs(args.folder / "jpeg", args.jpegs)
        compare("jpeg 500 x 375", args.folder, jpegs, args.runs, args.engine)


if __name__ == "__main__":
    main()
