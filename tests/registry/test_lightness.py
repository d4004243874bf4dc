"""The core imports no plugin; registry, lists and help import no torch; nothing imports upwards."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "PIL",
    "accelerate",
    "safetensors",
    "torchmetrics",
}

FLOORS = {
    "zoo.errors": 0,
    "zoo.cores": 1,
    "zoo.disk": 1,
    "zoo.plugin": 1,
    "zoo.protocols": 1,
    "zoo.registry": 2,
    "zoo.data": 2,
    "zoo.network": 2,
    "zoo.runs": 2,
    "zoo.config": 3,
    "zoo.scaffold": 3,
    "zoo.engine": 4,
    "zoo.testing": 4,
    "zoo.evaluation": 5,
    "zoo.experiments": 5,
    "zoo.api": 6,
    "zoo.cli": 7,
}


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "models"],
        ["list", "optimizers", "--json"],
        ["plugins", "list"],
        ["plugins", "show", "torch"],
        ["plugins", "install", "--help"],
        ["plugins", "check", "--help"],
        ["explain", "SGDR-10-2"],
        ["run", "--help"],
        ["lr-find", "--help"],
        ["resume", "--help"],
        ["cache", "list"],
        ["cache", "clear", "--help"],
        ["evaluate", "--help"],
        ["predict", "--help"],
        ["report", "--help"],
        ["export", "--help"],
        ["compare", "--help"],
        ["runs", "--help"],
        ["heatmap", "--help"],
        ["embed", "--help"],
        ["review", "--help"],
        ["kfold", "--help"],
        ["sweep", "--help"],
        ["cache", "--help"],
        ["list", "explainers"],
        ["show", "recipe", "lenet-mnist"],
    ],
)
def test_light_commands_import_nothing_heavy(args):
    code = (
        "import sys, json\nfrom zoo.cli.main import main\n"
        f"assert main({args!r}) == 0\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=_environment(), timeout=120)  # fmt: skip
    assert run.stdout.splitlines()[-1] == "HEAVY []"


def test_importing_zoo_imports_nothing_heavy():
    code = f"import sys, zoo, zoo.plugin; print(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env=_environment(), timeout=120)  # fmt: skip
    assert run.stdout.strip() == "[]"


def _environment():
    import os

    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path]),
    }


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _room(module: str) -> str | None:
    return next((room for room in FLOORS if module == room or module.startswith(room + ".")), None)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "zoo").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_nothing_imports_upwards_and_the_core_imports_no_plugin(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    room = _room(module)
    for name in _imports(path):
        assert not name.startswith("zoo_"), f"{path} imports the plugin {name}"
        other = _room(name)
        if room and other and other != room:
            assert FLOORS[other] < FLOORS[room], f"{module} (floor {FLOORS[room]}) imports {name}"


def test_plugins_import_only_public_zoo():
    public = (
        "zoo.plugin", "zoo.protocols", "zoo.errors", "zoo.data", "zoo.network", "zoo.unfinished",
    )  # fmt: skip
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for name in _imports(path):
            if name == "zoo" or name.startswith("zoo."):
                assert name.startswith(public), f"{path} imports {name}"
