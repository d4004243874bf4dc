"""What is required of a model's network away from where it was made: other types, processes, files.

B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import io
import pickle
import sys

import torch

from zoo.errors import PluginError, in_words
from zoo.network.inference.exporting import onnx_bytes, onnx_missing
from zoo.testing.networks import CLASSES, built, logits
from zoo.testing.requiring import require
from zoo.testing.subject import NotApplicable, Subject
from zoo.testing.unpickler import other_process

__all__ = ["CHECKS"]


def bfloat16_is_finite(subject: Subject) -> None:
    """Under autocast to bfloat16 its logits are finite."""
    _require_finite(subject, torch.bfloat16)


def float16_is_finite(subject: Subject) -> None:
    """Under autocast to float16 its logits are finite."""
    _require_finite(subject, torch.float16)


def _require_finite(subject: Subject, dtype: torch.dtype) -> None:
    network, images_BCHW = built(subject)
    try:
        with torch.autocast("cpu", dtype=dtype):
            found_BK = logits(network, images_BCHW)
    except RuntimeError as error:
        if "not implemented for" in str(error):  # an operator of torch, on this processor
            raise NotApplicable(f"torch {torch.__version__} on the CPU: {error}") from None
        raise
    require(
        tuple(found_BK.shape) == (len(images_BCHW), CLASSES),
        f"in {dtype} the network returns {tuple(found_BK.shape)}",
    )
    require(bool(found_BK.isfinite().all()), f"in {dtype} some logits are not finite")


def picklable_under_spawn(subject: Subject) -> None:
    """Pickled here and read in a process that was spawned, it gives the same logits."""
    network, images_BCHW = built(subject)
    content = io.BytesIO()
    try:
        pickle.dump(network, content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(
            f"the network cannot be pickled: {error}. A lambda or a local function or class in it "
            "has no name that another process could find"
        ) from error
    told = other_process(tuple(sys.path)).logits(content.getvalue(), images_BCHW.tolist())
    if isinstance(told, str):
        raise AssertionError(f"in a process that was spawned the network fails: {told}")
    require(
        torch.allclose(torch.tensor(told), logits(network, images_BCHW), rtol=1e-3, atol=1e-4),
        "in a process that was spawned the network gives other logits",
    )


def exports_with_torch(subject: Subject) -> None:
    """torch.export takes it, for batches of any size, and what it makes gives the same logits."""
    network, images_BCHW = built(subject, count=3)
    try:
        program = torch.export.export(
            network, (images_BCHW,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False
        )
    except Exception as error:  # exporters raise whatever the operator or the network raised
        raise AssertionError(f"torch.export cannot express it: {in_words(error)}") from error
    exported = program.module()
    for batch in (images_BCHW, images_BCHW[:1], images_BCHW.repeat(2, 1, 1, 1)):
        require(
            torch.allclose(logits(exported, batch), logits(network, batch), rtol=1e-3, atol=1e-4),
            f"what torch.export makes of it gives other logits for a batch of {len(batch)}",
        )  # fmt: skip


def exports_to_onnx(subject: Subject) -> None:
    """ONNX can express it, and ONNX Runtime gives the same logits, for batches of any size."""
    if missing := onnx_missing():
        raise NotApplicable(f"not installed: {', '.join(missing)}")
    network, images_BCHW = built(subject, count=3)
    try:
        content = onnx_bytes(network, images_BCHW, exporter="recorded")
    except PluginError:  # it may doubt what the exporter that stays can prove
        content = onnx_bytes(network, images_BCHW)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for batch in (images_BCHW, images_BCHW[:1]):
        (found,) = session.run(None, {name: batch.numpy()})
        require(
            torch.allclose(
                torch.from_numpy(found), logits(network, batch), rtol=1e-2, atol=1e-3
            ),
            f"ONNX Runtime gives other logits for a batch of {len(batch)}",
        )  # fmt: skip


CHECKS = (
    bfloat16_is_finite,
    float16_is_finite,
    picklable_under_spawn,
    exports_with_torch,
    exports_to_onnx,
)
