"""Each check of exporters, recipes and commands catches one that is wrong in just that way."""

from __future__ import annotations

import pickle
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject
from safetensors.torch import load_file, save_file

from zoo.plugin import Param
from zoo.testing import commands, exporters, recipes

# ---- exporters --------------------------------------------------------------------------------


class Weights:
    """Writes the tensors; load builds the kit's own network again. Or with one fault."""

    suffix = ".safetensors"

    def __init__(self, fault=""):
        self.fault = fault
        if fault == "suffix without a point":
            self.suffix = "safetensors"
        if fault == "folder with a suffix":
            self.suffix = ".d"

    def __call__(self, network, example_BCHW, target):
        fault = self.fault
        if fault == "nothing":
            return
        if fault == "trains":
            network.train()
        if fault == "scales the images":
            example_BCHW.mul_(2)
        if fault == "hooks":
            network.head.register_forward_hook(lambda *_: None)
        tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if fault == "half":
            tensors = {
                n: t.half().float() if t.is_floating_point() else t for n, t in tensors.items()
            }
        if fault == "beside":
            (target.parent / "model.json").write_text("{}")
        if fault in ("folder", "folder with a suffix"):
            target.mkdir()
            target = target / "model.safetensors"
        if fault == "empty":
            target.touch()
        elif fault == "pickle":
            target.write_bytes(pickle.dumps({n: t.tolist() for n, t in tensors.items()}))
        elif fault == "pickle in an archive":
            torch.save(tensors, target)
        else:
            save_file(tensors, target)
        self.kept = target

    def load(self, target: Path):
        if self.fault == "remembers":
            target = self.kept
        network = exporters._Network().eval()
        if target.is_dir():
            target = target / "model.safetensors"
        if self.fault == "empty":
            return network
        if self.fault == "pickle":
            read = pickle.loads(target.read_bytes())
            network.load_state_dict({name: torch.tensor(value) for name, value in read.items()})
        elif self.fault == "pickle in an archive":
            network.load_state_dict(torch.load(BytesIO(target.read_bytes()), weights_only=True))
        else:
            network.load_state_dict(load_file(target))
        network.requires_grad_(False)
        if self.fault == "one image":
            return lambda images_BCHW: network(images_BCHW[:1])
        if self.fault == "numpy":
            return lambda images_BCHW: network(images_BCHW).numpy()
        if self.fault == "in place":
            return lambda images_BCHW: (
                network(images_BCHW.mul_(2).div_(3)) * 0 + network(images_BCHW.div_(2).mul_(3))
            )
        return network


class Folder(Weights):
    suffix = ""

    def __init__(self):
        super().__init__("folder")


EXPORTED = (
    "writes-the-target-alone", "answers-as-the-network", "opens-in-another-place",
    "holds-no-pickle",
)  # fmt: skip
WRONG_EXPORTERS = [
    ("nothing", dict.fromkeys(EXPORTED, "there is no model.safetensors")
     | {"leaves-the-network-alone": "FileNotFoundError"}),
    ("suffix without a point",
     dict.fromkeys([*EXPORTED, "leaves-the-network-alone"], "neither an ending")),
    ("folder with a suffix", {"writes-the-target-alone": "it made no file model.d"}),
    ("beside", {"writes-the-target-alone": "beside model.safetensors it wrote ['model.json']"}),
    ("empty", {"writes-the-target-alone": "is empty", "answers-as-the-network": "",
               "opens-in-another-place": ""}),
    ("half", {"answers-as-the-network": "logits are off by"}),
    ("one image", {"answers-as-the-network": "for 3 images it gives logits (1, 3), not (3, 3)"}),
    ("numpy", {"answers-as-the-network": "gives a ndarray", "opens-in-another-place": ""}),
    ("remembers", {"opens-in-another-place": "AttributeError"}),
    ("trains", {"leaves-the-network-alone": "which of them train", "answers-as-the-network": ""}),
    ("hooks", {"leaves-the-network-alone": "the export changed its hooks"}),
    ("scales the images", {"leaves-the-network-alone": "wrote into the example images"}),
    ("in place", {"leaves-the-network-alone": "load opens writes into the images"}),
    ("pickle", {"holds-no-pickle": "what it writes: model.safetensors"}),
    ("pickle in an archive", {"holds-no-pickle": "data.pkl"}),
]  # fmt: skip


@pytest.mark.parametrize("kind", [Weights, Folder])
def test_right_exporters_pass(kind):
    assert failing(exporters.CHECKS, subject("exporter", lambda: kind())) == {}


@pytest.mark.parametrize(("fault", "caught"), WRONG_EXPORTERS, ids=[f for f, _ in WRONG_EXPORTERS])
def test_a_wrong_exporter_is_caught(fault, caught):
    assert_caught(exporters.CHECKS, subject("exporter", lambda: Weights(fault)), caught)


def test_pickles_are_found_in_archives_of_archives(tmp_path):
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("weights", pickle.dumps([1, 2]))
        archive.writestr("constants", b"\x80\x02 is how a pickle starts, and this is none")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "inner.zip")
        archive.writestr("README", "text")
    assert exporters.pickles_in(outer.read_bytes(), "m") == ["m/inner.zip/weights"]


# ---- recipes ----------------------------------------------------------------------------------

COUNTED = []


def rate(*, lr=0.1):
    return {
        "optim": "sgd",
        "lr": lr,
        "mean": (0.5, 0.5, 0.5),
        "aug": "flip+mixup",
        "needs": ["distill"],
    }


def unsure():
    COUNTED.append(0)
    return {"epochs": len(COUNTED), "loss": "ce"}


ASKED = (
    "says-options", "leaves-places-to-the-user", "fits-toml", "same-every-time",
    "names-what-there-is",
)  # fmt: skip
WRONG_RECIPES = [
    ({"learning_rate": 0.1, "loss": "ce"}, {"says-options": "there is no option 'learning_rate'"}),
    ({"lr": -1.0, "loss": "ce"}, {"says-options": "lr is -1.0"}),
    (lambda: {"lr": None}, {"says-options": "sets no option"}),
    ({"runs": "elsewhere", "loss": "ce"},
     {"leaves-places-to-the-user": "it sets runs", "says-options": "is for the user to say"}),
    ({"lr": np.float32(0.1), "loss": "ce"},
     {"fits-toml": "not what TOML can say"}),
    (unsure, {"same-every-time": "other values for epochs"}),
    ({"sched": "SRDG-10-2"}, {"names-what-there-is": "its sched 'SRDG-10-2' means nothing"}),
    ({"aug": "flip+turn-the-page"}, {"names-what-there-is": "its aug 'turn-the-page'"}),
    ({"head": "mpl"}, {"names-what-there-is": "its head 'mpl' means nothing"}),
    (lambda: 3, dict.fromkeys(ASKED, "not a mapping of options")
     | {"says-options": "must be a mapping"}),
]  # fmt: skip


def test_right_recipes_pass():
    made = subject("recipe", rate, params=(Param(name="lr", default=0.1),))
    assert failing(recipes.CHECKS, made) == {}
    assert skipped(recipes.CHECKS, made) == set()
    plain = subject("recipe", {"epochs": 3, "warmup": None})
    assert failing(recipes.CHECKS, plain) == {}
    assert skipped(recipes.CHECKS, plain) == {"names-what-there-is"}


@pytest.mark.parametrize(
    ("target", "caught"), WRONG_RECIPES, ids=map(str, range(len(WRONG_RECIPES)))
)
def test_a_wrong_recipe_is_caught(target, caught):
    assert_caught(recipes.CHECKS, subject("recipe", target), caught)


# ---- commands ---------------------------------------------------------------------------------

MODULE = """
import click
{imports}

@click.group()
def tools():
    "Tools for pictures."

@tools.command()
def count():
    "Counts pictures."

@click.command()
def silent():
    pass

def explain(context, parameter, value):
    raise RuntimeError("no terminal")

broken = click.Command("broken", help="Breaks.", params=[
    click.Option(["--help"], is_flag=True, is_eager=True, callback=explain)])
nothing = click.Command
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A command in a module on disk: its import is tried in a process of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(attribute="tools", *, imports="", **declared):
        module = f"commands_{attribute}"
        (tmp_path / f"{module}.py").write_text(MODULE.format(imports=imports))
        made = subject("command", None, **declared)
        component = made.entry.component
        from dataclasses import replace

        component = replace(component, target=f"{module}:{attribute}")
        return replace(made, entry=replace(made.entry, component=component))

    yield make
    for name in [name for name in sys.modules if name.startswith("commands_")]:
        del sys.modules[name]


def test_a_right_command_passes(command):
    assert failing(commands.CHECKS, command()) == {}


OPENED = ("is-a-click-command", "shows-its-help", "says-what-it-does")
WRONG_COMMANDS = [
    ({"attribute": "nothing"}, dict.fromkeys(OPENED, "its target is a Command, not")),
    ({"attribute": "broken"}, {"shows-its-help": "ends with 1: RuntimeError: no terminal"}),
    ({"attribute": "silent"}, {"says-what-it-does": "no help text"}),
    ({"name": "kfold"}, {"shadows-no-command": "its own named kfold"}),
    ({"aliases": ("LR_find",)}, {"shadows-no-command": "its own named LR_find"}),
    ({"params": (Param(name="top"),)}, {"declares-no-params": "nobody gives a command top"}),
    ({"imports": "import numpy"}, {"imports-no-torch": "imports numpy: do that in the function"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "caught"), WRONG_COMMANDS, ids=map(str, range(len(WRONG_COMMANDS)))
)
def test_a_wrong_command_is_caught(command, given, caught):
    assert_caught(commands.CHECKS, command(**given), caught)


def test_built_in_commands_are_zoos():
    from zoo.cli.main import cli

    assert set(cli.list_commands(click.Context(cli))) == commands.BUILT_IN


# ---- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "table"),
    [(exporters, WRONG_EXPORTERS), (recipes, WRONG_RECIPES), (commands, WRONG_COMMANDS)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_check_can_fail(module, table):
    assert_each_can_fail(module.CHECKS, table)
