"""Each check of a network elsewhere (types, processes, files) catches one that does not travel."""

from __future__ import annotations

import os

import pytest
import torch
from making import assert_caught, assert_each_can_fail, skipped
from small_networks import Small, model

from zoo.testing import portability
from zoo.testing.unpickler import UnpickledElsewhere


class Overflows(Small):
    """Finite in float32 and bfloat16, but not in float16."""

    def forward(self, images):
        return self.head(self.features(images) * 1e4 + 1e5) / 1e4


class OverflowsWide(Small):
    """A number that bfloat16 rounds to infinity: the largest that float32 has."""

    def forward(self, images):
        logits = super().forward(images)
        largest = torch.full_like(logits, torch.finfo(torch.float32).max, dtype=torch.float32)
        return torch.where(largest.to(logits.dtype).isfinite(), logits, torch.inf)


class HoldsALambda(Small):
    def __init__(self, num_classes, channels):
        super().__init__(num_classes, channels)
        self.function = lambda x: x


class OtherElsewhere(Small):
    """What a process knows and the next one does not."""

    def forward(self, images):
        return super().forward(images) + (os.getpid() == HERE)


class EndsTheProcess(Small):
    def __setstate__(self, state):
        os._exit(7)


class Decides(Small):
    """A decision that hangs on the images: an exporter cannot know both ways."""

    def forward(self, images):
        logits = super().forward(images)
        return logits * 2 if images.mean() > 0.4 else logits


HERE = int(os.environ.setdefault("ZOO_TEST_HERE", str(os.getpid())))

ELSEWHERE = [
    (model(Overflows), {"float16-is-finite": "not finite"}),
    (model(OverflowsWide), {
        "bfloat16-is-finite": "not finite", "float16-is-finite": "not finite",
    }),
    (model(HoldsALambda), {"picklable-under-spawn": "cannot be pickled"}),
    (model(OtherElsewhere), {"picklable-under-spawn": "other logits"}),
    (model(EndsTheProcess), {"picklable-under-spawn": "ended with code 7"}),
    (model(Decides), {"exports-with-torch": "cannot express", "exports-to-onnx": "cannot be"}),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "caught"), ELSEWHERE)
def test_what_does_not_travel_is_caught(wrong, caught):
    assert_caught(portability.CHECKS, wrong, caught)


def test_an_operator_that_torch_lacks_in_float16_is_no_failure():
    class Lacking(Small):
        def forward(self, images):
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("\"some_kernel\" not implemented for 'Half'")
            return super().forward(images)

    assert skipped((portability.float16_is_finite,), model(Lacking)) == {"float16-is-finite"}


def test_the_other_process_says_what_went_wrong_and_is_gone_when_closed():
    other = UnpickledElsewhere(())
    assert "UnpicklingError" in other.logits(b"no pickle", [])
    other.close()
    assert "ended with code" in other.logits(b"no pickle", [])


def test_every_check_catches_something():
    assert_each_can_fail(portability.CHECKS, ELSEWHERE)
