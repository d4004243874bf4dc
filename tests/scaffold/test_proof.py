"""The proof: a plugin of each kind, from its wheel, in an environment with only zoo's own wheel.

    pytest -m slow tests/scaffold/test_proof.py

For each kind the installed zoo writes the package and a wheel of it is built and installed; its
tests pass, strict types and lint hold, ``zoo list`` has it, and what it provides trains.
It needs a package index, or a cache of zoo's dependencies.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scaffold.environments import Place, empty
from zoo.plugin import KINDS, plural
from zoo.scaffold import EXAMPLES, derive
from zoo.testing.fixtures import write_tiny_data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = ("--img-size", "16", "--freeze-epochs", "1", "--epochs", "1", "--weights", "none",
        "--threads", "1", "--workers", "0", "--batch-size", "8")  # fmt: skip


@pytest.fixture(scope="module")
def seconds() -> Iterator[dict[str, float]]:
    """How long the parts took, printed in the end."""
    spent: dict[str, float] = {}
    yield spent
    print("\n" + "\n".join(f"{took:7.1f} s  {what}" for what, took in spent.items()))


@pytest.fixture(scope="module")
def timed(seconds: dict[str, float]) -> Callable[..., str]:
    """Runs a command of a place and adds up its time under a heading."""

    def run(place: Place, what: str, *words: object, folder: Path) -> str:
        start = time.perf_counter()
        told = place.run(words, folder=folder)
        seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - start
        return told

    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, timed: Callable[..., str]) -> Iterator[Place]:
    """A fresh environment with zoo's wheel, its dependencies, and what the tests are run with."""
    root = tmp_path_factory.mktemp("proof")
    here = Place(python=Path(sys.executable))
    timed(here, "build zoo's wheel", "pip", "wheel", "--no-deps", "--no-build-isolation",
          "-w", root, ROOT, folder=root)  # fmt: skip
    (wheel,) = root.glob("classifier_zoo-*.whl")
    fresh = Place(
        python=empty(root / "environment", pip=True),
        variables={
            "PYTHONPATH": "", "ZOO_SETTINGS": str(root / "settings.toml"),
            "ZOO_CACHE": str(root / "cache"), "ZOO_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        },
    )  # fmt: skip
    timed(fresh, "install it with torch", "pip", "install", "-q", wheel, "hatchling>=1.26",
          "mypy>=1.18", "pytest>=8.4", "ruff>=0.13", folder=root)  # fmt: skip
    where = "import zoo, zoo_torch, sys; print(zoo.__file__, zoo_torch.__file__)"
    found = fresh.run(["-c", where], folder=root).split()
    assert all(Path(file).is_relative_to(root) for file in found), found
    yield fresh
    shutil.rmtree(root, ignore_errors=True)  # gigabytes, where torch comes with CUDA's libraries


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where commands are run: there is data, and later runs."""
    folder = tmp_path_factory.mktemp("work")
    write_tiny_data(folder / "data")
    return folder


@pytest.fixture(scope="module")
def trained(place: Place, work: Path) -> Path:
    """A run for the kinds that need one."""
    place.run(["zoo", "run", "--model", "lenet", "--data", "data", *TINY, "--name", "tried"],
              folder=work)  # fmt: skip
    return work / "runs" / "tried"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_of_the_kind(kind, place, work, trained, timed):
    names, example = derive(f"zoo-proof-{kind}"), EXAMPLES[kind]
    written = timed(place, "write", "zoo", "plugins", "new", names.distribution, "--kind", kind,
                    "--author", "Ada Lovelace <ada@example.org>", folder=work)  # fmt: skip
    assert "pip install -e '.[test]'" in written
    folder = work / names.distribution
    timed(place, "build its wheel", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
          "-w", "dist", ".", folder=folder)  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    # With its dependencies: the version of zoo that it asks for has to be the one that is there.
    timed(place, "install it", "pip", "install", "-q", "--no-index", wheel, folder=work)

    told = timed(place, "run its tests", "pytest", "-q", folder=folder)
    assert re.search(r"\d+ passed", told)
    assert "failed" not in told
    timed(place, "check its types", "mypy", "--cache-dir", work / "mypy", folder=folder)
    timed(place, "lint it", "ruff", "check", ".", folder=folder)
    timed(place, "lint it", "ruff", "format", "--check", ".", folder=folder)

    listed = json.loads(timed(place, "list", "zoo", "list", plural(kind), example.component,
                              "--json", folder=work))  # fmt: skip
    assert f"{names.namespace}/{example.component}" in [entry["id"] for entry in listed]
    assert f"zoo-proof-{kind}" in timed(place, "list", "zoo", "plugins", "list", folder=work)
    USES[kind](lambda *words: timed(place, "use it", "zoo", *words, folder=work), work)
    for command in example.commands:  # as they were printed, in the plugin's folder
        words = shlex.split(command.replace("--limit 500", "--limit 40"))
        timed(place, "run the commands that are printed", *words, folder=folder)


# ---- what is done with each kind --------------------------------------------------------------


def train(zoo: Callable[..., str], *words: str, name: str, data: str = "data") -> str:
    return zoo("run", "--data", data, *TINY, "--name", name, *words)


def use_by_flag(flag: str, spec: str, component: str) -> Callable[[Callable[..., str], Path], None]:
    def use(zoo: Callable[..., str], work: Path) -> None:
        network = () if flag == "--model" else ("--model", "lenet")
        train(zoo, *network, flag, spec, name=component)
        environment = (work / "runs" / component / "environment.json").read_text(encoding="utf-8")
        assert f"/{component}" in environment
        assert "zoo-proof-" in environment  # the package and version are stored, too

    return use


def use_dataset(zoo: Callable[..., str], work: Path) -> None:
    train(zoo, "--model", "lenet", name="shapes", data="drawn-shapes-12-16")
    summary = json.loads((work / "runs/shapes/summary.json").read_text(encoding="utf-8"))
    assert summary["num_test"] == 2 * 12 // 4


def use_metric(zoo: Callable[..., str], work: Path) -> None:
    train(zoo, "--model", "lenet", "--metric", "g-mean", "--monitor", "g-mean", name="measured")
    lines = (work / "runs/measured/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert all("val_g-mean" in json.loads(line) for line in lines)


def use_callback(zoo: Callable[..., str], work: Path) -> None:
    train(zoo, "--model", "lenet", "--callback", "loss-lines", name="told")
    lines = (work / "runs/told/losses.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def use_recipe(zoo: Callable[..., str], work: Path) -> None:
    spec = "super-convergence-0.05-2"
    zoo("run", "--recipe", spec, "--model", "lenet", "--data", "data", "--img-size", "16",
        "--threads", "1", "--workers", "0", "--batch-size", "8", "--name", "converged")  # fmt: skip
    config = (work / "runs/converged/config.toml").read_text(encoding="utf-8")
    assert "lr = 0.05" in config
    assert "epochs = 2" in config


def use_exporter(zoo: Callable[..., str], work: Path) -> None:
    told = zoo("export", "runs/tried", "--to", "npz")
    assert "npz" in told
    assert list((work / "runs/tried/exports").rglob("*.npz"))


def use_explainer(zoo: Callable[..., str], work: Path) -> None:
    zoo("heatmap", "runs/tried", "--explainer", "saliency", "-o", "heat.png", "--count", "2")
    assert (work / "heat.png").read_bytes().startswith(b"\x89PNG")


def use_projector(zoo: Callable[..., str], work: Path) -> None:
    zoo("embed", "runs/tried", "--projector", "random-projection", "--plot", "plane.png")
    assert (work / "plane.png").read_bytes().startswith(b"\x89PNG")


def use_reviewer(zoo: Callable[..., str], work: Path) -> None:
    zoo("review", "runs/tried", "--reviewer", "likelihood-ratio", "-o", "found.csv")
    assert "suspicion" in (work / "found.csv").read_text(encoding="utf-8").splitlines()[0]


def use_command(zoo: Callable[..., str], work: Path) -> None:
    assert "class-counts" in zoo("--help")
    table = json.loads(zoo("class-counts", "data", "--json"))
    assert table["bar"] == {"train": 12, "val": 4, "test": 4}


USES: dict[str, Callable[[Callable[..., str], Path], None]] = {
    "model": use_by_flag("--model", "all-cnn-4", "all-cnn"),
    "head": use_by_flag("--head", "maxout-3", "maxout"),
    "loss": use_by_flag("--loss", "gce-0.5", "gce"),
    "optimizer": use_by_flag("--optim", "signum-0.8", "signum"),
    "scheduler": use_by_flag("--sched", "triangular-2", "triangular"),
    "transform": use_by_flag("--aug", "flip+hide-and-seek-0.3", "hide-and-seek"),
    "dataset": use_dataset,
    "metric": use_metric,
    "explainer": use_explainer,
    "projector": use_projector,
    "reviewer": use_reviewer,
    "callback": use_callback,
    "exporter": use_exporter,
    "recipe": use_recipe,
    "command": use_command,
}


def test_all_of_them_live_together(place, work):
    """Fifteen plugins in one environment: none is broken, no name clashes."""
    told = place.run(["zoo", "doctor"], folder=work, code=None)
    records = json.loads(place.run(["zoo", "plugins", "list", "--json"], folder=work))
    ours = [r for r in records if r["distribution"].startswith("zoo-proof-")]
    assert len(ours) == len(KINDS), told
    assert {record["status"] for record in ours} == {"ok"}, told
    started = subprocess.run(
        [place.python, "-c", "import sys\nfrom zoo.cli.main import main\nmain(['list'])\n"
         "sys.exit('torch' in sys.modules)"],
        cwd=work, check=False, capture_output=True, timeout=120,
    )  # fmt: skip
    assert started.returncode == 0
