"""How many wrong labels ``zoo review`` finds, and how many of its candidates are wrong.

python benchmarks/label_review.py [--share 0.05] [--folds 5] [--seeds 1] [OPTIONS OF zoo run ...]

Labels of ``fashion-mini`` are changed to another class, drawn evenly; which ones depends on the
seed. Judged are its training and validation images: by a run that was trained on the training
images, and out of fold, each by the one run of a cross-validation that has not seen it. The data
set has wrong and doubtful labels of its own, so precision is a lower bound.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import machine

import zoo
from zoo.api import read_data, review
from zoo.cli.main import main as zoo_main

REVIEWERS = ("confident-learning", "self-confidence", "margin")
TRAINING = ("--img-size", "96", "--freeze-epochs", "3", "--epochs", "0")


def noisy(path: Path, *, share: float, seed: int) -> set[str]:
    """Writes the data set with changed labels; returns the names of images with a wrong one."""
    data, random = read_data("fashion-mini"), np.random.default_rng(seed)
    arrays, wrong = {"classes": np.asarray(data.classes)}, set()
    for split, part in data.splits.items():
        labels_N = part.labels_N.copy()
        if split != "test":
            flipped = random.choice(len(labels_N), round(share * len(labels_N)), replace=False)
            labels_N[flipped] += random.integers(1, len(data.classes), len(flipped))
            labels_N %= len(data.classes)
            wrong |= {f"{split}/{index}" for index in flipped.tolist()}
        arrays |= {f"{split}_images": part.images.pixels, f"{split}_labels": labels_N}
    np.savez(path, **arrays)
    names = {
        f"{split}/{index}": part.images.name(index)
        for split, part in read_data(path).splits.items()
        for index in range(len(part.images))
    }
    return {names[place] for place in wrong}


def figures(runs: list[Path], wrong: set[str], *, reviewer: str, split: str) -> str:
    found = review(runs, split=split, reviewer=reviewer)
    names = [one.name for one in found.candidates]
    within = wrong & {n for one in found.examined for n in one.predictions.names}
    hits = len(within.intersection(names))
    top = len(within.intersection(names[: len(within)]))
    return (
        f"{len(names):6} {hits / max(1, len(names)):9.1%} {hits / len(within):7.1%} "
        f"{top / len(within):9.1%}"
    )


def trained(data: Path, runs: Path, name: str, options: list[str], *, folds: int) -> list[Path]:
    """Returns the run folder, or those of the folds."""
    command = ["kfold", "--folds", str(folds)] if folds else ["run"]
    base = ["--data", data, "--runs", runs, "--name", name, *TRAINING, *options]
    assert zoo_main([*command, *map(str, base)]) == 0
    if not folds:
        return [runs / name]
    return sorted(config.parent for config in (runs / name).glob("*/config.toml"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    args, options = parser.parse_known_args()
    lines = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            data, runs = Path(folder) / "noisy.npz", Path(folder) / "runs"
            wrong = noisy(data, share=args.share, seed=seed)
            single = trained(data, runs, "single", options, folds=0)
            folded = trained(data, runs, "folded", options, folds=args.folds)
            for reviewer in REVIEWERS:
                for how, paths, split in (
                    ("trained on it", single, "train"),
                    ("out of fold", folded, "val"),
                ):
                    line = figures(paths, wrong, reviewer=reviewer, split=split)
                    lines.append(f"{seed:4} {reviewer:20} {how:14} {line}")
    print(f"\n{machine()}\nzoo {zoo.__version__}, {args.share:.0%} of labels changed")
    print("seed reviewer             judged          found precision  recall  first N")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
