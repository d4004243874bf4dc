from __future__ import annotations

import inspect
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec

import pytest
import timm.optim
from building import target_of

import zoo_torch
from zoo.plugin import fold
from zoo_timm._optimizers import optimizer_components

COMPONENTS = [*zoo_torch.zoo_components(), *optimizer_components()]

LIGHT = """
import sys, zoo_torch
from zoo_timm._optimizers import optimizer_components
print(len(list(zoo_torch.zoo_components())), len(list(optimizer_components())))
heavy = {"torch", "timm", "numpy", "torchvision", "pytorch_optimizer"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_declaring_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, timms = map(int, done.stdout.split())
    assert ours == len(list(zoo_torch.zoo_components()))
    assert timms > 80


def test_timm_list_is_what_timm_says():
    told = {
        name: " ".join(text.split())
        for name, text in timm.optim.list_optimizers(with_description=True)
    }
    assert {c.name: c.summary for c in optimizer_components()} == told
    assert [c.name for c in optimizer_components()] == timm.optim.list_optimizers()


def test_timm_arguments_are_what_timm_says():
    for component in optimizer_components():
        info = timm.optim.get_optimizer_info(component.name)
        names = {param.name for param in component.params}
        assert ("momentum" in names) == info.has_momentum
        assert ("eps" in names) == info.has_eps
        assert sum(name.startswith("beta") for name in names) == info.has_betas * info.num_betas


def test_without_timm_there_is_nothing(monkeypatch):
    import zoo_timm._optimizers as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert list(module.optimizer_components()) == []


@pytest.mark.parametrize(
    ("name", "package"),
    [("fusedadam", "apex"), ("bnblion", "bitsandbytes"), ("kron", "opt_einsum")],
)
def test_components_of_other_packages_say_so(name, package):
    (component,) = [c for c in optimizer_components() if c.name == name]
    assert component.requires == (package,)


def test_second_order_is_tagged():
    tagged = {c.name for c in optimizer_components() if "needs-create-graph" in c.tags}
    assert tagged == {
        name
        for name in timm.optim.list_optimizers()
        if timm.optim.get_optimizer_info(name).second_order
    }


def test_names_are_unique_within_a_plugin():
    for plugin in (zoo_torch.zoo_components(), optimizer_components()):
        names = Counter((c.kind, fold(name)) for c in plugin for name in (c.name, *c.aliases))
        assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.kind}-{c.name}")
def test_target_takes_what_is_declared(component):
    wanted = inspect.signature(target_of(component)).parameters
    declared = {param.name for param in component.params} | set(component.preset)
    assert declared <= set(wanted)
    facts = {"params", "lr", "weight_decay", "epochs", "class_weight_K"}
    required = {name for name, p in wanted.items() if p.default is inspect.Parameter.empty}
    assert required <= declared | facts
    assert component.summary
    for param in component.params:
        assert param.summary
        # A declared default must pass its own range: the registry checks only what users type.
        if param.default is None:
            assert param.optional
        elif param.type in ("int", "float"):
            assert param.minimum is None or param.default >= param.minimum
            assert param.maximum is None or param.default <= param.maximum
            assert param.above is None or param.default > param.above
            assert param.below is None or param.default < param.below


def test_apex_without_apex_is_a_clear_error():
    if find_spec("apex"):
        pytest.skip("apex is installed")
    import torch

    from zoo.errors import UsageError
    from zoo_timm.optimizers import build

    group = {"params": [torch.zeros(2, requires_grad=True)], "lr": 0.1}
    with pytest.raises(UsageError, match="fusedadam"):
        build([group], name="fusedadam", lr=0.1, weight_decay=0.0)
