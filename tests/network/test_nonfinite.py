"""The first module, parameter or gradient with a value that is not finite."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zoo.network.nonfinite import count_non_finite, first_non_finite, non_finite_at_rest


class Block(nn.Module):
    """Defined in another order than it runs, and returns a tuple on the way."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.first = nn.Linear(3, 4)
        self.pair = Pair()

    def forward(self, inputs):
        kept, other = self.pair(self.first(inputs))
        return {"logits": self.last(kept + other["more"][0])}["logits"]


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.divide_by = 1.0

    def forward(self, inputs):
        return inputs, {"more": [inputs / self.divide_by]}


def network():
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()


INPUTS = torch.arange(12.0).reshape(4, 3)


def test_all_finite_is_nothing():
    model = network()
    model(INPUTS).sum().backward()
    assert first_non_finite(model, INPUTS) == ""
    assert count_non_finite(torch.tensor([2**40])) == ""


def test_the_batch_comes_first():
    inputs = INPUTS.clone()
    inputs[1, 2] = float("nan")
    assert first_non_finite(network(), inputs) == "the input batch: 1 NaN of 12 values"


def test_a_bad_weight_is_named_with_the_module_that_runs_first():
    model = network()
    with torch.no_grad():
        model[0].last.bias[0] = float("nan")
        model[0].first.weight[1, 1] = float("inf")
    assert first_non_finite(model, INPUTS) == (
        "the output of 0.first (Linear): 4 infinite of 16 values; its weight has 1 infinite of 12 "
        "values"
    )


def test_what_a_module_computes_is_found_inside_tuples_and_mappings():
    model = network()
    model[0].pair.divide_by = torch.zeros(())
    found = first_non_finite(model, INPUTS)
    assert found == "the output of 0.pair (Pair): 16 infinite of 16 values"


@pytest.mark.parametrize("what", ["gradient", "unused parameter", "buffer"])
def test_what_the_pass_does_not_show_is_looked_for_at_rest(what):
    model = network()
    if what == "gradient":
        model(INPUTS).sum().backward()
        model[0].last.weight.grad[0, 0] = float("inf")
        expected = "the gradient of 0.last.weight: 1 infinite of 8 values"
    elif what == "unused parameter":
        model.register_parameter("spare", nn.Parameter(torch.tensor([float("nan"), 1.0])))
        expected = "the parameter spare: 1 NaN of 2 values"
    else:
        model[1].running_var[1] = float("inf")  # not used while training
        expected = "the buffer 1.running_var: 1 infinite of 2 values"
    assert first_non_finite(model, INPUTS) == expected


def test_names_cannot_act_on_a_terminal():
    model = network()
    model.register_parameter("a\x1b[31m", nn.Parameter(torch.tensor(float("nan"))))
    assert first_non_finite(model, INPUTS) == "the parameter a\\x1b[31m: 1 NaN of 1 values"


@pytest.mark.parametrize("bad", [False, True])
def test_the_network_is_left_as_it_was(bad):
    model = network()
    if bad:
        with torch.no_grad():
            model[0].last.bias[0] = float("nan")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    first_non_finite(model, INPUTS)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), before[name].nan_to_num()), name
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    model(INPUTS)
    assert model[1].num_batches_tracked == 1


def test_the_innermost_module_is_named():
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))
    with torch.no_grad():
        model[0][1].weight.fill_(float("nan"))
    assert first_non_finite(model, INPUTS).startswith("the output of 0.1 (Linear): 8 NaN of 8")
    alone = nn.Linear(3, 2)
    with torch.no_grad():
        alone.weight.fill_(float("nan"))
    assert first_non_finite(alone, INPUTS).startswith("the output of the network (Linear)")


def test_the_mask_of_an_attention_may_be_minus_infinity():
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    assert non_finite_at_rest(model) == ""
    model.mask[0] = math.nan
    assert non_finite_at_rest(model, prefix="block") == "the buffer block.mask: 1 NaN of 2 values"
