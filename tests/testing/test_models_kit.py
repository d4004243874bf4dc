"""Each check of a model catches a network that is wrong in just that way, and passes a right one.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from making import assert_caught, assert_each_can_fail, failing, skipped, subject
from small_networks import Small, model
from torch import nn
from torch.nn import functional as F

from zoo.errors import UsageError
from zoo.protocols import Weights
from zoo.testing import models, portability

STRUCTURE = tuple(check for check in models.CHECKS if check not in portability.CHECKS)


# ---- networks that are wrong in one way -------------------------------------------------------


class Squeezes(Small):
    def forward(self, images):
        return super().forward(images).squeeze(0)


class InPlace(Small):
    def forward(self, images):
        return super().forward(images.sub_(0.5))


class TwoResults(Small):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class HalfLogits(Small):
    def forward(self, images):
        return super().forward(images).half()


class FixedClasses(Small):
    def __init__(self, num_classes, channels):
        super().__init__(7, channels)


class ThreeChannels(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, 3)


class CentresTheBatch(Small):
    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True))


class CentresTheFeatures(Small):
    """The features hang on the batch, unless there is one image alone: logits are then the same."""

    def features(self, images):
        features = super().features(images)
        return features * (1 + 0.1 * (len(images) == 4))


class BehindTheHead(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, images):
        return super().forward(images) * self.scale


class CountsPasses(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images):
        self.passes += 1
        return super().forward(images)


class OwnStatistics(Small):
    """Moves a mean that looks at the whole network's mode, and hears of no freezing."""

    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.register_buffer("mean", torch.zeros(4))

    def features(self, images):
        features = super().features(images)
        if self.head.training:
            self.mean.lerp_(features.detach().mean(0), 0.1)
        return features


class WritesParameters(Small):
    """Keeps its kernels at length one by writing them as it trains."""

    def forward(self, images):
        if self.training:
            with torch.no_grad():
                self.convolution.weight.div_(self.convolution.weight.norm())
        return super().forward(images)


class IdleHead(Small):
    zoo_head = "other"

    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.other = nn.Linear(4, num_classes)

    def forward(self, images):
        features = self.features(images)
        return self.head(features) + 0 * self.other(features)


class NoHead(Small):
    zoo_head = "gone"


class Detached(Small):
    def features(self, images):
        return super().features(images).detach()


class BrokenGradient(Small):
    """The gradient of a square root at zero."""

    def features(self, images):
        features = super().features(images)
        return features + (features - features.detach()).abs().sqrt()


class HiddenState(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.direction = torch.randn(4)

    def features(self, images):
        return super().features(images) + self.direction


class NotPersistent(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.register_buffer("direction", torch.randn(4), persistent=False)

    def features(self, images):
        return super().features(images) + self.direction


class FixedWeights(Small):
    def __init__(self, num_classes, channels):
        torch.manual_seed(0)
        super().__init__(num_classes, channels)


class NumPyWeights(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        drawn = np.random.default_rng().normal(size=(num_classes, 4))
        self.head.weight.data = torch.from_numpy(drawn).float()


class AlwaysDrops(Small):
    def features(self, images):
        return F.dropout(super().features(images), 0.5)


class SoftmaxInEvaluation(Small):
    def forward(self, images):
        logits = super().forward(images)
        return logits if self.training else logits.softmax(1)


def refuses_large(num_classes, channels, image_size):
    if image_size > 40:
        raise UsageError("no images of more than 40 pixels", hint="--img-size 32")
    return Small(num_classes, channels)


def breaks_on_size(*, num_classes, channels, image_size):
    if image_size > 40:
        raise ValueError("too large")
    return Small(num_classes, channels)


WRONG = [
    (model(Squeezes), {"batch-of-one": "(7,), not (1, 7)"}),
    (model(InPlace), {
        "images-left-alone": "in place", "evaluation-is-deterministic": "give other logits",
        "batch-of-one": "share", "features-can-be-cached": "share", "state-dict-round-trips": "",
    }),
    (model(TwoResults), {
        "images-left-alone": "tuple", "training-differs-as-it-should": "returns tuple",
        "unfrozen-trains-everything": "", "state-dict-round-trips": "tuple",
    }),
    (model(HalfLogits), {
        "shapes": "float16", "channels": "float16", "class-counts": "float16",
        "training-differs-as-it-should": "float16",
    }),
    (model(FixedClasses), {"class-counts": "(2, 7), not (2, 2)"}),
    (model(ThreeChannels), {"channels": "expected input"}),
    (model(CentresTheBatch), {
        "batch-of-one": "image 0", "features-can-be-cached": "depend on its batch",
    }),
    (model(CentresTheFeatures), {"features-can-be-cached": "depend on its batch"}),
    (model(BehindTheHead), {"head-found": "scale"}),
    (model(CountsPasses), {
        "freeze-holds": "passes", "evaluation-is-deterministic": "the tensor passes",
    }),
    (model(OwnStatistics), {"freeze-holds": "mean changed in the frozen part"}),
    (model(WritesParameters), {"training-differs-as-it-should": "convolution.weight"}),
    (model(IdleHead), {
        "head-found": "head.weight", "head-only-step-changes-the-head": "other.bias",
    }),
    (model(NoHead), dict.fromkeys((
        "head-found", "features-can-be-cached", "freeze-holds", "head-only-step-changes-the-head",
    ), "zoo_head")),
    (model(Detached), {"unfrozen-trains-everything": "4 of 6 parameters"}),
    (model(BrokenGradient), {"unfrozen-trains-everything": "not finite"}),
    (model(HiddenState), {"state-dict-round-trips": "neither a parameter nor a persistent"}),
    (model(NotPersistent), {"state-dict-round-trips": "neither a parameter nor a persistent"}),
    (model(NumPyWeights), {"weights-follow-the-seed": "head.weight"}),
    (model(FixedWeights), {"weights-follow-the-seed": "every seed makes the same weights"}),
    (model(AlwaysDrops), {
        "evaluation-is-deterministic": "two passes", "batch-of-one": "share",
        "features-can-be-cached": "share", "state-dict-round-trips": "",
    }),
    (model(SoftmaxInEvaluation), {"training-differs-as-it-should": "softmax belongs to the loss"}),
    (subject("model", breaks_on_size), {"shapes": "too large"}),
    (model(mean=(0.5,)), {"preprocessing-is-whole": "mean"}),
    (model(std=(0.5, 0.0, 0.5)), {"preprocessing-is-whole": "std"}),
    (model(weights=[Weights(name="a")]), {"preprocessing-is-whole": "neither a package nor"}),
    (model(weights=[Weights(name="a", url="u"), Weights(name="A", url="u")]), {
        "preprocessing-is-whole": "some twice",
    }),
    (model(weights=[Weights(name="a", url="u", sha256="xyz")]), {
        "preprocessing-is-whole": "'xyz'",
    }),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "caught"), WRONG)
def test_what_is_wrong_is_caught(wrong, caught):
    assert_caught(STRUCTURE, wrong, caught)


def test_every_check_catches_something():
    assert_each_can_fail(STRUCTURE, WRONG)


# ---- right ones -------------------------------------------------------------------------------


class Functional(Small):
    """Dropout as a function: told from what must not differ in training by being random."""

    def features(self, images):
        return F.dropout(super().features(images), 0.2, training=self.training)


class TwoHeads(Small):
    """Distilled: the mean of two classifiers."""

    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.second = nn.Linear(4, num_classes)
        self.pretrained_cfg = {"classifier": ("head", "second")}

    def forward(self, images):
        features = self.features(images)
        return (self.head(features) + self.second(features)) / 2


def test_a_right_network_passes_everything():
    right = model(weights=[Weights(name="a", hub=("r", "f", None), sha256="0123abcd")])
    assert_caught(models.CHECKS, right, {})
    assert skipped(models.CHECKS, right) == set()


@pytest.mark.parametrize(
    ("right", "idle"),
    [
        (model(Functional), set()),
        (model(TwoHeads), {"features-can-be-cached"}),
        (subject("model", refuses_large), {"preprocessing-is-whole"}),
    ],
)
def test_other_right_networks_pass(right, idle):
    caught = {"shapes": "refuses images of 224"} if "preprocessing-is-whole" in idle else {}
    assert_caught(STRUCTURE, right, caught)
    assert skipped(STRUCTURE, right) == idle


def test_a_network_that_takes_no_size_at_all_says_why():
    def never(*, num_classes, channels, image_size):
        raise RuntimeError("a library is missing")

    found = failing((models.freeze_holds,), subject("model", never))
    assert "none of these sizes: 32, 64, 96, 224" in found["freeze-holds"]
    assert "a library is missing" in found["freeze-holds"]


def test_the_size_that_a_refusal_names_is_tried():
    def only_40(*, num_classes, channels, image_size):
        if image_size != 40:
            raise UsageError("only 40", hint="--img-size 40")
        return Small(num_classes, channels)

    assert failing((models.freeze_holds, models.class_counts), subject("model", only_40)) == {}
