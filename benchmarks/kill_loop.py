"""Runs killed with SIGKILL at random instants and resumed until they are done: how they end.

python benchmarks/kill_loop.py [--kills 1000] [--seconds 0] [--model NAME --weights NAME] [--json]

Without --model it does mobilenetv3 with random weights and EfficientNet-Lite0 with its packaged
weights, half of the kills each, over freeze and finetune. Each process is a fork of one that has
torch imported and warm: only so is a second's run killed a thousand times in minutes. The instants
are drawn by stage, the seed names them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import machine

from zoo import api
from zoo.cli.victim import run_or_resume
from zoo.evaluation.resume_proof import Proof, Trial, prove
from zoo.evaluation.stages import Stage

CASES = (("mobilenetv3", "none"), ("efficientnet-lite0", "auto"))
"""Models and their weights."""


class Fork:
    """A process forked from this one, which has everything imported."""

    def __init__(self, options: dict[str, object], errors: Path) -> None:
        reading, writing = os.pipe()
        self._errors = errors
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            code = 70
            try:
                os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
                sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), write_through=True)
                code = run_or_resume(options, channel=writing)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.marks = io.FileIO(reading)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int:
        """Returns the exit code, negative if it was killed."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def errors(self) -> str:
        """Returns what it wrote to stderr."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""


def kill_loop(
    options: dict[str, object], *, kills: int, seconds: float, seed: int, verbose: bool
) -> Proof:
    """Returns the proof for one configuration."""
    with tempfile.TemporaryDirectory(prefix="zoo-kills-") as folder:
        runs = Path(folder) / "runs"
        given = {**options, "runs": str(runs)}
        api.run({**given, "name": "warm-up", "runs": str(Path(folder) / "warm-up")})

        def launch(name: str) -> Fork:
            return Fork({**given, "name": name}, Path(folder) / "errors.txt")

        def told(trial: Trial) -> None:
            if verbose or trial.outcome != "same":
                print(f"{trial.name:12} {trial.outcome:9} {len(trial.kills):3} kills  "
                      f"{trial.verdict}", file=sys.stderr, flush=True)  # fmt: skip

        return prove(launch, runs, kills=kills, seed=seed, max_seconds=seconds, told=told)


def options_of(args: argparse.Namespace, model: str, weights: str) -> dict[str, object]:
    """Returns the configuration of a case."""
    table: dict[str, object] = {
        "model": model, "weights": weights, "data": args.data, "img_size": args.img_size,
        "limit": args.limit, "batch_size": args.batch_size, "freeze_epochs": 1, "epochs": 2,
        "save_steps": 2, "threads": 1, "seed": 0, "aug": args.aug,
    }  # fmt: skip
    return {key: value for key, value in table.items() if value is not None}


def show(name: str, proof: Proof) -> None:
    """Prints the table of one case."""
    print(f"\n{name}: {proof.num_kills} kills over {len(proof.trials)} runs in "
          f"{proof.seconds:.0f} s, seed {proof.seed}")  # fmt: skip
    print(f"{'stage':12} {'kills':>6} {'visits in a run':>16} {'median seconds':>15}")
    for stage in Stage:
        visits, seconds = proof.stages.get(stage.label, (0, 0.0))
        print(f"{stage.label:12} {proof.hit.get(stage.label, 0):6} {visits:16} {seconds:15.4f}")
    counts = ", ".join(f"{k} {proof.count(k)}" for k in ("same", "different", "corrupt", "stuck"))
    print(f"runs: {counts}; final weights {proof.digest[:16]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="over all cases")
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so many, a case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="one case only")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--data", default="clipart10")
    parser.add_argument("--limit", type=int, default=96, help="images of each split")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--img-size", type=int, default=32)
    parser.add_argument("--aug")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has no thread pool
    cases = [(args.model, args.weights)] if args.model else list(CASES)
    results: dict[str, Any] = {"machine": machine()}
    for number, (model, weights) in enumerate(cases):
        share = args.kills * (number + 1) // len(cases) - args.kills * number // len(cases)
        proof = kill_loop(
            options_of(args, model, weights), kills=share, seconds=args.seconds,
            seed=args.seed + number, verbose=not args.json,
        )  # fmt: skip
        results[model] = proof.as_dict()
        if not args.json:
            show(model, proof)
    hashes = sorted(
        {t["digest"] for r in results.values() if isinstance(r, dict) for t in r["trials"]}
    )
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        print(f"\n{results['machine']}\nfinal weights of all runs: {', '.join(hashes)}")
    return 0 if all(r["same"] == r["runs"] for r in results.values() if isinstance(r, dict)) else 4


if __name__ == "__main__":
    sys.exit(main())
