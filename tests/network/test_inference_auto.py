"""The choice of an engine: what is tried, what is timed, and what is said."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
import torch

from tests.network.inference_networks import (
    NETWORKS,
    images,
    needs_onnx,
    needs_openvino,
    plain,
    same,
    trained,
)  # fmt: skip
from zoo.errors import UsageError
from zoo.network.inference import candidates, fast_forward, forwards
from zoo.network.inference.exporting import onnx_bytes
from zoo.network.inference.nodes import NotRecorded


def rates_of(note: str) -> tuple[str, dict[str, int]]:
    """Returns which engine was taken, and the images a second of all that were timed."""
    told = re.fullmatch(
        r"inference engine (\w+) \(([\d,]+) images/s(?:; (\w+ .+))?; made in [\d.]+ s\)", note
    )
    assert told, note
    others = dict(other.split()[:2] for other in (told[3] or "").split(", ") if other)
    rates = {told[1]: told[2], **others}
    return told[1], {name: int(rate.replace(",", "")) for name, rate in rates.items()}


@needs_openvino
def test_auto_takes_the_fastest_and_says_so():
    model = trained(NETWORKS["mobilenetv3"])
    notes: list[str] = []
    forward = fast_forward(model, example=images(16), num_images=10**6, noted=notes.append)
    chosen, rates = rates_of(notes[0])
    assert forward.name == chosen
    assert {"folded", "openvino"} <= set(rates) <= {"folded", "openvino", "onnx"}
    if "onnx" not in rates:
        assert rates[chosen] == max(rates.values())
    assert same(forward(images(20)), plain(model, images(20)))


class Slow(forwards.OnnxForward):
    """A runtime that is right, and has no hurry."""

    name = "openvino"

    def __init__(self, source: bytes | torch.nn.Module, example: torch.Tensor) -> None:
        if not isinstance(source, bytes):
            raise NotRecorded("anything")
        super().__init__(source)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.2)
        return super().__call__(x)


def broken(source: object, example: torch.Tensor) -> forwards.Forward:
    raise RuntimeError("no such operator\x1b")


@needs_onnx
@needs_openvino
@pytest.mark.parametrize("other", [Slow, broken])
def test_auto_tries_the_next_runtime_with_the_same_export(other, monkeypatch):
    exports = []

    def counted(*arguments: object, exporter: str) -> bytes:
        exports.append(exporter)
        return onnx_bytes(*arguments, exporter=exporter)

    monkeypatch.setattr(candidates, "onnx_bytes", counted)
    monkeypatch.setitem(candidates.RUNTIMES, "openvino", other)
    notes: list[str] = []
    model = trained(NETWORKS["cifar-quick"])
    forward = fast_forward(model, example=images(16), num_images=10**6, noted=notes.append)
    chosen, rates = rates_of(notes[0].partition("; openvino: ")[0])
    assert forward.name == chosen != "openvino"
    assert set(rates) == {"folded", "onnx"} | ({"openvino"} if other is Slow else set())
    assert ("; openvino: no such operator\\x1b" in notes[0]) == (other is broken)
    assert exports == ["recorded"]
    assert same(forward(images(20)), plain(model, images(20)))


def test_auto_pays_for_nothing_that_does_not_repay():
    model = trained(NETWORKS["mobilenetv3"])
    notes: list[str] = []
    few = fast_forward(model, example=images(8), num_images=1, noted=notes.append)
    assert few.name == "torch"
    assert notes == ["inference engine torch (1 image: too few to choose)"]
    code = (
        "import sys, torch\n"
        "from torch import nn\n"
        "from zoo.network.inference import candidates, fast_forward\n"
        "candidates.seconds_of = lambda forward, images: 0.01 * len(images)  # on any machine\n"
        "told = []\n"
        "model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(1000)))\n"
        "x = torch.zeros(4, 3, 8, 8)\n"
        "fast_forward(model, example=x, num_images=200, noted=told.append)\n"
        "assert told[0].endswith('; a runtime would not repay)'), told\n"
        "assert not {'onnx', 'onnxruntime', 'onnxscript', 'openvino'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_without_the_packages_says_what_they_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = trained(NETWORKS["cifar-quick"])
    notes: list[str] = []
    forward = fast_forward(model, example=images(8), num_images=10**6, noted=notes.append)
    assert forward.name in ("torch", "folded")
    assert notes[0].endswith("; openvino may be faster: pip install 'classifier-zoo[openvino]')")
    for engine, package in (("onnx", "onnxruntime"), ("openvino", "openvino")):
        with pytest.raises(UsageError, match=f"--engine {engine} needs the package {package}") as e:
            fast_forward(model, example=images(8), num_images=9, engine=engine)
        assert (e.value.exit_code, e.value.hint) == (2, f"pip install 'classifier-zoo[{engine}]'")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        pytest.param("openvino", "onnxruntime", marks=needs_openvino),
        pytest.param("onnx", "openvino", marks=needs_onnx),
    ],
)
def test_auto_does_with_one_runtime(there, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    notes: list[str] = []
    model = trained(NETWORKS["cifar-quick"])
    fast_forward(model, example=images(8), num_images=10**6, noted=notes.append).close()
    assert set(rates_of(notes[0])[1]) == {"folded", there}
