"""Each check of optimizers catches one that is wrong in just that way."""

from __future__ import annotations

import os

import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject

from zoo.testing.optimizers import CHECKS, through_files


class Momentum(torch.optim.Optimizer):
    """Gradient descent with momentum and decoupled decay, or with one fault."""

    def __init__(self, params, *, lr, weight_decay, fault=""):
        groups = [dict(group) for group in params]
        if fault == "one group":
            groups = [{**groups[-1], "params": [p for g in groups for p in g["params"]]}]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.9})
        self.fault, self.outside = fault, {}
        self.decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            if fault == "decay by another name":
                group["decay"] = group.pop("weight_decay")
            if fault == "state that is no data":
                group["kind"] = torch.float32
            if fault == "infinite state":
                group["best"] = float("inf")

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.closed(closure) if closure is not None else None
        for group, decay in zip(self.param_groups, self.decays, strict=True):
            lr = group["lr"]
            if self.fault == "rate of the last group":
                lr = self.param_groups[-1]["lr"]
            if self.fault == "rate of its own":
                lr = 0.005
            if self.fault == "decays all":
                decay = max(self.decays)
            if self.fault == "no decay":
                decay = 0.0
            for p in group["params"]:
                if p.grad is None:
                    if self.fault == "decays the unused":
                        p.mul_(1 - lr * decay)
                    continue
                if self.fault == "skips scalars" and p.ndim == 0:
                    continue
                self.move(p, lr, decay, group["momentum"])
        return None if self.fault == "loses the loss" else loss

    def closed(self, closure):
        if self.fault == "closure without gradients":
            return closure()
        with torch.enable_grad():
            return closure() if self.fault != "ignores the closure" else None

    def move(self, p, lr, decay, momentum):
        gradient = p.grad
        if self.fault == "half precision":
            gradient = gradient.half().float()
        if self.fault == "climbs":
            gradient = -gradient
        if self.fault == "noise of its own":
            noise = torch.Generator().manual_seed(int.from_bytes(os.urandom(4)))
            gradient = gradient + 0.01 * torch.randn(p.shape, generator=noise)
        if self.fault == "global noise":  # the engine seeds each step: no fault
            gradient = gradient + 0.01 * torch.randn(p.shape)
        state = self.outside.setdefault(p, {}) if self.fault == "state outside" else self.state[p]
        running = state.setdefault("running", torch.zeros_like(p))
        if self.fault == "rate in the momentum":
            p.mul_(1 - lr * decay).sub_(running.mul_(momentum).add_(gradient, alpha=lr))
        else:
            p.mul_(1 - lr * decay).sub_(running.mul_(momentum).add_(gradient), alpha=lr)
        if self.fault == "grows":
            p.data = p.data.double()


class NoClosure(Momentum):
    def step(self):
        return super().step()


def made(fault="", kind=Momentum):
    return subject(
        "optimizer",
        lambda *, params, lr, weight_decay: kind(
            params, lr=lr, weight_decay=weight_decay, fault=fault
        ),
    )


WRONG = [
    ("climbs", {"descends": "does not fall", "descends-badly-scaled": "does not fall"}),
    ("half precision", {"descends-badly-scaled": "does not fall"}),
    ("skips scalars", {"moves-every-shape": "of shape () have gradients"}),
    ("grows", {"moves-every-shape": "became torch.float64", "resumes-bit-identically": "differs",
               "groups-keep-their-rate": ""}),
    ("noise of its own", {"deterministic": "two equal ones differ", "decays-by-group": "decay of",
                          "resumes-bit-identically": "differs"}),
    ("one group", {"writes-groups": "2 groups were given, and it has 1", "decays-by-group": "",
                   "groups-keep-their-rate": "neither group moved"}),
    ("decay by another name", {"writes-groups": "weight_decay 0.05, and has None"}),
    ("rate of the last group", {"groups-keep-their-rate": "the group at rate 0 moved"}),
    ("rate of its own", {"groups-keep-their-rate": "at rate 0", "obeys-each-rate": "still move",
                         "descends-badly-scaled": ""}),
    ("rate in the momentum", {"obeys-each-rate": "at rate 0, after steps at 0.01"}),
    ("decays all", {"decays-by-group": "changes the other one"}),
    ("no decay", {"decays-by-group": "weight decay 0.5 changes nothing"}),
    ("decays the unused", {"leaves-unused-parameters": "never had a gradient"}),
    ("state outside", {"resumes-bit-identically": "after 7 steps it differs"}),
    ("state that is no data", {"resumes-bit-identically": "not tensors and JSON alone"}),
    ("infinite state", {"resumes-bit-identically": "not JSON compliant"}),
    ("closure without gradients", {"takes-a-closure": "does not require grad"}),
    ("ignores the closure", {"takes-a-closure": "never called"}),
    ("loses the loss", {"takes-a-closure": "returned None"}),
]  # fmt: skip


@pytest.mark.parametrize("fault", ["", "global noise"])
def test_a_right_one_passes_every_check(fault):
    assert failing(CHECKS, made(fault)) == {}
    assert skipped(CHECKS, made(fault)) == set()


@pytest.mark.parametrize(("fault", "caught"), WRONG, ids=[fault for fault, _ in WRONG])
def test_one_that_is_wrong_is_caught(fault, caught):
    assert_caught(CHECKS, made(fault), caught)


def test_one_without_a_closure_is_caught():
    assert_caught(CHECKS, made(kind=NoClosure), {"takes-a-closure": "TypeError"})


def test_each_check_can_fail():
    assert_each_can_fail(CHECKS, WRONG)


def test_something_else_is_no_optimizer():
    found = failing(CHECKS, subject("optimizer", lambda params, lr, weight_decay: "sgd"))
    assert len(found) == len(CHECKS)
    assert "it built a str" in found["descends"]


def test_a_state_comes_back_from_files():
    state = {"state": {0: {"m": torch.ones(2), "n": 3}}, "param_groups": [{"betas": (0.9, 0.99)}]}
    read = through_files(state)
    assert torch.equal(read["state"][0]["m"], torch.ones(2))
    assert read["state"][0]["n"] == 3
    assert read["param_groups"] == [{"betas": [0.9, 0.99]}]
