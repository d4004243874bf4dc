"""How long the light commands take, and a run until its first step is made, against bare imports.

Whole processes, alternating. The second table is of processor time, and of what a loop written by
hand has to import and build before it can make the same step. With --plugins, the light commands
while so many plugins are installed, one of which imports torch: read for the first time, then from
the index.

python benchmarks/startup.py [--runs 15] [--model mobilenetv3] [--only light|run] [--plugins 40]
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path

from common import alternate, machine, python, seconds_of, spread

BARE = "import click, pluggy, importlib.metadata"
TIMM = "import timm; timm.list_models()"


BY_HAND = """
import timm, torch
model = timm.create_model({name!r}, num_classes=10)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
logits = model(torch.rand(64, 3, 64, 64))
torch.nn.functional.cross_entropy(logits, torch.zeros(64).long()).backward()
optimizer.step()
"""

FIRST_STEP = """
import os, sys, time
import zoo
from zoo.engine.events import Observer

class Stop(Observer):
    def step_ended(self, *told, **more):
        sys.stdout.flush()
        os._exit(0)

zoo.run(model={model!r}, weights="none", data="fashion-mini", limit=200, img_size=64, epochs=1,
        freeze_epochs=0, aug="none", runs={folder!r}, observer=Stop())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--only", choices=("light", "run"))
    parser.add_argument("--plugins", type=int, help="measure with so many plugins, and that alone")
    args = parser.parse_args()
    print(machine())
    if args.plugins:
        with_plugins(args.plugins, args.runs)
        return
    if args.only != "run":
        light(args.runs)
    if args.only != "light":
        first_step(args.model, args.runs)


PLUGIN = """
from zoo.plugin import Component, Param, hookimpl

@hookimpl
def zoo_components():
    for kind in ("model", "loss", "scheduler"):
        for number in range(5):
            yield Component(
                kind=kind, name=f"{name}-part{{number}}", target="fractions:Fraction",
                summary="A part of a plugin", params=(Param(name="amount", default=0.1),),
            )
"""


def with_plugins(count: int, runs: int) -> None:
    """Prints how long the light commands take while plugins are installed; one imports torch."""
    zoo = shutil.which("zoo")
    if zoo is None:
        raise SystemExit("zoo is not on PATH; pip install . first")
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        for number in range(count):
            _install(site, f"plugin{number:03d}", imports="import torch\n" if number == 7 else "")
        os.environ |= {
            "PYTHONPATH": str(site), "ZOO_CACHE": f"{folder}/cache",
            "PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "ZOO_SETTINGS": f"{folder}/settings.toml",
        }  # fmt: skip
        commands = {
            f"python -c '{BARE}'": [python(), "-c", BARE],
            "zoo --help": [zoo, "--help"],
            "zoo list": [zoo, "list"],
            "zoo list models": [zoo, "list", "models"],
            "zoo plugins list": [zoo, "plugins", "list"],
        }
        for command in list(commands.values())[:2]:
            seconds_of(command)  # bytecode; neither reads a plugin
        print(f"{count} plugins read for the first time, by zoo list: "
              f"{seconds_of(commands['zoo list']):.2f} s")  # fmt: skip
        for command in commands.values():
            seconds_of(command)
        times = alternate(runs, *(partial(seconds_of, command) for command in commands.values()))
    for name, values in zip(commands, times, strict=True):
        over = statistics.median(a / b for a, b in zip(values, times[0], strict=True))
        print(f"{name:60} {spread(values):32} {over:7.2f}")


def _install(site: Path, name: str, *, imports: str) -> None:
    """Puts the package of a plugin into a folder, as pip would leave it."""
    package, info = site / f"zoo_{name}", site / f"zoo_{name}-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(imports + PLUGIN.format(name=name), encoding="utf-8")
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: zoo-{name}\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[zoo.v1]\n{name} = zoo_{name}\n", encoding="utf-8")


def processor_seconds(command: list[str]) -> float:
    """Returns the processor time of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds_of(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first_step(model: str, runs: int) -> None:
    """Prints the processor time until the first step is made."""
    timm_name = {"mobilenetv3": "mobilenetv3_large_100"}.get(model, model)
    with tempfile.TemporaryDirectory() as folder:
        codes = {
            "import torch": "import torch",
            "import torch, timm": "import torch, timm",
            "a step by hand": BY_HAND.format(name=timm_name),
            "zoo's first step": FIRST_STEP.format(model=model, folder=folder),
        }
        commands = {name: [python(), "-c", code] for name, code in codes.items()}
        for command in commands.values():
            seconds_of(command)
        times = alternate(
            runs, *(partial(processor_seconds, command) for command in commands.values())
        )
    print(f"| {model}, until | processor seconds |\n| --- | --- |")
    for name, values in zip(commands, times, strict=True):
        print(f"| {name} | {spread(values)} |")
    over = [ours - bare for bare, ours in zip(times[2], times[3], strict=True)]
    print(f"| zoo's own share, pair by pair | {spread(over)} |")


def light(runs: int) -> None:
    """Prints how long the light commands take."""
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
    print(f"{'command':60} {'seconds':32} {'x bare':>7} {'timm / this':>12}")
    bare, timm = times[0], times[3]
    for name, values in zip(commands, times, strict=True):
        over = statistics.median(a / b for a, b in zip(values, bare, strict=True))
        under = statistics.median(b / a for a, b in zip(values, timm, strict=True))
        print(f"{name:60} {spread(values):32} {over:7.2f} {under:12.1f}")


if __name__ == "__main__":
    main()
