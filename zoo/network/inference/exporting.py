"""A network as an ONNX model, with any number of images in a batch.

torch has two exporters. The one built on ``torch.export`` proves that no decision in the network
hangs on the values of its input, is the one that stays, and took 1.7 to 5.3 s of the processor's
time. The older one records a single pass: 0.17 to 0.33 s (7 networks, torch 2.14.1, AMD EPYC;
benchmarks/inference.py exports). It will be taken out of torch, and what it records is right only
if the pass holds for all images; it warns where it cannot know. So the older one is used where
speed is asked for, while torch has it and it has no doubt; else the newer one.

N images, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from zoo.errors import MachineError, PluginError, UsageError, in_words, printable
from zoo.network.modes import evaluation_mode

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "EXPORTERS", "INPUT", "OUTPUT", "Exporter", "engine_missing", "export_missing", "onnx_bytes",
    "onnx_missing", "to_onnx",
]  # fmt: skip

Exporter = Literal["proved", "recorded"]

EXPORTERS: tuple[Exporter, ...] = ("recorded", "proved")
"""torch's two exporters, the quicker one first."""

INPUT, OUTPUT = "images", "outputs"
"""What an exported model calls its input, float32 images_NCSS, and its output."""

_EXPORTING = ("onnx", "onnxscript")
_ENGINE_PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",),
}  # fmt: skip

_RECORDED_OPSET = 18  # the newest with which the older exporter makes every operator that it knows


def engine_missing(engine: str) -> tuple[str, ...]:
    """Returns which of the packages that an engine needs are missing, without importing them.

    >>> engine_missing("folded")
    ()
    """
    return _missing(*_ENGINE_PACKAGES.get(engine, ()))


def onnx_missing() -> tuple[str, ...]:
    """Returns which of the packages are missing that write an ONNX model and run it."""
    return engine_missing("onnx")


def export_missing() -> tuple[str, ...]:
    """Returns which of the packages are missing that write an ONNX model."""
    return _missing(*_EXPORTING)


def _missing(*packages: str) -> tuple[str, ...]:
    return tuple(package for package in packages if find_spec(package) is None)


def to_onnx(module: nn.Module, example_NCSS: Tensor, path: Path) -> None:
    """Writes a network as one ONNX file, float32, weights inside, for batches of any size.

    Takes torch's exporter that stays. The file is complete or not there.

    Args:
        module: The network; computed as in evaluation. It is not changed.
        example_NCSS: At least one image of the size that the file will take.
        path: The file. One that is there is replaced.

    Raises:
        UsageError: A package is missing.
        PluginError: The network cannot be expressed in ONNX.
        MachineError: The file cannot be written.
    """
    content = onnx_bytes(module, example_NCSS)
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise MachineError(
            f"writing {printable(path)} failed: {error.strerror or type(error).__name__}",
            hint="choose a folder that is there and can be written to",
        ) from error


def onnx_bytes(module: nn.Module, example_NCSS: Tensor, *, exporter: Exporter = "proved") -> bytes:
    """Returns a network as a serialised ONNX model; see :func:`to_onnx`.

    Args:
        module: The network, on the CPU; computed as in evaluation. It is not changed.
        example_NCSS: At least one image.
        exporter: ``proved`` by ``torch.export``, or ``recorded`` from a single pass.

    Raises:
        UsageError: A package is missing.
        PluginError: The network cannot be expressed in ONNX, or not by this exporter.
    """
    if missing := export_missing():
        raise UsageError(
            f"ONNX needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}",
            hint="pip install 'classifier-zoo[onnx]'",
        )
    try:
        with _as_in_evaluation(module):
            return _FUNCTIONS[exporter](module, example_NCSS)
    # Exporters raise whatever the operator, the tracer or the network raised.
    except Exception as error:
        raise PluginError(
            f"{printable(type(module).__name__)} cannot be exported to ONNX",
            found=in_words(error, kind=False),
        ) from error


class _Quiet(nn.Module):
    """A network that takes back what the older exporter has set: to print graphs that fail.

    It means to do so on request and looks at a function where it means to call it (torch 2.14).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images_NCSS: Tensor) -> Tensor:
        torch._C._jit_set_onnx_log_enabled(False)
        outputs: Tensor = self.module(images_NCSS)
        return outputs


def _recorded(module: nn.Module, example_NCSS: Tensor) -> bytes:
    """Returns what torch's older exporter makes of one pass; a doubt of its is an error."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.onnx.export(
            _Quiet(module).eval(), (example_NCSS[:1],), file,  # type: ignore[arg-type]  # older exporters take files
            dynamo=False, opset_version=_RECORDED_OPSET,
            input_names=[INPUT], output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        )  # fmt: skip
    for warning in told:
        if issubclass(warning.category, torch.jit._trace.TracerWarning):
            raise ValueError("a decision in it may hang on the images")
    return file.getvalue()


def _proved(module: nn.Module, example_NCSS: Tensor) -> bytes:
    """Returns what torch's exporter makes that is built on ``torch.export``."""
    # Two images: a batch of one would be taken for a batch that is always one.
    pair = example_NCSS[[0, -1]]
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (pair,), dynamic_shapes=shapes, strict=False)
    exported = torch.onnx.export(
        program, dynamo=True, dynamic_shapes=shapes, verbose=False,
        input_names=[INPUT], output_names=[OUTPUT],
        optimize=False,  # ONNX Runtime does it again when it loads the model
    )  # fmt: skip
    assert exported is not None
    content: bytes = exported.model_proto.SerializeToString()
    return content


_FUNCTIONS = {"recorded": _recorded, "proved": _proved}


@contextlib.contextmanager
def _as_in_evaluation(module: nn.Module) -> Iterator[None]:
    """Sets the modes of an export, keeps its chatter to itself, and puts the modes back."""
    level = logging.root.manager.disable
    try:
        with (
            evaluation_mode(module),
            torch.inference_mode(mode=False),
            torch.no_grad(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            yield
    finally:
        logging.disable(level)
