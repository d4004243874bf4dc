"""Built-in plugin ``exporters``: a trained network as a file for other programs.

ONNX needs the packages of the extra ``onnx``; the other two need nothing besides torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.plugin import Component, hookimpl


@hookimpl
def zoo_components() -> Iterable[Component]:
    """Yields the exporters, the one that most programs read first."""
    yield Component(
        kind="exporter", name="onnx", target="zoo_exporters.onnx_file:OnnxExporter",
        summary="ONNX, for ONNX Runtime and most inference engines: one file, any batch size",
        tags=("file", "portable"), requires=("onnx", "onnxruntime", "onnxscript"),
    )  # fmt: skip
    yield Component(
        kind="exporter", name="pt2", target="zoo_exporters.pt2_file:Pt2Exporter",
        summary="torch.export, for torch without zoo, and for what compiles from there",
        aliases=("torch-export", "exported-program"), tags=("file", "torch"),
    )  # fmt: skip
    yield Component(
        kind="exporter", name="safetensors",
        target="zoo_exporters.safetensors_file:SafetensorsExporter",
        summary="the weights alone under their names, for who has the network's code",
        aliases=("weights",), tags=("file", "weights"),
    )  # fmt: skip
