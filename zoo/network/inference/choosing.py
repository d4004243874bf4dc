"""Which engine a network is run with: proved to give the same, then chosen by measurement.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import UsageError, printable
from zoo.network.inference.candidates import Candidates
from zoo.network.inference.exporting import EXPORTERS, onnx_missing
from zoo.network.inference.forwards import Forward, TorchForward
from zoo.network.inference.timing import images_per_second, seconds_of

__all__ = ["ENGINES", "fast_forward"]

ENGINES = ("auto", "torch", "folded", "onnx")

_LITTLE_SECONDS = 0.5
"""Work that the network itself does in this time is left to it: there is nothing to win."""

_LIKELY_GAIN = 0.2
"""The share of the network's own time that ONNX Runtime is expected to save beyond the other
engines, before it is tried."""

_EXPORT_SECONDS = {"recorded": (0.5, 0.003), "proved": (3.0, 0.03)}
"""What an export and a session take at most: imports, and for each layer of the network."""

_MEASURED_SHARE, _MEASURED_SECONDS = 0.05, 0.75
"""How much of the network's own time for the work the measurement may take, and at most how
long."""

_LIKELY_ROUNDS = 3
"""How many rounds of all engines fill that time, the one before them included."""


def fast_forward(
    model: nn.Module,
    *,
    example: Tensor,
    num_images: int,
    engine: str = "auto",
    noted: Callable[[str], None] = lambda text: None,
) -> Forward:
    """Returns a network as a function for inference, as fast as the engine makes it.

    An engine is used only if its outputs are those of the network to 1e-4 of the largest, on the
    example and on a random batch of another size. The network is left as it is: weights, modes,
    hooks, and what asks for gradients.

    With ``auto`` the engines are timed on the example in turns, and ONNX Runtime is tried only if
    the work is long enough to repay the export. So two calls may choose differently: keep the
    ``name`` of the engine where results must repeat to the last bit.

    Args:
        model: A whole network or its frozen part, on the device where it shall run. It is
            computed as in evaluation.
        example: images_BCSS as they will be given, float32, normalised. Times are measured with
            them, so real images in a batch of the usual size are best.
        num_images: How many images there are to compute.
        engine: One of :data:`ENGINES`. One that this network cannot have, or with which it gives
            other outputs, is replaced by the next best.
        noted: Told in one line what was chosen and why.

    Raises:
        UsageError: No such engine, or ``onnx`` is asked for and its packages are missing.
    """
    if engine not in ENGINES:
        raise UsageError(
            f"--engine {printable(engine)}: no such engine", hint=f"one of {', '.join(ENGINES)}"
        )
    if engine == "onnx" and (missing := onnx_missing()):
        raise UsageError(
            f"--engine onnx needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}",
            hint="pip install 'classifier-zoo[onnx]'",
        )
    if engine == "torch" or not len(example):
        return TorchForward(model)
    candidates = Candidates(model, example)
    # Whatever the caller's mode is: exporting and folding do not work in inference mode, and
    # autocast's rounding is larger than what the proof allows.
    with (
        torch.inference_mode(mode=False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast(candidates.device.type, enabled=False),
    ):
        if engine == "auto":
            chosen, why = _fastest(candidates, example, num_images)
        else:
            chosen, why = _asked(candidates, engine), ""
    noted("; ".join(filter(None, (f"inference engine {chosen.name}{why}", *candidates.refused))))
    return chosen


def _asked(candidates: Candidates, engine: str) -> Forward:
    """Returns the engine that was asked for, or what comes next."""
    if engine == "onnx":
        for exporter in EXPORTERS:
            if (forward := candidates.onnx(exporter)) is not None:
                return forward
    return candidates.folded or candidates.plain


def _fastest(candidates: Candidates, example: Tensor, num_images: int) -> tuple[Forward, str]:
    """Returns the engine with which the work is done first, and why it is that one."""
    few = example[:4]
    candidates.plain(few)  # the first call chooses kernels
    seconds = seconds_of(candidates.plain, few) / len(few)
    if seconds * num_images < _LITTLE_SECONDS:
        return candidates.plain, f" ({num_images:,} images are too few to choose)"
    forwards: dict[str, Forward] = {"torch": candidates.plain}
    if candidates.folded is not None:
        forwards["folded"] = candidates.folded
    onnx, remark = _exported(candidates, seconds * num_images)
    if onnx is not None:
        forwards["onnx"] = onnx
    budget = min(_MEASURED_SHARE * seconds * num_images, _MEASURED_SECONDS)
    batch = example[: max(int(budget / seconds / (len(forwards) * _LIKELY_ROUNDS)), 4)]
    rates = images_per_second(forwards, batch, seconds=budget)
    best = max(rates, key=rates.__getitem__)
    for name, forward in forwards.items():
        if name != best:
            forward.close()
    others = ", ".join(f"{name} {rates[name]:,.0f}" for name in forwards if name != best)
    why = f" ({rates[best]:,.0f} images/s{others and '; '}{others}{remark and '; '}{remark})"
    return forwards[best], why


def _exported(candidates: Candidates, work_seconds: float) -> tuple[Forward | None, str]:
    """Returns a session of ONNX Runtime if trying it is worth its time, and a remark.

    Once it is there, the export is paid for: then the faster engine is the better one.

    Args:
        candidates: Exports it.
        work_seconds: What the network itself takes for the work.
    """
    if candidates.device.type != "cpu":
        return None, ""
    for exporter in EXPORTERS:
        imports, layer = _EXPORT_SECONDS[exporter]
        if imports + layer * candidates.num_layers > _LIKELY_GAIN * work_seconds:
            return None, "an export to onnx would not repay"
        if onnx_missing():
            return None, "onnx may be faster: pip install 'classifier-zoo[onnx]'"
        begin = time.perf_counter()
        if (forward := candidates.onnx(exporter)) is not None:
            return forward, f"exported in {time.perf_counter() - begin:.1f} s"
    return None, ""
