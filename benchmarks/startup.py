"""How long the light commands take, against bare imports. Whole processes, alternating.

python benchmarks/startup.py [--runs 15]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from functools import partial

from common import alternate, machine, python, seconds_of, spread

BARE = "import click, pluggy, importlib.metadata"
TIMM = "import timm; timm.list_models()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    zoo = shutil.which("zoo")
    if zoo is None:
        raise SystemExit("zoo is not on PATH; pip install . first")
    commands = {
        f"python -c '{BARE}'": [python(), "-c", BARE],
        "zoo --help": [zoo, "--help"],
        "zoo list models": [zoo, "list", "models"],
        f"python -c '{TIMM}'": [python(), "-c", TIMM],
    }
    for command in commands.values():
        seconds_of(command)  # warm the file cache
    times = alternate(runs, *(partial(seconds_of, command) for command in commands.values()))
    print(machine())
    print(f"{'command':60} {'seconds':32} {'x bare':>7} {'timm / this':>12}")
    bare, timm = times[0], times[3]
    for name, values in zip(commands, times, strict=True):
        over = statistics.median(a / b for a, b in zip(values, bare, strict=True))
        under = statistics.median(b / a for a, b in zip(values, timm, strict=True))
        print(f"{name:60} {spread(values):32} {over:7.2f} {under:12.1f}")


if __name__ == "__main__":
    main()
