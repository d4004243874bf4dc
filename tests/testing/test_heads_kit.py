"""Each check of a head catches one that is wrong in just that way, and passes right ones.

B batch, F features, K classes.
"""

from __future__ import annotations

import pytest
import torch
from making import assert_each_can_fail, failing, skipped, subject
from torch import nn
from torch.nn import functional as F

from zoo.testing import heads
from zoo.testing.checking import FLOORS, checks_of


class Right(nn.Module):
    """A hidden layer with batch norm and dropout, a linear layer. What is wrong overrides."""

    def __init__(self, *, num_features, num_classes):
        super().__init__()
        self.hidden = nn.Linear(num_features, 32)
        self.norm = nn.BatchNorm1d(32)
        self.dropout = nn.Dropout(0.1)
        self.last = nn.Linear(32, num_classes)

    def forward(self, features):
        return self.last(self.dropout(F.relu(self.norm(self.hidden(features)))))


def plain(*, num_features, num_classes):
    return nn.Linear(num_features, num_classes)


class Squeezes(Right):
    def forward(self, features):
        return super().forward(features).squeeze(0)[..., :1].expand(-1, 2)


class CentresTheBatch(Right):
    def forward(self, features):
        return super().forward(features - features.mean(0, keepdim=True))


class InPlace(Right):
    def forward(self, features):
        return super().forward(features.mul_(1.0001))


class Unguarded(Right):
    """Divides by a length that may be zero."""

    def forward(self, features):
        return super().forward(features / features.norm(dim=1, keepdim=True))


class Unused(Right):
    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        self.spare = nn.Parameter(torch.ones(3))


class DiesAtZero(Right):
    """What the engine takes for its last layer stands before a ReLU."""

    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        self.last = nn.Linear(32, num_classes)
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, features):
        return F.relu(super().forward(features) - 0.1) * self.scale + self.scale.detach()


class AlwaysRandom(Right):
    def forward(self, features):
        return super().forward(F.dropout(features, 0.1, training=True))


class Counts(Right):
    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, features):
        self.passes += 1
        return super().forward(features)


class OwnRandomness(Right):
    draw = torch.Generator().manual_seed(0)

    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        with torch.no_grad():
            self.hidden.weight.normal_(generator=self.draw)


class FixedWeights(Right):
    def __init__(self, *, num_features, num_classes):
        torch.manual_seed(0)
        super().__init__(num_features=num_features, num_classes=num_classes)


class Forgets(Right):
    """Keeps a shift outside its state dict."""

    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        self.register_buffer("shift", torch.rand(32), persistent=False)

    def forward(self, features):
        return self.last(F.relu(self.norm(self.hidden(features)) + self.shift))


class HalfOverflows(Right):
    def forward(self, features):
        half = features.dtype == torch.float16 or torch.is_autocast_enabled("cpu")
        logits = super().forward(features)
        return logits * torch.inf if half and _autocast() == torch.float16 else logits


class BrainOverflows(Right):
    def forward(self, features):
        logits = super().forward(features)
        return logits * torch.inf if _autocast() == torch.bfloat16 else logits


def _autocast():
    on = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if on else None


class HoldsALambda(Right):
    def __init__(self, *, num_features, num_classes):
        super().__init__(num_features=num_features, num_classes=num_classes)
        self.activation = lambda x: x


class LooksAtValues(Right):
    def forward(self, features):
        logits = super().forward(features)
        return logits if float(features.detach().sum()) > -1e9 else -logits


class NotAModule:
    def __init__(self, *, num_features, num_classes):
        pass


WRONG = [
    (Squeezes, {"shapes": "for 4 rows of 64 features and 10 classes"}),
    (CentresTheBatch, {"batch-of-one": "alone, row 0 gets other logits"}),
    (InPlace, {"features-left-alone": "works in place"}),
    (Unguarded, {"large-and-dead-features": "with features about 0 "}),
    (Unused, {"gradients-reach-every-parameter": "spare did not change"}),
    (
        DiesAtZero,
        {"gradients-reach-every-parameter": "did not change", "learns": "after 80 steps"},
    ),
    (AlwaysRandom, {"evaluation-is-deterministic": "two passes give other logits"}),
    (Counts, {"evaluation-is-deterministic": "changed the tensor passes"}),
    (OwnRandomness, {"weights-follow-the-seed": "hidden.weight differ"}),
    (FixedWeights, {"weights-follow-the-seed": "every seed makes the same weights"}),
    (Forgets, {"state-dict-round-trips": "returns other logits"}),
    (HalfOverflows, {"float16-is-finite": "in torch.float16"}),
    (BrainOverflows, {"bfloat16-is-finite": "in torch.bfloat16"}),
    (HoldsALambda, {"picklable-under-spawn": "cannot be pickled"}),
    (LooksAtValues, {"exports-with-torch": "torch.export cannot express it"}),
]


FOLLOWS = {
    "Squeezes": {"batch-of-one", "gradients-reach-every-parameter", "learns",
                 "state-dict-round-trips", "exports-with-torch"},
    "InPlace": {"evaluation-is-deterministic", "state-dict-round-trips"},
    "AlwaysRandom": {"batch-of-one", "state-dict-round-trips", "picklable-under-spawn",
                     "exports-with-torch"},
}  # fmt: skip
"""What else is wrong with some of them, and follows from the same fault."""


@pytest.mark.parametrize(("target", "caught"), WRONG, ids=[t.__name__ for t, _ in WRONG])
def test_what_is_wrong_is_caught(target, caught):
    found = failing(heads.CHECKS, subject("head", target))
    assert set(found) == set(caught) | FOLLOWS.get(target.__name__, set()), found
    for name, text in caught.items():
        assert text in found[name]


def test_each_check_can_fail():
    assert_each_can_fail(heads.CHECKS, WRONG)


@pytest.mark.parametrize("target", [Right, plain], ids=["hidden layer", "linear"])
def test_right_ones_pass(target):
    made = subject("head", target)
    assert failing(heads.CHECKS, made) == {}
    assert skipped(heads.CHECKS, made) <= {"float16-is-finite"}


def test_what_is_no_module_fails_every_check():
    found = failing(heads.CHECKS, subject("head", NotAModule))
    assert len(found) == len(heads.CHECKS)
    assert all("not a torch.nn.Module" in message for message in found.values())


def test_there_is_a_floor():
    assert FLOORS["head"] == 18
    assert len(checks_of("head")) >= 18 + 4
