"""A digest that is remembered is the one that would be computed, whatever changed."""

from __future__ import annotations

import pytest
import torch

from zoo.network import digests
from zoo.network.digests import LastDigest
from zoo.network.freeze import digest


def tensors():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 4, 5, 6, generator=generator)
    return {
        "image": image.contiguous(memory_format=torch.channels_last),
        "single": torch.randn(7, generator=generator).double(), "count": torch.tensor(3),
        "bits": torch.tensor([True, False]), "half": torch.ones(2, dtype=torch.bfloat16),
        "waves": torch.randn(2, dtype=torch.complex64, generator=generator),
        "nothing": torch.empty(0, 3), "zeros": torch.zeros(3), "nan": torch.tensor([torch.nan]),
    }  # fmt: skip


@pytest.fixture
def hashed(monkeypatch):
    """What was hashed."""
    found = []
    monkeypatch.setattr(digests, "digest", lambda given: found.append(given) or digest(given))
    return found


def test_what_has_not_changed_is_not_hashed_again(hashed):
    last, first = LastDigest(), tensors()
    for given in (first, tensors(), {name: t.contiguous() for name, t in tensors().items()}):
        assert last(given) == digest(first)
    assert len(hashed) == 1


CHANGES = {
    "an element": lambda t: t["image"].view(-1, 1)[17].add_(1e-6),
    "the sign of a zero": lambda t: t["zeros"][1].neg_(),
    "the bits of what is no number": lambda t: t["nan"].view(torch.int32).add_(1),
    "a small type": lambda t: t["half"][1].add_(1),
    "a truth value": lambda t: t["bits"][1].logical_not_(),
    "an imaginary part": lambda t: torch.view_as_real(t["waves"])[1, 1].add_(1),
    "a count": lambda t: t["count"].add_(1),
    "a name": lambda t: t.update(other=t.pop("single")),
    "one more": lambda t: t.update(more=torch.ones(1)),
    "one less": lambda t: t.pop("zeros"),
    "a type": lambda t: t.update(count=t["count"].view(torch.float64)),
    "a shape": lambda t: t.update(nothing=torch.empty(3, 0)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_is_seen(change, hashed):
    last, given = LastDigest(), tensors()
    given["image"] = given["image"].contiguous()
    before = last(given)
    with torch.no_grad():
        change(given)
    assert last(given) == digest(given)
    assert len(hashed) == 2
    same_bytes = change in (CHANGES["a type"], CHANGES["a shape"])  # all that a digest is of
    assert (last(given) == before) is same_bytes
    assert last(tensors()) == digest(tensors())


def test_what_is_remembered_is_a_copy_and_no_more_than_64_mib(hashed):
    last, large = LastDigest(), {"large": torch.zeros(2**24 + 1)}
    assert last(large) == last(large)
    assert len(hashed) == 2
    small = {"small": torch.zeros(2**24)}
    last(small)
    small["small"][5] = 1
    assert last(small) == digest(small)
