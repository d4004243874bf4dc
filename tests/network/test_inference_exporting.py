"""Networks as ONNX models, run by ONNX Runtime and checked by onnx."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from zoo.errors import MachineError, PluginError, UsageError
from zoo.network.inference import onnx_missing, to_onnx
from zoo.network.inference.exporting import INPUT, OUTPUT, onnx_bytes

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class Decides(nn.Module):
    """Takes another way for bright images."""

    def forward(self, x):
        return x.flatten(1) if x.mean() > 0 else -2 * x.flatten(1)


def run(content: bytes, x: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])


@pytest.mark.parametrize("exporter", ["recorded", "proved"])
def test_any_batch_as_in_evaluation(exporter):
    model = network()
    x = torch.randn(6, 3, 16, 16)
    state = torch.get_rng_state()
    content = onnx_bytes(model, x[:1], exporter=exporter)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        expected = model.eval()(x)
    for number in (1, 2, 6):
        assert torch.allclose(run(content, x[:number]), expected[:number], atol=1e-6)


def test_a_file_that_others_can_read(tmp_path, capfd):
    path = tmp_path / "net.onnx"
    path.write_text("an older one")
    model = network()
    to_onnx(model, torch.zeros(1, 3, 16, 16), path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    assert loaded.opset_import[0].version >= 18
    (given,), (returned,) = loaded.graph.input, loaded.graph.output
    dims = given.type.tensor_type.shape.dim
    assert (given.name, returned.name) == ("images", "outputs")
    assert (dims[0].dim_param, [d.dim_value for d in dims[1:]]) == ("batch", [3, 16, 16])
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").mkdir()
    for path in (tmp_path / "no folder" / "net.onnx", tmp_path / "taken"):
        with pytest.raises(MachineError, match=r"writing .* failed") as caught:
            to_onnx(nn.Flatten(), torch.zeros(1, 3, 4, 4), path)
        assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("exporter", ["recorded", "proved"])
def test_a_decision_that_hangs_on_the_images_is_refused(exporter):
    with pytest.raises(PluginError, match="Decides cannot be exported") as caught:
        onnx_bytes(Decides(), torch.rand(2, 3, 4, 4), exporter=exporter)
    assert caught.value.found
    assert len(str(caught.value).splitlines()) <= 4


def test_an_operator_that_onnx_has_not_is_refused_in_silence(capfd):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten())
    with pytest.raises(PluginError, match="Sequential cannot be exported"):
        onnx_bytes(model, torch.zeros(1, 3, 5, 5), exporter="recorded")
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert onnx_missing() == ("onnxscript",)
    with pytest.raises(UsageError, match="the package onnxscript") as caught:
        onnx_bytes(network(), torch.zeros(1, 3, 16, 16))
    assert "pip install 'classifier-zoo[onnx]'" in str(caught.value)
