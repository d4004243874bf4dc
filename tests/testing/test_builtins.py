"""The built-in models and losses run the kit that third parties run, with no special case.

The other kinds are in test_builtins_other_kinds.py. In the default run are, by these rules:

- every loss, with several settings of each;
- of the models of ``classics`` the four networks of courses;
- of the smallest model of each family of timm the three that take the kit least time, a second
  each, and of torchvision the smallest model, whose head is not its end;
- the declarations of every 200th other model.

``pytest -m slow tests/testing`` has the smallest model of every family of timm and every model of
torchvision, those of up to 13 million parameters, and all declarations. The kit builds a network
thirty times; larger ones are built, frozen and trained once by tests/models/test_every_family.py.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import pytest
import torch
from loss_references import SETTINGS, example

from tests.models.test_every_family import FLATTENED_AFTER_THE_HEAD, SEVERAL_HEADS, families
from zoo.registry import Registry, discover
from zoo.registry.settings import Settings
from zoo.testing import cases, declaration
from zoo.testing.checking import attempt
from zoo.testing.networks import built

PLUGINS = {p.namespace: p for p in Registry(discover(Settings(only=frozenset()))).plugins}

QUICK = {
    "classics": ["lenet", "cifar-quick", "mlp-mnist", "mlp-cifar"],
    "timm": ["test_resnet", "test_efficientnet", "test_mambaout"],
    "torchvision": ["squeezenet1_1"],
}
SLOW = {
    "timm": sorted(set(families().values()) - set(QUICK["timm"])),
    "torchvision": [
        c.name for c in PLUGINS["torchvision"].components
        if c.kind == "model" and c.name not in QUICK["torchvision"]
    ],
}  # fmt: skip

_SMOOTHED = "class weights act inside the smoothed sum, as in torch.nn.functional.cross_entropy"
EXPECTED = {
    "loss/torch/ce-1::class-weights": _SMOOTHED,
    "loss/torch/label-smoothing-0::class-weights": _SMOOTHED,
}
"""What is known to be otherwise, and why. The number of a loss is that of its setting."""


def made(namespace, only, known=EXPECTED, **given):
    """The cases of some components of one plugin, with what is known of them."""
    ids = [param.id for param in cases(PLUGINS[namespace], only=only)]
    known = {glob: why for glob, why in known.items() if any(fnmatchcase(i, glob) for i in ids)}
    return cases(PLUGINS[namespace], only=only, expected_failures=known, **given)


QUICK_CASES = [
    param
    for namespace, names in QUICK.items()
    for param in made(namespace, [f"model/{name}" for name in names])
]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", QUICK_CASES)
def test_models(case):
    case.run()


def require_all_is_well(results):
    wrong = [f"{one.id} {one.status}: {one.message}" for one in results if not one.ok]
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("namespace", "name"),
    [pytest.param(n, name, id=f"{n}-{name}") for n, names in SLOW.items() for name in names],
)
def test_other_models(namespace, name):
    checked = made(namespace, [f"model/{name}"])
    network, _ = built(checked[0].values[0].subject)
    if (size := sum(p.numel() for p in network.parameters())) > 13e6:
        pytest.skip(f"{size / 1e6:.0f} million parameters: tests/models/test_every_family.py")
    results = [param.values[0].result() for param in checked]
    require_all_is_well(results)
    uncached = name in SEVERAL_HEADS | FLATTENED_AFTER_THE_HEAD
    (features,) = [r for r in results if r.check == "features-can-be-cached"]
    assert features.status == ("not applicable" if uncached else "passed")


@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        pytest.param(name, number, arguments, id=f"{name}-{number}")
        for name, (_, settings) in SETTINGS.items()
        for number, arguments in enumerate(settings)
    ],
)
def test_losses(name, number, arguments):
    known = {
        glob.replace(f"-{number}::", "::"): why
        for glob, why in EXPECTED.items()
        if glob.startswith(f"loss/torch/{name}-{number}::")
    }
    examples = {f"loss/{name}": example(name, arguments)}
    results = [
        p.values[0].result() for p in made("torch", [f"loss/{name}"], known, examples=examples)
    ]
    require_all_is_well(results)
    assert sum(result.status == "passed" for result in results) >= 20


def test_every_loss_and_every_family_is_among_them():
    losses = {c.name for p in PLUGINS.values() for c in p.components if c.kind == "loss"}
    assert losses == set(SETTINGS)
    checked = set(QUICK["timm"]) | set(SLOW["timm"])
    assert set(families().values()) <= checked
    assert len(QUICK_CASES) == 31 * sum(map(len, QUICK.values()))


def declarations(step):
    for plugin in PLUGINS.values():
        models = [f"model/{c.name}" for c in plugin.components if c.kind == "model"]
        if models:
            for param in cases(plugin, only=models[::step]):
                if param.values[0].check in declaration.CHECKS:
                    yield param.values[0]


@pytest.mark.parametrize("step", [200, pytest.param(1, marks=pytest.mark.slow)])
def test_declarations_of_models(step):
    checked = list(declarations(step))
    wrong = [
        f"{case.id}: {told.message}"
        for case in checked
        if (told := attempt(case.check, case.subject)).status == "failed"
    ]
    assert wrong == []
    num_models = len(checked) / len(declaration.CHECKS)
    assert num_models >= math.floor(1500 / step)
