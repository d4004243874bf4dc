"""A linear head and its loss in C, against torch's operations and optimizers in float64.

N rows of a table, B batch, F features, K classes.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from zoo.network.fast.native import AdamSteps, Tuned
from zoo.network.fast.native import linear as native_linear
from zoo.protocols import SoftmaxCost

COSTS = {
    "ce": SoftmaxCost(),
    "smoothed": SoftmaxCost(smoothing=0.1),
    "focal": SoftmaxCost(gamma=2.0),
    "focal-half": SoftmaxCost(gamma=0.5, alpha=0.25),
    "focal-3": SoftmaxCost(gamma=3.0),
    "poly": SoftmaxCost(epsilon=1.5),
    "all": SoftmaxCost(gamma=1.5, alpha=2.0, epsilon=-0.5),
}


def mean_cost(cost, logits_BK, target_B):
    """Returns the mean of a cost, as its formula says."""
    if cost.smoothing:
        return functional.cross_entropy(logits_BK, target_B, label_smoothing=cost.smoothing)
    log_p_B = logits_BK.log_softmax(1).gather(1, target_B[:, None])[:, 0]
    others_B = -torch.expm1(log_p_B)
    return (cost.alpha * others_B**cost.gamma * -log_p_B + cost.epsilon * others_B).mean()


def problem(num_rows=40, num_samples=13, num_features=21, num_classes=5, *, bias=True, seed=0):
    """Returns a table, places, their classes, weight and bias, made up."""
    numbers = torch.Generator().manual_seed(seed)
    table_NF = torch.randn(num_rows, num_features, generator=numbers)
    places_B = torch.randint(num_rows, (num_samples,), generator=numbers)
    target_B = torch.randint(num_classes, (num_samples,), generator=numbers)
    weight_KF = torch.randn(num_classes, num_features, generator=numbers)
    bias_K = torch.randn(num_classes, generator=numbers) if bias else None
    return table_NF, places_B, target_B, weight_KF, bias_K


def close(found, expected, share=1e-5):
    assert found.shape == expected.shape
    scale = max(1.0, expected.abs().max().item())
    assert (found.double() - expected).abs().max().item() <= share * scale


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 70), st.integers(1, 70), st.integers(2, 40)),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_the_gradient_is_that_of_the_formula(linear_kernels, cost, sizes, bias, seed):
    table_NF, places_B, target_B, *layer = problem(*sizes, bias=bias, seed=seed)
    made = linear_kernels.gradient(cost, table_NF, places_B, target_B, *layer)
    exact = [one.double().requires_grad_() for one in layer if one is not None]
    logits_BK = functional.linear(table_NF[places_B].double(), *exact)
    loss = mean_cost(cost, logits_BK, target_B)
    found = [one for one in (made.weight_KF, made.bias_K) if one is not None]
    for one, other in zip(
        (made.loss, made.logits_BK, *found),
        (loss.detach(), logits_BK.detach(), *torch.autograd.grad(loss, exact)),
        strict=True,
    ):
        close(one, other)
    assert (made.bias_K is None) == (not bias)
    assert torch.equal(linear_kernels.scores(table_NF, places_B, *layer), made.logits_BK)


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_scores_have_a_finite_loss_and_gradient(linear_kernels, cost, size):
    """Right by far, and wrong by far."""
    table_NF = torch.eye(3)
    weight_KF = size * (2 * torch.eye(3) - 1)
    made = linear_kernels.gradient(
        cost, table_NF, torch.tensor([0, 1, 2]), torch.tensor([0, 2, 1]), weight_KF, None
    )
    assert made.loss.isfinite()
    assert made.weight_KF.isfinite().all()


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("margin", [5.0, 12.0, 20.0])
def test_samples_that_are_right_for_sure_cost_what_they_cost(linear_kernels, cost, offset, margin):
    """Their loss is far below 1, and their scores may be far above."""
    _, _, target_B, scores_KB, _ = problem(num_samples=16, num_features=16)
    scores_KB += offset
    scores_KB[target_B, torch.arange(16)] += margin
    made = linear_kernels.gradient(cost, torch.eye(16), torch.arange(16), target_B, scores_KB, None)
    exact_KB = scores_KB.double().requires_grad_()
    loss = mean_cost(cost, exact_KB.T, target_B)
    (slope_KB,) = torch.autograd.grad(loss, exact_KB)
    assert made.loss.item() == pytest.approx(loss.item(), rel=3e-6)
    assert (made.weight_KF - slope_KB).abs().max() <= 3e-6 * slope_KB.abs().max()


@pytest.mark.parametrize("of", ["places", "classes"])
@pytest.mark.parametrize("index", [-1, 40, 10**12])
def test_no_memory_is_read_where_there_is_no_row_or_class(linear_kernels, of, index):
    table_NF, places_B, target_B, *layer = problem(num_samples=14)
    (places_B if of == "places" else target_B)[11] = index
    with pytest.raises(IndexError, match="no row"):
        linear_kernels.gradient(SoftmaxCost(), table_NF, places_B, target_B, *layer)
    moved = [tuned(one.clone(), 0.0) for one in layer]
    steps = AdamSteps(
        weight=moved[0], bias=moved[1], betas=(0.8, 0.9), epsilon=1e-6, decoupled=True, before=0,
        counts=[7, 7], rates=[(0.1, 0.1)] * 2,
    )  # fmt: skip
    with pytest.raises(IndexError, match="no row"):
        linear_kernels.make(SoftmaxCost(), steps, table_NF, places_B, target_B)
    assert all(torch.equal(one.value, other) for one, other in zip(moved, layer, strict=True))
    if of == "places":
        with pytest.raises(IndexError, match="no row"):
            linear_kernels.scores(table_NF, places_B, *layer)


def test_what_torch_makes_of_numbers_by_default_is_nothing_to_it(linear_kernels):
    given = problem()
    expected = linear_kernels.gradient(SoftmaxCost(), *given)
    try:
        torch.set_default_dtype(torch.float64)  # a narrower one would have memory overwritten
        made = linear_kernels.gradient(SoftmaxCost(), *given)
        right = native_linear._computes_right.__wrapped__(linear_kernels)
    finally:
        torch.set_default_dtype(torch.float32)
    assert right
    assert all(map(torch.equal, made, expected))
    assert {one.dtype for one in made} == {torch.float32}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_have_no_loss(linear_kernels, bad):
    table_NF, places_B, target_B, weight_KF, bias_K = problem()
    weight_KF[1, 0] = bad
    assert not linear_kernels.gradient(
        SoftmaxCost(), table_NF, places_B, target_B, weight_KF, bias_K
    ).loss.isfinite()


# ---- steps ------------------------------------------------------------------------------------


COUNTS = [7, 8, 7, 1, 8, 8]
RATES = [(0.1 / step, 0.05 / step) for step in range(1, 7)]


def tuned(value, decay):
    return Tuned(value, torch.empty_like(value), *torch.zeros(2, *value.shape), decay)


def trained(linear_kernels, layer, at_once, *, decoupled, cost="ce"):
    """Trains a layer by some steps, so many in a call, and returns it with what the calls say."""
    table_NF, places_S, target_S, *_ = problem(num_samples=sum(COUNTS))
    moved = [tuned(one.clone(), decay) for one, decay in zip(layer, (0.1, 0.01), strict=False)]
    losses, logits = [], []
    for first in range(0, len(COUNTS), at_once):
        begin = sum(COUNTS[:first])
        counts = COUNTS[first : first + at_once]
        some = slice(begin, begin + sum(counts))
        steps = AdamSteps(
            weight=moved[0], bias=moved[1] if len(moved) > 1 else None, betas=(0.8, 0.9),
            epsilon=1e-6, decoupled=decoupled, before=first, counts=counts,
            rates=RATES[first : first + at_once],
        )  # fmt: skip
        loss, logits_SK = linear_kernels.make(
            COSTS[cost], steps, table_NF, places_S[some], target_S[some]
        )
        losses.append(loss)
        logits.append(logits_SK)
    return moved, torch.cat(losses), torch.cat(logits)


@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("cost", ["ce", "focal"])
def test_the_steps_are_those_of_torchs_optimizer(linear_kernels, decoupled, bias, cost):
    layer = [one for one in problem(bias=bias)[3:] if one is not None]
    moved, losses, logits_SK = trained(linear_kernels, layer, 6, decoupled=decoupled, cost=cost)
    exact = [one.double().requires_grad_() for one in layer]
    groups = [
        {"params": [one], "weight_decay": decay}
        for one, decay in zip(exact, (0.1, 0.01), strict=False)
    ]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind(groups, betas=(0.8, 0.9), eps=1e-6)
    table_NF, places_S, target_S, *_ = problem(num_samples=sum(COUNTS))
    parts = zip(
        places_S.split(COUNTS), target_S.split(COUNTS), logits_SK.split(COUNTS), strict=True
    )
    for number, (places_B, target_B, found_BK) in enumerate(parts):
        for group, rate in zip(optimizer.param_groups, RATES[number], strict=False):
            group["lr"] = rate
        logits_BK = functional.linear(table_NF[places_B].double(), *exact)
        loss = mean_cost(COSTS[cost], logits_BK, target_B)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        close(losses[number], loss.detach(), 1e-4)
        close(found_BK, logits_BK.detach(), 1e-4)
    for one, other in zip(moved, exact, strict=True):
        close(one.value, other.detach(), 1e-4)
        close(one.gradient, other.grad, 1e-4)
        close(one.mean, optimizer.state[other]["exp_avg"], 1e-4)
        close(one.square, optimizer.state[other]["exp_avg_sq"], 1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_how_many_steps_a_call_makes_changes_no_bit(linear_kernels, at_once):
    layer = problem()[3:]
    many, losses, logits_SK = trained(linear_kernels, layer, 6, decoupled=True)
    few, same_losses, same_SK = trained(linear_kernels, layer, at_once, decoupled=True)
    assert torch.equal(losses, same_losses)
    assert torch.equal(logits_SK, same_SK)
    for one, other in zip(many, few, strict=True):
        assert all(map(torch.equal, one[:4], other[:4]))


def test_it_ends_before_a_step_whose_loss_is_not_finite(linear_kernels):
    table_NF, places_S, target_S, *layer = problem(num_samples=21)
    table_NF[places_S[8]] = float("nan")
    assert places_S[8] not in places_S[:7]
    moved = [tuned(one.clone(), 0.0) for one in layer]
    steps = AdamSteps(
        weight=moved[0], bias=moved[1], betas=(0.8, 0.9), epsilon=1e-6, decoupled=True, before=0,
        counts=[7, 7, 7], rates=[(0.1, 0.1)] * 3,
    )  # fmt: skip
    losses, _ = linear_kernels.make(SoftmaxCost(), steps, table_NF, places_S, target_S)
    assert len(losses) == 1
    assert losses.isfinite().all()
    assert all(one.value.isfinite().all() for one in moved)
    assert not torch.equal(moved[0].value, layer[0])


@pytest.mark.parametrize(
    "wrong", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"gamma": -1.0},
              {"smoothing": 0.1, "gamma": 1.0}, {"smoothing": 0.1, "alpha": 2.0}]
)  # fmt: skip
def test_a_cost_out_of_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match="smoothing"):
        SoftmaxCost(**wrong)
