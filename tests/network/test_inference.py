"""A finished network as a fast function: the outputs of the network, by every engine."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.network.inference_networks import (
    NETWORKS,
    REAL,
    RUNTIMES,
    VIT,
    images,
    needs_onnx,
    needs_openvino,
    plain,
    same,
    trained,
)  # fmt: skip
from zoo.cores import num_cores
from zoo.errors import UsageError
from zoo.network.fast.depthwise import accelerate_depthwise, restore_depthwise
from zoo.network.head import find_head, head_input, proves_out
from zoo.network.inference import fast_forward, forwards, prefix_of
from zoo.network.inference.forwards import images_at_once
from zoo.network.inference.proof import apart, proof_batches
from zoo.network.inference.workers import Workers


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("engine", REAL)
def test_every_engine_gives_the_outputs_of_the_network(engine, name, monkeypatch):
    monkeypatch.setattr(forwards, "PIXELS_AT_ONCE", 5 * 32 * 32 // torch.get_num_threads())
    model = trained(NETWORKS[name])
    accelerate_depthwise(model)
    patched = sum(any(k in vars(m) for k in ("forward", "_conv_forward")) for m in model.modules())
    before = copy.deepcopy(model.state_dict())
    expected = plain(model, images(17))
    assert expected.std(0).max() > 0.02 * expected.abs().max()  # hangs on the images
    random_state = torch.get_rng_state()
    notes: list[str] = []
    forward = fast_forward(
        model, example=images(8), num_images=100, engine=engine, noted=notes.append
    )
    assert (forward.name, notes) == (engine, [f"inference engine {engine}"])
    for number in (1, 3, 17):
        assert same(forward(images(number)), plain(model, images(number)))
    assert forward(images(3)[:0]).shape == (0, 5)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert restore_depthwise(model) == patched
    with torch.no_grad():  # a snapshot
        next(model.parameters()).zero_()
    assert same(forward(images(17)), expected)
    assert not same(forward(images(17)), plain(model, images(17)))
    forward.close()
    with pytest.raises(RuntimeError, match="closed"):
        forward(images(1))


@pytest.mark.parametrize("engine", RUNTIMES)
def test_a_network_whose_recording_is_in_doubt_is_proved_instead(engine):
    model = trained(VIT["vit"])
    forward = fast_forward(model, example=images(4), num_images=100, engine=engine)
    assert forward.name == engine
    assert same(forward(images(9)), plain(model, images(9)))


def test_torch_is_the_network_itself():
    model = trained(NETWORKS["resnet18"])
    forward = fast_forward(model, example=images(8), num_images=10**9, engine="torch")
    assert forward.name == "torch"
    assert forward.version == f"torch {torch.__version__}"
    with torch.no_grad():
        expected = copy.deepcopy(model).eval()(images(5))
    assert torch.equal(forward(images(5)), expected)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("engine", ["torch", *REAL])
def test_outputs_may_take_part_in_training_whatever_the_mode(engine):
    model = trained(NETWORKS["cifar-quick"])
    with torch.inference_mode():
        example = images(4) + 0
        forward = fast_forward(model, example=example, num_images=9, engine=engine)
        features = forward(example)
    assert forward.name == engine
    assert not features.is_inference()
    assert not features.requires_grad
    weight = torch.ones(2, 5, requires_grad=True)
    functional.linear(features, weight).sum().backward()
    assert torch.allclose(weight.grad[0], features.sum(0), atol=1e-6)


def test_an_engine_that_is_none():
    with pytest.raises(UsageError, match=r"--engine fast\\x1b: no such engine") as caught:
        fast_forward(nn.Flatten(), example=images(1), num_images=1, engine="fast\x1b")
    assert "auto, torch, folded, onnx, openvino" in caught.value.hint


class Residual(nn.Module):
    """A convolution whose output its norm has not alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3, eps=2.0)

    def forward(self, x):
        h = self.conv(x)
        return (h + self.norm(h)).flatten(1)


class Decides(nn.Module):
    """Takes another way for bright images."""

    def forward(self, x):
        return x.flatten(1) if x.mean() > 0 else -2 * x.flatten(1)


class Rolls(nn.Module):
    """Is never twice the same."""

    def forward(self, x):
        return functional.dropout(x, 0.5, training=True)


class Keeps(nn.Module):
    """Goes on with what it keeps, and would with another thread's."""

    def forward(self, x):
        self.skip = x.flatten(1)
        return self.skip.tanh() + self.skip


class Uncopied(nn.Module):
    """Refuses to be copied, and writes into its input."""

    def __deepcopy__(self, memo):
        raise TypeError("no copies\x1b")

    def forward(self, x):
        return x.add_(1)


REFUSED = [
    (Residual, "folded", "torch", "folded gives other outputs than the network"),
    (Rolls, "folded", "torch", "folded gives other outputs than the network"),
    (Keeps, "folded", "torch", "folded: threads would share skip, which a pass writes to"),
    (Uncopied, "folded", "torch", r"folded: no copies\x1b"),
    pytest.param(Decides, "onnx", "folded", "Decides cannot be exported to ONNX", marks=needs_onnx),
    pytest.param(Rolls, "onnx", "torch", "onnx gives other outputs", marks=needs_onnx),
    pytest.param(Decides, "openvino", "folded", "Decides cannot be", marks=needs_openvino),
    pytest.param(Rolls, "openvino", "torch", "openvino: ", marks=needs_openvino),
]


@pytest.mark.parametrize(("kind", "engine", "instead", "reason"), REFUSED)
def test_what_differs_or_fails_is_refused_and_the_next_best_is_taken(kind, engine, instead, reason):
    notes: list[str] = []
    example = images(4, size=8)
    kept = example.clone()
    forward = fast_forward(kind(), example=example, num_images=9, engine=engine, noted=notes.append)
    assert forward.name == instead
    assert notes[0].startswith(f"inference engine {instead}; ")
    assert reason in notes[0]
    assert torch.equal(example, kept)


@pytest.mark.parametrize("name", ["mobilenetv3", "resnet18", "torchvision", "cifar-quick", "vit"])
def test_the_prefix_is_what_the_head_is_given(name):
    model = trained((NETWORKS | VIT)[name]).eval()
    (head,) = find_head(model, num_classes=5)
    assert proves_out(model, head, images(4))
    prefix = prefix_of(model, head)
    with torch.no_grad():
        expected = head_input(model, head, images(4))
        assert torch.equal(prefix(images(4)), expected)
        assert torch.equal(model.get_submodule(head)(expected), model(images(4)))
    own = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in prefix.parameters()} < own
    folded = fast_forward(prefix, example=images(4), num_images=9, engine="folded")
    assert folded.name == "folded"
    assert same(folded(images(9)), plain(prefix, images(9)))


@pytest.mark.parametrize("engine", ["torch", *REAL])
@pytest.mark.parametrize("name", ["mobilenetv3", "cifar-quick", "vit"])
def test_what_the_head_is_given(name, engine):
    model = trained((NETWORKS | VIT)[name])
    (head,) = find_head(model, num_classes=5)
    forward = fast_forward(model, head=head, example=images(4), num_images=9, engine=engine)
    assert forward.name == engine
    expected = plain(prefix_of(model, head), images(9))
    assert same(forward(images(9)), expected)
    assert model.training
    assert isinstance(model.get_submodule(head), nn.Linear)


class Looks(nn.Module):
    """Reads the type of its head's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(192, 5)

    def forward(self, x):
        return self.head(x.flatten(1).to(self.head.weight.dtype))


class Twice(Looks):
    """Calls its head by a second name."""

    def __init__(self) -> None:
        super().__init__()
        self.other = self.head

    def forward(self, x):
        return self.other(x.flatten(1))


@pytest.mark.parametrize("engine", REAL)
@pytest.mark.parametrize(
    ("kind", "why"),
    [(Looks, "the head: 'Identity' object has no attribute 'weight'"),
     (Twice, "gives other outputs than the network")],
)  # fmt: skip
def test_a_network_that_is_another_without_its_head(kind, why, engine):
    torch.manual_seed(0)
    model, notes = kind().eval(), []
    forward = fast_forward(
        model, head="head", example=images(4, size=8), num_images=9, engine=engine,
        noted=notes.append,
    )  # fmt: skip
    assert forward.name == "torch"
    assert torch.equal(forward(images(3, size=8)), images(3, size=8).flatten(1))
    assert why in notes[0]
    assert ("; without the head: " in notes[0]) == (engine != "folded")


def test_apart():
    def distance(found: list[float], expected: list[float]) -> float:
        batch = images(1, size=1)
        return apart(lambda x: torch.tensor(found), [batch], [torch.tensor(expected)])

    nan, inf = float("nan"), float("inf")
    assert distance([1.0, -10.0], [1.0, -10.1]) == pytest.approx(0.1 / 10.1, rel=1e-5)
    assert distance([0.0], [0.0]) == 0
    assert distance([1e-3], [0.0]) == pytest.approx(1e-3)
    for odd in ([nan], [inf], [1.0, 1.0]):
        assert distance(odd, [1.0]) == distance([1.0], odd) == inf
    assert distance([inf], [inf]) == inf
    assert distance([1.0, nan], [1.0, nan]) == inf
    assert apart(lambda x: x.add_(1), [kept := images(1)], [images(1) + 1]) == 0
    assert torch.equal(kept, images(1))
    assert apart(lambda x: x.double(), [kept], [kept]) == inf
    # The worst batch counts.
    assert apart(lambda x: x, [kept, kept], [kept, 2 * kept]) == pytest.approx(0.5)


def test_the_proof_has_batches_of_two_sizes():
    for number in (1, 2, 3, 40):
        first, second = proof_batches(images(number, size=4))
        assert len(first) != len(second)
        assert min(len(first), len(second)) >= 1
        assert first.shape[1:] == second.shape[1:] == (3, 4, 4)


def test_images_at_once():
    def at_once(size: int, device: str = "cpu") -> int:
        return images_at_once(torch.empty(1, 3, size, size, device="meta"), torch.device(device))

    threads = torch.get_num_threads()
    assert at_once(224) == 5 * threads
    assert at_once(5000) == threads
    assert at_once(8) == 128 // num_cores() * threads
    assert at_once(224, "cuda") == 128


def test_parts_keep_all_threads_busy():
    def sizes(number: int, size: int) -> list[int]:
        empty = torch.empty(number, 3, size, size, device="meta")
        return [len(part) for part in forwards._parts(empty, torch.device("cpu"))]

    with num_threads(2):
        assert sizes(128, 64) == [64, 64]
        assert sizes(12, 224) == [3, 3, 3, 3]  # two for each thread, not 5, 5 and 2
        assert sizes(1, 224) == [1]
        assert sizes(0, 224) == [0]
        assert sizes(3, 64) == [2, 1]
    with num_threads(1):
        assert sizes(65, 64) == [33, 32]


@pytest.mark.parametrize("engine", REAL)
def test_threads_change_no_output(engine):
    model = trained(NETWORKS["mobilenetv3"])
    with num_threads(3):
        forward = fast_forward(model, example=images(8), num_images=100, engine=engine)
        three = forward(images(30))
        again = forward(images(30))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3  # a new thread, too
    with num_threads(1):
        one = torch.cat([forward(part) for part in images(30).tensor_split(3)])
    forward.close()
    assert torch.equal(three, again)
    assert torch.equal(three, one)


def test_what_fails_in_a_thread_is_raised():
    def fail(part: int) -> int:
        if part == 2:
            raise ValueError("part 2")
        return part

    workers = Workers()
    with num_threads(2):
        with pytest.raises(ValueError, match="part 2"):
            workers.map(fail, [1, 2, 3])
        assert workers.map(fail, [5, 6, 7]) == [5, 6, 7]
        assert torch.get_num_threads() == 2
    workers.close()


def test_threads_are_set_back_when_all_has_ended_that_was_begun(monkeypatch):
    go, seen, set_back = threading.Event(), [], []
    own, set_num_threads = threading.get_ident(), torch.set_num_threads

    def spy(count: int) -> None:
        set_num_threads(count)
        if threading.get_ident() == own:
            set_back.append(count)

    def note(part: int) -> int:
        assert go.wait(60)
        seen.append((part, torch.get_num_threads()))
        return 10 * part

    def threads_of_a_new_one() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    workers = Workers()
    with num_threads(2):
        first, second, third = (workers.begin(note, parts) for parts in ([1, 2, 3], [4, 5], [6, 7]))
        monkeypatch.setattr(torch, "set_num_threads", spy)
        go.set()
        assert second.made() == [40, 50]
        assert first.made() == [10, 20, 30]
        assert not set_back  # it would be in the way of what still runs
        third.drop()
        assert set_back == [2]
        assert threads_of_a_new_one() == 2
        assert {threads for _, threads in seen} == {1}
        assert workers.map(note, [8, 9]) == [80, 90]
    workers.close()


def test_what_is_dropped_is_not_begun_any_more():
    go, seen = threading.Event(), []

    def note(part: int) -> None:
        seen.append(part)
        assert go.wait(60)

    workers = Workers()
    with num_threads(2):
        first, second = workers.begin(note, [1, 2]), workers.begin(note, [3, 4])
        threading.Timer(0.2, go.set).start()
        second.drop()  # while both threads are at the first
        first.made()
    workers.close()
    assert sorted(seen) == [1, 2]


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
