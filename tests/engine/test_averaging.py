"""EMA, SWA and soups against numpy, timm and torch; swapping and restoring to the bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from zoo.engine.step.averaging import (
    WeightAverage,
    ema_decay,
    equal_decay,
    greedy_soup,
    uniform_soup,
)
from zoo.errors import CheckpointError
from zoo.network.freeze import set_modes, set_trainable
from zoo.network.statistics import recalibrate, statistics_held


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(4 * 36, 2),
    )  # fmt: skip


def images(seed, number=6):
    return torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def train_a_step(model, seed):
    torch.manual_seed(seed)  # dropout
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(images(seed)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_decay_warms_up_as_tensorflow_has_it():
    decays = [ema_decay(n, decay=0.99) for n in range(2000)]
    expected = np.minimum(0.99, (1 + np.arange(2000)) / (10 + np.arange(2000)))
    np.testing.assert_array_equal(decays, expected)
    assert decays.index(0.99) == 890


def test_ema_is_what_numpy_makes_of_the_same_weights():
    model, decay = network(), 0.7
    average = WeightAverage.ema(decay)
    average.follow(model)
    expected = {n: t.double().numpy() for n, t in copied(model).items()}
    for step in range(8):
        train_a_step(model, step)
        average.update()
        keep = min(decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            expected[name] = keep * expected[name] + (1 - keep) * tensor.double().numpy()
    averages = average.state_dict()["averages"]
    assert "1.running_mean" in averages
    assert "1.num_batches_tracked" not in averages
    for name, tensor in averages.items():
        np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=2e-5, atol=1e-6)
    assert not torch.equal(averages["5.weight"], model.state_dict()["5.weight"])


def test_ema_is_timms_with_the_same_decay():
    model = network()
    theirs = ModelEmaV3(model, decay=0.8)
    ours = WeightAverage(lambda n: 0.8)
    ours.follow(model)
    for step in range(5):
        train_a_step(model, step)
        ours.update()
        theirs.update(model)
    with ours.swapped():
        for name, tensor in theirs.module.state_dict().items():
            assert torch.allclose(model.state_dict()[name], tensor, rtol=1e-6, atol=1e-7), name


def test_swa_is_torchs_averaged_model_and_the_mean():
    model = network()
    ours, theirs, seen = WeightAverage.swa(), AveragedModel(model), []
    ours.follow(model)
    for epoch in range(5):
        train_a_step(model, epoch)
        ours.update()
        theirs.update_parameters(model)
        seen.append(copied(model))
    assert [equal_decay(n) for n in range(3)] == [0, 1 / 2, 2 / 3]
    mean = uniform_soup(seen)
    with ours.swapped():
        for name, parameter in theirs.module.named_parameters():
            assert torch.allclose(model.state_dict()[name], parameter, rtol=1e-5, atol=1e-7)
            assert torch.allclose(mean[name], parameter, rtol=1e-5, atol=1e-7)


def test_the_first_update_of_swa_forgets_what_was_before():
    model = network()
    average = WeightAverage.swa()
    average.follow(model)
    train_a_step(model, 0)
    now = copied(model)
    average.update()
    assert all(torch.equal(t, now[n]) for n, t in average.state_dict()["averages"].items())


def test_swapping_puts_the_exact_weights_back_also_after_an_error():
    model = network()
    average = WeightAverage.ema(0.9)
    average.follow(model)
    for step in range(3):
        train_a_step(model, step)
        average.update()
    before = copied(model)
    kept = {n: t.clone() for n, t in average.state_dict()["averages"].items()}
    inside = {}

    def stopped_inside():
        with average.swapped():
            inside.update(copied(model))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_inside()
    assert same(copied(model), before)
    assert not same(inside, before)
    assert all(torch.equal(inside[name], tensor) for name, tensor in kept.items())
    assert same(average.state_dict()["averages"], kept)


def freeze_then_all(model, average, *, steps_of=(4, 4)):
    """Trains the head, then everything; yields after each step."""
    for phase, (modules, steps) in enumerate(zip((("5",), ("",)), steps_of, strict=True)):
        set_trainable(model, modules)
        set_modes(model, modules, hold_statistics=phase == 0)
        average.follow(model)
        for step in range(steps):
            train_a_step(model, 10 * phase + step)
            average.update()
            yield phase, step


def test_what_is_frozen_costs_nothing_and_counts_as_if_it_had_been_averaged():
    model, average = network(), WeightAverage(lambda n: 0.8)
    reference = ModelEmaV3(model, decay=0.8)
    tracked = []
    for _ in freeze_then_all(model, average):
        reference.update(model)
        tracked.append(sorted(average.state_dict()["averages"]))
    assert tracked[0] == ["5.bias", "5.weight"]
    assert "0.weight" in tracked[-1]
    assert "1.running_var" in tracked[-1]
    with average.swapped():
        for name, tensor in reference.module.state_dict().items():
            assert torch.allclose(model.state_dict()[name], tensor, rtol=1e-6, atol=1e-7), name


def test_an_equal_average_counts_the_time_in_which_a_weight_was_frozen():
    model, average, seen = network(), WeightAverage.swa(), []
    for _ in freeze_then_all(model, average, steps_of=(2, 3)):
        seen.append(copied(model))
    mean = uniform_soup(seen)
    with average.swapped():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                assert torch.allclose(tensor, mean[name], rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("stop_after", [(0, 1), (0, 3), (1, 0), (1, 2)])
def test_an_average_resumes_to_the_bit_in_every_phase(stop_after):
    whole = network().to(memory_format=torch.channels_last)
    through = WeightAverage.ema(0.9)
    saved = None
    for at in freeze_then_all(whole, through):
        if at == stop_after:
            saved = copy.deepcopy((copied(whole), through.state_dict()))
    expected = through.state_dict()

    resumed = network(seed=5).to(memory_format=torch.channels_last)
    contiguous = {n: t.contiguous() for n, t in saved[1]["averages"].items()}  # as files are
    resumed.load_state_dict(saved[0])
    average = WeightAverage.ema(0.9)
    average.load_state_dict({**saved[1], "averages": contiguous}, resumed)
    phase, step = stop_after
    for later in range(phase, 2):
        modules = ("5",) if later == 0 else ("",)
        set_trainable(resumed, modules)
        set_modes(resumed, modules, hold_statistics=later == 0)
        average.follow(resumed)
        for index in range(step + 1 if later == phase else 0, 4):
            train_a_step(resumed, 10 * later + index)
            average.update()
    assert average.num_updates == expected["num_updates"] == 8
    assert same(average.state_dict()["averages"], expected["averages"])
    assert same(copied(resumed), copied(whole))


def test_the_average_of_another_network_is_refused():
    average = WeightAverage.ema(0.9)
    average.follow(network())
    other = nn.Sequential(nn.Conv2d(3, 5, 3))
    with pytest.raises(CheckpointError, match="another network"):
        WeightAverage.ema(0.9).load_state_dict(average.state_dict(), other)


# ---- soups --------------------------------------------------------------------------------------


def test_a_uniform_soup_is_the_mean_and_keeps_dtypes():
    states = [copied(network(seed)) for seed in range(3)]
    states[0]["1.num_batches_tracked"] += 7
    soup = uniform_soup(iter(states))
    for name, tensor in soup.items():
        assert tensor.dtype == states[0][name].dtype
        if tensor.is_floating_point():
            expected = np.mean([s[name].double().numpy() for s in states], axis=0)
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-9)
    assert soup["1.num_batches_tracked"] == 7


def test_no_soup_of_nothing_or_of_different_networks():
    with pytest.raises(ValueError, match="no weights"):
        uniform_soup([])
    with pytest.raises(ValueError, match="no weights"):
        greedy_soup([], lambda state: 0.0)
    with pytest.raises(ValueError, match="different networks"):
        uniform_soup([{"a": torch.ones(1)}, {"b": torch.ones(1)}])


@pytest.mark.parametrize(
    ("values", "members", "soup"),
    [
        ([1.0, 4.0, 2.0], (0, 2), 1.5),  # target 1.4: 1 is .4 off, 1|4 is 1.1 off, 1|2 is .1 off
        ([1.4, 0.0, 9.0], (0,), 1.4),
        ([1.0, 1.8, 1.4], (0, 1, 2), 1.4),  # as good is good enough
        ([1.0, float("nan"), 1.8], (0, 2), 1.4),
    ],
)
def test_a_greedy_soup_keeps_what_does_not_hurt(values, members, soup):
    states = [{"w": torch.tensor([value], dtype=torch.float64)} for value in values]
    found, inside, score = greedy_soup(
        iter(states), lambda state: -abs(round(state["w"].item() - 1.4, 9))
    )
    assert inside == members
    assert found["w"].item() == pytest.approx(soup)
    assert score == pytest.approx(-abs(soup - 1.4))


# ---- statistics of batch norms -------------------------------------------------------------------


def test_recalibration_is_torchs_update_bn_where_there_is_no_dropout():
    model = network().train()
    model[3].p = 0.0
    reference = copy.deepcopy(model)
    batches = [images(seed) for seed in range(4)]
    assert recalibrate(model, batches) == 1
    update_bn(batches, reference)
    assert same(copied(model), copied(reference))
    assert model[1].momentum == reference[1].momentum == 0.1


def test_recalibration_computes_with_dropout_off_and_leaves_modes_as_they_were():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(2)).train()
    batch = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    recalibrate(model, [batch])
    assert torch.equal(model[1].running_mean, batch.mean(0))
    assert [m.training for m in model.modules()] == [True, True, True]


def test_held_statistics_are_not_recalibrated_and_no_data_is_read():
    model = network()
    set_modes(model, ("",), hold_statistics=True)
    before = copied(model)

    def unread():
        raise AssertionError
        yield

    assert recalibrate(model, unread()) == 0
    assert same(copied(model), before)


def test_statistics_are_held_for_a_pass_that_still_uses_the_batch():
    for norm in (nn.BatchNorm2d(3), BatchNormAct2d(3)):
        norm.train()
        expected = copy.deepcopy(norm)(images(0))
        before = copied(norm)
        with statistics_held(norm):
            inside = norm(images(0))
            norm(torch.full((2, 3, 4, 4), float("nan")))
        assert same(copied(norm), before)
        assert torch.equal(inside, expected)
        norm(images(0))
        assert not same(copied(norm), before)
