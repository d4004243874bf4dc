"""The default freeze-then-finetune against frozen only, from scratch, and fastai's fine_tune.

The same network (EfficientNet-Lite0), weights, data, image size and number of epochs for all; test
accuracy of the weights that did best on validation (fastai: the last ones, as it keeps them).

    python benchmarks/defaults.py --out results.jsonl [--seeds 3] [--data fashion-mini ...]
        [--animals animal_mnist-0.4-py3-none-any.whl] [--arms default frozen scratch fastai]
    python benchmarks/defaults.py --table results.jsonl

The arm fastai needs: pip install fastai.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import animal_mnist, as_folder, machine, python

ARMS = ("default", "frozen", "scratch", "fastai")


def options(arm: str, epochs: int) -> dict[str, object]:
    """Returns what an arm asks of zoo beyond the defaults: as many epochs as the default has."""
    return {
        "default": {},
        "frozen": {"freeze_epochs": epochs + 1, "epochs": 0},
        "scratch": {"weights": "none", "epochs": epochs + 1},
    }[arm]


def run(arm: str, data: str, seed: int, threads: int | None) -> dict[str, object]:
    """Trains one arm and returns its test accuracy and seconds."""
    import zoo

    epochs = zoo.prepare(data=data).config.epochs
    with tempfile.TemporaryDirectory() as runs:
        result = zoo.run(data=data, seed=seed, runs=runs,
                         **({"threads": threads} if threads else {}),
                         **options(arm, epochs))  # fmt: skip
    return {
        "test": result.test_accuracy, "val": result.best_score, "seconds": result.seconds,
        "epochs": [row.val_accuracy for row in result.rows],
    }  # fmt: skip


def fastai(data: str, seed: int, threads: int | None) -> dict[str, object]:
    """Runs fastai's fine_tune in a process of its own, at zoo's image size and epochs."""
    import zoo

    config = zoo.prepare(data=data).config
    script = Path(__file__).with_name("fastai_fine_tune.py")
    settings = (config.img_size, config.epochs, seed, threads or 0)
    command = [python(), str(script), data, *map(str, settings)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(path: Path) -> None:
    """Prints the results as the table of docs/benchmarks.md."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found[row["data"], row["arm"]][row["seed"]] = row
    print("| data | " + " | ".join(ARMS) + " |\n|" + " --- |" * (1 + len(ARMS)))
    for data in dict.fromkeys(data for data, _ in found):
        cells = []
        for arm in ARMS:
            rows = found.get((data, arm), {}).values()
            values = [100 * row["test"] for row in rows]
            if not values:
                cells.append("not run")
                continue
            took = statistics.median(row["seconds"] for row in rows)
            cells.append(f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f}), "
                         f"{took:.0f} s")  # fmt: skip
        print(f"| {data} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", default=["clipart10", "fashion-mini"])
    parser.add_argument("--animals", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(ARMS[:3]))
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.table:
        table(args.table)
        return
    print(machine(), flush=True)
    done = set()
    if args.out.exists():
        rows = map(json.loads, args.out.read_text().splitlines())
        done = {(row["data"], row["arm"], row["seed"]) for row in rows}
    folders = Path(tempfile.gettempdir()) / "zoo-benchmark-data"
    for seed in args.seeds:
        for data in [*args.data, *(["animal-mnist"] if args.animals else [])]:
            for arm in args.arms:
                if (data, arm, seed) in done:
                    continue
                source = data
                if data == "animal-mnist":
                    source = str(animal_mnist(args.animals, folders / data))
                elif arm == "fastai":
                    source = str(as_folder(data, folders / data))
                start = time.monotonic()
                how = fastai if arm == "fastai" else lambda *rest, arm=arm: run(arm, *rest)
                row = {"data": data, "arm": arm, "seed": seed, **how(source, seed, args.threads)}
                with args.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{data} {arm} {seed}: {row['test']:.3f}, {time.monotonic() - start:.0f} s",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
