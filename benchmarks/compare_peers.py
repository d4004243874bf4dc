"""zoo against the trainers that its users know: same data, network, size, batch and epochs.

Each trainer is a process of its own, in turn, several rounds; stage by stage (start, freeze,
finetune, evaluate), with the peak memory of all its processes. Linux only.

    python benchmarks/compare_peers.py --out results.jsonl --python peers/bin/python
        [--size 64] [--freeze 5] [--finetune 2] [--seeds 0 1 2] [--peers zoo tutorial ...]
        [--model mobilenetv3_large_100] [--weights FILE.safetensors] [--data fashion-mini]
    python benchmarks/compare_peers.py --table results.jsonl [--plot stages.png]

The peers' environment: see benchmarks/peers/requirements.txt.
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
from typing import Any

from common import as_folder, machine, python, spread

SCRIPTS = {
    "zoo": "zoo_peer.py", "tutorial": "tutorial.py", "fastai": "fastai_peer.py",
    "lightning": "lightning_peer.py", "timm": "timm_peer.py",
    "transformers": "transformers_peer.py", "ultralytics": "ultralytics_peer.py",
}  # fmt: skip
MIB = 2**20
LOOK_SECONDS = 2
"""How often memory is looked at: the system needs 30 ms for it, in which the trainer may wait."""


def tree_memory(root: int) -> int:
    """Returns the memory of a process and all below it, bytes; shared pages count once (PSS)."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children[int(fields[1])].append(int(stat.parent.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children[process]
        try:
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def run(peer: str, interpreter: str, options: list[str], timeout: float) -> dict[str, Any]:
    """Runs one trainer and returns its stages, seconds of the whole process and peak memory."""
    script = Path(__file__).with_name("peers") / SCRIPTS[peer]
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([interpreter, str(script), *options], stdout=out, stderr=err)
        looks = 0
        while process.poll() is None:
            now = time.perf_counter() - start
            if now > LOOK_SECONDS * looks:
                peak, looks = max(peak, tree_memory(process.pid)), looks + 1
            if now > timeout:
                process.kill()
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        out.seek(0), err.seek(0)
        if process.returncode:
            raise SystemExit(
                f"{peer} ended with {process.returncode}:\n{err.read().decode()[-2000:]}"
            )
        lines = [line for line in out.read().decode().splitlines() if line.startswith("{")]
    return {**json.loads(lines[-1]), "process": seconds, "peak_mib": peak / MIB}


def table(path: Path) -> None:
    """Prints what was measured as Markdown, medians with their range."""
    found: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found[row["model"], row["data"], str(row["size"]), row["plan"]][row["peer"]].append(row)
    for (model, data, size, plan), peers in found.items():
        print(f"\n{model}, {data}, {size} pixels, {plan}\n")
        print("| trainer | start | freeze phase | a finetune epoch | evaluate | whole job | "
              "peak MiB | test accuracy |\n|" + " --- |" * 8)  # fmt: skip
        for peer, rows in peers.items():
            columns = (
                [row["start"] for row in rows],
                [sum(row["freeze"]) for row in rows],
                [statistics.median(row["finetune"]) for row in rows if row["finetune"]],
                [row["evaluate"] for row in rows],
                [row["process"] for row in rows],
                [row["peak_mib"] for row in rows],
                [100 * row["test"] for row in rows],
            )
            cells = [spread(values) if values else "" for values in columns]
            print(f"| {peer} | " + " | ".join(cells) + " |")


STAGES = ("start", "freeze", "finetune", "evaluate")
COLOURS = ("#94a3b8", "#2563a8", "#c2410c", "#4d7c0f")


def draw(path: Path, results: Path) -> None:
    """Draws the stages of each trainer, one picture for each kind of job, medians of its runs."""
    from matplotlib.figure import Figure

    jobs: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for line in results.read_text().splitlines():
        row = json.loads(line)
        title = f"{row['model']}, {row['size']} pixels, {row['plan']}"
        stages = [row["start"], sum(row["freeze"]), sum(row["finetune"]), row["evaluate"]]
        jobs[title][row["peer"]].append(stages)
    height = sum(0.9 + 0.32 * len(peers) for peers in jobs.values())
    figure = Figure(figsize=(7.5, height), layout="constrained")
    ratios = [0.9 + 0.32 * len(peers) for peers in jobs.values()]
    rooms = figure.subplots(len(jobs), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for axes, (title, peers) in zip(rooms, jobs.items(), strict=True):
        middle = {
            peer: [statistics.median(column) for column in zip(*rows, strict=True)]
            for peer, rows in peers.items()
        }
        names = sorted(middle, key=lambda peer: sum(middle[peer]), reverse=True)
        left = [0.0] * len(names)
        for stage, colour, number in zip(STAGES, COLOURS, range(4), strict=True):
            widths = [middle[name][number] for name in names]
            axes.barh(names, widths, left=left, color=colour, label=stage, height=0.7)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for name, total in zip(names, left, strict=True):
            axes.annotate(f" {total:.0f} s", (total, name), va="center", fontsize=8)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlim(0, 1.1 * max(left))
        axes.set_xlabel("seconds", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*rooms[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=4,
                  loc="outside upper right")  # fmt: skip
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--plot", type=Path, help="with --table: draw it, too")
    parser.add_argument("--python", default=python(), help="interpreter of the peers")
    parser.add_argument("--peers", nargs="+", default=list(SCRIPTS), choices=list(SCRIPTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one round each")
    parser.add_argument("--data", default="fashion-mini", help="embedded data set, or a folder")
    parser.add_argument("--model", default="mobilenetv3_large_100")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--freeze", type=int, default=5)
    parser.add_argument("--finetune", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=3600)
    args = parser.parse_args()
    if args.table:
        table(args.table)
        if args.plot:
            draw(args.plot, args.table)
        return
    assert args.out, "--out says where the results go"
    print(machine())
    folder = Path(args.data)
    if not folder.is_dir():
        folder = as_folder(args.data, Path(tempfile.gettempdir()) / f"zoo-peers-{args.data}")
    options = [
        "--data", str(folder), "--model", args.model, "--size", str(args.size),
        "--batch", str(args.batch), "--freeze", str(args.freeze), "--finetune", str(args.finetune),
        "--workers", str(args.workers), *(["--weights", args.weights] if args.weights else []),
    ]  # fmt: skip
    for seed in args.seeds:
        for peer in args.peers:
            interpreter = python() if peer == "zoo" else args.python
            row = run(peer, interpreter, [*options, "--seed", str(seed)], args.timeout)
            row |= {
                "peer": peer, "seed": seed, "model": args.model, "data": args.data,
                "size": args.size, "plan": f"{args.freeze} frozen + {args.finetune} epochs",
            }  # fmt: skip
            with args.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{peer:<13} freeze {sum(row['freeze']):6.1f} s  "
                  f"finetune {sum(row['finetune']):6.1f} s  whole {row['process']:6.1f} s  "
                  f"{row['peak_mib']:5.0f} MiB  test {row['test']:.1%}", flush=True)  # fmt: skip
    table(args.out)


if __name__ == "__main__":
    main()
