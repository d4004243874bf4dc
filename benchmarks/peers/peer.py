"""What the peers share: their arguments, the network with the same first weights, and the clock.

Each script trains freeze-then-finetune on FOLDER/train, validates on FOLDER/val after each epoch,
tests once on FOLDER/test, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

MEAN = STD = (0.5, 0.5, 0.5)
LR_HEAD, LR_ALL = 3e-3, 3e-4
"""zoo's defaults with pretrained weights; trainers without a rate of their own use them, too."""


@dataclass
class Clock:
    """Wall time from the start of the process, stage by stage."""

    freeze: list[float] = field(default_factory=list)
    finetune: list[float] = field(default_factory=list)
    start: float = 0.0
    evaluate: float = 0.0

    def __post_init__(self) -> None:
        self._born = time.time() - _age()
        self._last = self._born

    def lap(self) -> float:
        """Returns the seconds since the last lap."""
        now = time.time()
        seconds, self._last = now - self._last, now
        return seconds

    def started(self) -> None:
        """The first epoch is about to begin."""
        self.start = self.lap()

    def epoch(self, *, frozen: bool) -> None:
        """An epoch was trained and validated."""
        (self.freeze if frozen else self.finetune).append(self.lap())

    def report(self, accuracy: float, **more: object) -> None:
        """Prints the stages and the test accuracy."""
        self.evaluate = self.lap()
        print(json.dumps({
            "start": self.start, "freeze": self.freeze, "finetune": self.finetune,
            "evaluate": self.evaluate, "total": time.time() - self._born, "test": accuracy, **more,
        }), flush=True)  # fmt: skip


def _age() -> float:
    """Returns how many seconds ago this process began; imports count as start-up."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - began
    except OSError:
        return 0.0


def arguments() -> argparse.Namespace:
    """Reads what is to be trained."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mobilenetv3_large_100")
    parser.add_argument("--weights", type=Path, help="safetensors to begin with")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--freeze", type=int, default=5)
    parser.add_argument("--finetune", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def network(args: argparse.Namespace):  # noqa: ANN201  # torch is not imported here
    """Returns the timm model with a new head, and the weights that all begin with."""
    import timm
    from safetensors.torch import load_file

    classes = sum(1 for folder in (args.data / "train").iterdir() if folder.is_dir())
    model = timm.create_model(args.model, num_classes=classes)
    if args.weights:
        found = load_file(args.weights)
        own = model.state_dict()
        fitting = {k: v for k, v in found.items() if k in own and v.shape == own[k].shape}
        model.load_state_dict(fitting, strict=False)
        print(f"{len(fitting)} of {len(own)} tensors taken", file=sys.stderr)
    return model


def freeze(model, frozen: bool) -> None:  # noqa: ANN001
    """Freezes all but the head."""
    head = {id(p) for p in model.get_classifier().parameters()}
    for parameter in model.parameters():
        parameter.requires_grad = not frozen or id(parameter) in head
