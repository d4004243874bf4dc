"""Damaged checkpoints and best weights: how many are loaded without a word. It must be none.

python benchmarks/corruption.py [--trials 2000] [--seed 0] [--json]

Each trial damages one file of a run's newest checkpoint, or of best/: a flipped bit, a cut, bytes
added, a zeroed page, two pages exchanged, the same file of the other checkpoint, another file of
the same one, a file that is gone. Then the newest checkpoint that verifies is loaded, as a resume
does. In front, as many good loads show that nothing is refused without a reason.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from common import machine

from zoo.errors import CheckpointError
from zoo.evaluation.sameness import compare_states
from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder
from zoo.runs.tensor_file import TensorFile

PAGE = 4096


def flip(data: bytearray, generator: random.Random) -> None:
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)


def cut(data: bytearray, generator: random.Random) -> None:
    del data[generator.randrange(len(data)) :]


def grow(data: bytearray, generator: random.Random) -> None:
    data += bytes(generator.randrange(256) for _ in range(generator.randrange(1, 64)))


def zero_page(data: bytearray, generator: random.Random) -> None:
    start = generator.randrange(0, len(data), PAGE)
    end = min(start + PAGE, len(data))
    data[start:end] = bytes(end - start)


def exchange_pages(data: bytearray, generator: random.Random) -> None:
    size = min(PAGE, len(data) // 2)
    first = generator.randrange(0, len(data) - 2 * size + 1)
    second = generator.randrange(first + size, len(data) - size + 1)
    one, two = data[first : first + size], data[second : second + size]
    data[first : first + size], data[second : second + size] = two, one


BYTES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "flip": flip, "cut": cut, "grow": grow, "zero page": zero_page,
    "exchange pages": exchange_pages,
}  # fmt: skip
FILES = ("other checkpoint's file", "file of another name", "file gone", "file empty")


def make_run(root: Path) -> RunFolder:
    """Returns a run with two checkpoints of the size of a small network, and best weights."""
    folder = RunFolder.create(root, name="run", stem="x")
    generator = torch.Generator().manual_seed(0)
    for step in (10, 20):
        weights = {f"layer{i}.weight": torch.randn(64, 128, generator=generator) for i in range(8)}
        state = {"position": {"step": step}, "optimizer": {0: {"avg": torch.randn(64, 128)}}}
        checkpoint.save(folder.checkpoints, step=step, model=TensorFile.of(weights), state=state)
        folder.write_best(TensorFile.of(weights), {"epoch": step, "classes": ["a", "b"]})
    folder.forget_best_before()
    return folder


def damage(target: Path, how: str, generator: random.Random) -> bool:
    """Damages a file; returns whether its bytes are others now."""
    before = target.read_bytes()
    if how in BYTES:
        data = bytearray(before)
        BYTES[how](data, generator)
        target.write_bytes(bytes(data))
    elif how == "file gone":
        target.unlink()
    elif how == "file empty":
        target.write_bytes(b"")
    elif how == "file of another name":
        others = [path for path in target.parent.iterdir() if path != target]
        target.write_bytes(generator.choice(others).read_bytes())
    else:
        other = target.parents[1] / "step-00000010" / target.name
        target.write_bytes(other.read_bytes() if other.is_file() else b"")
    return not target.exists() or target.read_bytes() != before


def outcome_of_checkpoint(folder: RunFolder, good: dict[str, dict[str, object]]) -> str:
    """Loads the newest checkpoint that verifies, as a resume does."""
    path, rejected = checkpoint.latest(folder.checkpoints)
    if path is None:
        return "fall-back lost"
    loaded = checkpoint.load(path)
    if compare_states({"m": loaded.model, "s": loaded.state}, good[path.name])[0]:
        return "silent"
    return "refused" if path.name == "step-00000010" and rejected else "loaded, and right"


def outcome_of_best(folder: RunFolder, good: dict[str, object]) -> str:
    """Loads the best weights."""
    try:
        weights, description = folder.read_best()
    except CheckpointError:
        return "refused"
    if compare_states({"m": weights, "d": description}, good)[0]:
        return "silent"
    return "loaded, and right"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    generator, began = random.Random(args.seed), time.monotonic()
    counts: dict[str, Counter[str]] = {how: Counter() for how in (*BYTES, *FILES)}
    with tempfile.TemporaryDirectory(prefix="zoo-corruption-") as root:
        folder = make_run(Path(root))
        good = {}
        for path in sorted(folder.checkpoints.iterdir()):
            loaded = checkpoint.load(path)
            good[path.name] = {"m": loaded.model, "s": loaded.state}
        weights, description = folder.read_best()
        good_best: dict[str, object] = {"m": weights, "d": description}
        newest, best = folder.checkpoints / "step-00000020", folder.path / "best"
        keep = Path(root) / "keep"
        for name, path in (("newest", newest), ("best", best)):
            shutil.copytree(path, keep / name)
        alarms = 0
        for _ in range(args.trials):
            found, rejected = checkpoint.latest(folder.checkpoints)
            alarms += found != newest or bool(rejected)
        for trial in range(args.trials):
            how = list(counts)[trial % len(counts)]
            place, kept = (best, "best") if generator.random() < 0.2 else (newest, "newest")
            if place == best and how == FILES[0]:
                place, kept = newest, "newest"
            target = generator.choice(sorted(place.iterdir()))
            if not damage(target, how, generator):
                counts[how]["nothing changed"] += 1
                continue
            result = (
                outcome_of_best(folder, good_best)
                if place == best
                else outcome_of_checkpoint(folder, good)
            )
            counts[how][result] += 1
            shutil.copy(keep / kept / target.name, target)
    total = sum(counts.values(), Counter[str]())
    result = {
        "trials": args.trials, "seed": args.seed, "false alarms": alarms, "total": dict(total),
        "seconds": round(time.monotonic() - began, 1),
        "by kind": {how: dict(counter) for how, counter in counts.items()},
        "machine": machine(),
    }  # fmt: skip
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        columns = ("refused", "loaded, and right", "silent", "fall-back lost", "nothing changed")
        print(f"{'damage':26}" + "".join(f"{name:>18}" for name in columns))
        for how, counter in {**counts, "all": total}.items():
            print(f"{how:26}" + "".join(f"{counter[name]:18}" for name in columns))
        print(f"{args.trials} good loads, {alarms} refused; seed {args.seed}, "
              f"{result['seconds']} s; {result['machine']}")  # fmt: skip
    return 4 if total["silent"] or total["fall-back lost"] or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
