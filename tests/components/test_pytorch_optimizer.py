"""The catalogue of pytorch_optimizer: what is declared, and what is expected of each of them."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import groupby
from typing import Literal, get_args, get_origin

import pytest
import pytorch_optimizer.optimizer as library
import torch
from building import build
from torch import nn

import zoo_pytorch_optimizer
from zoo.errors import UsageError
from zoo.plugin import fold
from zoo.registry import Entry, PluginRecord, Registry, parse_choice
from zoo.testing import cases
from zoo_pytorch_optimizer._catalogue import DIFFERENT, NO_DECAY
from zoo_pytorch_optimizer.optimizers import build as target

COMPONENTS = {component.name: component for component in zoo_pytorch_optimizer.zoo_components()}
LEFT_OUT = dict(
    re.findall(r"^([a-z0-9]+) {2,}(\S.*)$", zoo_pytorch_optimizer.__doc__, re.MULTILINE)
)

# ---- what is declared ---------------------------------------------------------------------------

# What no spec string can say, or what has no effect here, for groups carry it.
NOT_DECLARED = {
    "params", "lr", "weight_decay", "kwargs", "maximize", "foreach", "fused", "growth_rate",
    "momentum_dtype", "fim_dtype", "compute_dtype", "precondition_dtype", "mu_dtype",
    "clip_lambda", "norm_type", "norm_kwargs", "ns_coeffs", "ns_reset_steps",
    "adamw_lr", "adamw_wd", "master_weight_bits",
}  # fmt: skip


def test_the_table_is_the_librarys_catalogue_and_says_why_something_is_missing():
    assert set(COMPONENTS) & set(LEFT_OUT) == set()
    assert set(COMPONENTS) | set(LEFT_OUT) == set(library.OPTIMIZERS)
    assert all(reason.strip() for reason in LEFT_OUT.values())
    assert len({fold(name) for name in COMPONENTS}) == len(COMPONENTS) >= 90


@pytest.mark.parametrize("name", COMPONENTS)
def test_arguments_and_defaults_are_the_librarys(name):
    theirs = {}
    for argument in inspect.signature(library.OPTIMIZERS[name]).parameters.values():
        if argument.name in NOT_DECLARED:
            continue
        if isinstance(argument.default, tuple):
            stem = argument.name.replace("betas", "beta#").replace("nus", "nu#")
            for number, value in enumerate(argument.default, start=1):
                theirs[stem.replace("#", str(number))] = value
        else:
            theirs[argument.name] = argument.default
    ours = {param.name: param.default for param in COMPONENTS[name].params}
    assert list(ours) == list(theirs)
    for argument, value in theirs.items():
        expected = not value if (name, argument) in DIFFERENT else value
        assert ours[argument] == expected, argument
        assert type(ours[argument]) is type(expected), argument


@pytest.mark.parametrize("name", COMPONENTS)
def test_choices_are_those_that_the_library_takes(name):
    weight = nn.Parameter(torch.ones(3, 2))
    facts = {"params": [{"params": [weight], "lr": 0.1}], "lr": 0.1, "weight_decay": 0.0}
    for param in COMPONENTS[name].params:
        if not param.choices:
            continue
        for choice in param.choices:
            build(COMPONENTS[name], facts, **{param.name: choice})
        theirs = inspect.signature(library.OPTIMIZERS[name]).parameters[param.name].annotation
        if get_origin(theirs) is Literal:
            assert set(param.choices) == set(get_args(theirs))
        else:
            with pytest.raises(UsageError, match=name):
                build(COMPONENTS[name], facts, **{param.name: "nonsense"})


def test_declaring_imports_neither_the_library_nor_torch():
    code = (
        "import sys, zoo_pytorch_optimizer as p\n"
        "assert len(list(p.zoo_components())) > 90\n"
        "sys.exit(str({'torch', 'numpy', 'pytorch_optimizer'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_which_take_no_weight_decay_is_said():
    lacking = {
        name for name in COMPONENTS
        if "weight_decay" not in inspect.signature(library.OPTIMIZERS[name]).parameters
    }  # fmt: skip
    assert lacking == NO_DECAY
    for name, component in COMPONENTS.items():
        assert ("no weight decay" in component.summary) == (name in NO_DECAY)


def test_bare_names_go_on_meaning_what_they_meant(registry: Registry):
    for name in ("adabelief", "lion", "ranger", "radam"):
        assert registry.find("optimizer", name).id == f"torch/{name}"
    for name in ("adan", "lamb", "madgrad", "muon"):
        assert registry.find("optimizer", name).id == f"timm/{name}"
    assert registry.find("optimizer", "prodigy").id == "pytorch-optimizer/prodigy"
    own = parse_choice(registry, "optimizer", "pytorch-optimizer/lion:beta1=0.8")
    assert (own.entry.id, own.arguments["beta1"]) == ("pytorch-optimizer/lion", 0.8)


# ---- what is expected of an optimizer -----------------------------------------------------------

_NO_DECAY = "takes no weight decay; its summary says so"
_OWN_RATE = "estimates its rate over all groups from a first guess of 1e-6, and begins that slowly"
_MOVES = "moves at rate 0"
EXPECTED: Mapping[tuple[str, str], str] = {
    ("accsgd", "obeys-each-rate"): f"{_MOVES}: its long step is a multiple of the short one",
    ("adafactor", "obeys-each-rate"): f"{_MOVES}: its momentum holds steps, rate included",
    ("adago", "obeys-each-rate"): f"{_MOVES}: no step is smaller than eps",
    ("adago", "groups-keep-their-rate"): f"{_MOVES}: no step is smaller than eps",
    ("apollodqn", "obeys-each-rate"): f"{_MOVES}: warms up from init_lr by itself",
    ("apollodqn", "groups-keep-their-rate"): f"{_MOVES}: warms up from init_lr by itself",
    ("ftrl", "obeys-each-rate"): f"{_MOVES}: its weights are a function of all gradients so far",
    ("ftrl", "groups-keep-their-rate"): "its weights are a function of all gradients so far",
    ("laprop", "obeys-each-rate"): f"{_MOVES}: its momentum holds steps, rate included",
    ("madgrad", "obeys-each-rate"): f"{_MOVES}: follows a mean of past iterates",
    ("nero", "obeys-each-rate"): f"{_MOVES}: keeps each neuron's weights normal",
    ("nero", "groups-keep-their-rate"): f"{_MOVES}: keeps each neuron's weights normal",
    ("srmm", "groups-keep-their-rate"): f"{_MOVES}: follows a mean of past iterates",
    ("adabound", "descends-badly-scaled"): "its final rate of 0.1 is fixed, and too large there",
    ("apollodqn", "descends-badly-scaled"): "its curvature is estimated anew, and too small there",
    ("dualadam", "descends-badly-scaled"): "its inverse Adam has no bound for large gradients",
    ("racs", "descends-badly-scaled"): "scales by rows and columns, which here hide each other",
    ("dadaptadan", "descends-badly-scaled"): _OWN_RATE,
    ("dadaptadagrad", "obeys-each-rate"): f"{_MOVES}: its dual averages hold rates",
    ("dadaptadam", "obeys-each-rate"): f"{_MOVES}: its momentum holds steps, rate included",
    ("dadaptsgd", "takes-a-closure"): _OWN_RATE,
    **{(name, "decays-by-group"): _NO_DECAY for name in sorted(NO_DECAY)},
    **{(name, "groups-keep-their-rate"): _OWN_RATE for name in (
        "dadaptadagrad", "dadaptadam", "dadaptadan", "dadaptlion", "dadaptsgd", "prodigy",
    )},
    **{(name, check): _OWN_RATE
       for name in ("dadaptadagrad", "dadaptadan", "dadaptlion", "dadaptsgd")
       for check in ("moves-every-shape", "decays-by-group")},
    ("prodigy", "decays-by-group"): _OWN_RATE,
}  # fmt: skip

# Those whose state or groups this plugin has a hand in; of the others every eighth.
BY_HAND = {
    "adahessian", "dadaptadam", "muon", "ranger", "rose", "stablespam",
}  # fmt: skip


def gathered():
    record = PluginRecord(
        namespace="pytorch-optimizer", module="zoo_pytorch_optimizer",
        distribution="classifier-zoo", version="0.1.0", components=tuple(COMPONENTS.values()),
    )  # fmt: skip
    expected = {f"optimizer/pytorch-optimizer/{n}::{c}": why for (n, c), why in EXPECTED.items()}
    made = cases(record, expected_failures=expected)
    for number, (_, group) in enumerate(groupby(made, key=lambda case: case.values[0].subject.id)):
        checked = [case.values[0] for case in group]
        name = checked[0].subject.component.name
        quick = name in BY_HAND or number % 8 == 0
        yield pytest.param(checked, id=name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("checked", list(gathered()))
def test_conformance(checked):
    results = [case.result() for case in checked]
    assert [f"{one.id} {one.status}: {one.message}" for one in results if not one.ok] == []


# ---- what this plugin does itself ---------------------------------------------------------------


def groups_of(*shapes, **more):
    torch.manual_seed(0)
    return [{"params": [nn.Parameter(torch.randn(shape)) for shape in shapes], "lr": 0.1, **more}]


def test_pairs_are_put_together_and_the_librarys_default_stands_for_none():
    facts = {"params": groups_of((2, 2)), "lr": 0.1, "weight_decay": 0.0}
    adan = target(**facts, name="adan", beta2=0.5)
    assert adan.param_groups[0]["betas"] == (0.98, 0.5, 0.99)
    assert target(**facts, name="qhadam", nu1=0.7).param_groups[0]["nus"] == (0.7, 1.0)
    mars = target(**facts, name="mars", beta1_1d=0.8)
    assert tuple(mars.param_groups[0]["betas_1d"]) == (0.8, 0.95)


def test_muon_takes_matrices_and_kernels_and_leaves_vectors_to_adamw():
    groups = groups_of((3, 2), (4,), (2, 2, 3, 3), base_lr=0.1)
    matrix, vector, kernel = groups[0]["params"]
    muon = target(groups, name="muon", lr=0.1, weight_decay=0.0)
    found = [(g["use_muon"], g["base_lr"], len(g["params"])) for g in muon.param_groups]
    assert found == [(True, 0.1, 2), (False, 0.1, 1)]
    assert muon.param_groups[0]["params"][1] is kernel
    matrix.grad, vector.grad = torch.randn(3, 2), torch.tensor([1.0, -2.0, 0.5, 3.0])
    before = matrix.detach().clone(), vector.detach().clone()
    muon.step()
    # AdamW's first step is the rate times the sign; Muon's an orthogonal matrix times a number.
    expected = before[1] - 0.1 * vector.grad.sign()
    torch.testing.assert_close(vector.detach(), expected, rtol=1e-5, atol=1e-6)
    left, right = torch.linalg.svdvals(before[0] - matrix.detach())
    assert left / right < 2 < torch.linalg.cond(matrix.grad) + 1.5


def test_second_order_without_a_graph_is_a_clear_error():
    groups = groups_of((3, 2))
    optimizer = target(groups, name="sophiah", lr=0.1, weight_decay=0.0)
    assert optimizer.is_second_order
    groups[0]["params"][0].square().sum().backward()
    with pytest.raises(UsageError, match="second derivatives"):
        optimizer.step()


def test_what_the_library_refuses_is_a_usage_error():
    with pytest.raises(UsageError, match="adan cannot be built") as caught:
        target(groups_of((2, 2)), name="adan", lr=0.1, weight_decay=0.0, beta1=7.0)
    assert "beta1" in caught.value.found


@pytest.mark.parametrize("name", ["radam", "ranger"])
def test_the_first_steps_go_downhill_where_the_librarys_own_default_does_not(name):
    def losses(**arguments):
        weight = nn.Parameter(torch.full((3, 2), 5.0))
        entry = Entry(COMPONENTS[name], PluginRecord(
            namespace="pytorch-optimizer", module="", distribution="classifier-zoo", version="",
        ))  # fmt: skip
        facts = {"params": [{"params": [weight], "lr": 0.1}], "lr": 0.1, "weight_decay": 0.0}
        optimizer = build(entry.component, facts, **arguments)
        if name == "ranger":  # which takes the mean out of gradients, here all of it
            optimizer.use_gc = False
        seen = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = weight.square().sum()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return seen

    ours, theirs = losses(), losses(degenerated_to_sgd=False)
    assert ours == sorted(ours, reverse=True)
    assert ours[-1] < ours[0]
    assert theirs[-1] >= theirs[0]
