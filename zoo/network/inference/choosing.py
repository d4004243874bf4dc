"""Which engine a network is run with: proved to give the same, then chosen by measurement.

B batch, C channels, S rows or columns (images are square).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from zoo.errors import UsageError, count_of, printable
from zoo.network.inference.candidates import HAS_GRAPH, RUNTIMES, WAYS, Candidates, Way
from zoo.network.inference.exporting import engine_missing
from zoo.network.inference.forwards import Forward, TorchForward
from zoo.network.inference.openvino_forward import OpenvinoForward
from zoo.network.inference.timing import Timed, timed

__all__ = ["ENGINES", "fast_forward"]

ENGINES = ("auto", "torch", "folded", "onnx", "openvino")

_LITTLE_SECONDS = 0.5
"""Work that the network itself does in this time is left to it: there is nothing to win."""

_LIKELY_GAIN = 0.2
"""The share of the network's own time that a runtime is expected to save beyond the other engines,
before it is tried."""

_WAY_SECONDS: Mapping[Way, tuple[float, float]] = {
    "graph": (0.1, 0.001), "recorded": (0.5, 0.003), "proved": (3.0, 0.03),
}  # fmt: skip
"""What it takes at most that a runtime comes by a network: imports, and for each layer."""

_MORE_SECONDS = {"openvino": 0.5}
"""What a runtime takes beyond that: OpenVINO's import, and compiling the network."""

_MEASURED_SHARE, _MEASURED_SECONDS = 0.05, 0.2
"""How much of the network's own time for the work the measurement should take, and at most how
long: what is close after a few rounds is hardly worth more."""

_LIKELY_ROUNDS = 3
"""How many rounds of all engines fill that time, the one before them included."""


def fast_forward(
    model: nn.Module,
    *,
    example: Tensor,
    num_images: int,
    head: str | None = None,
    engine: str = "auto",
    noted: Callable[[str], None] = lambda text: None,
) -> Forward:
    """Returns a network as a function for inference, as fast as the engine makes it.

    An engine is used only if its outputs are those of the network to 1e-4 of the largest, on the
    example and on a random batch of another size. The network is left as it is: weights, modes,
    hooks, and what asks for gradients.

    With ``auto`` the engines are timed on the example in turns. A runtime is tried only if the work
    is long enough to repay making it: OpenVINO, and ONNX Runtime where that is not installed,
    refused or not the fastest. So two calls may choose
    differently: keep the ``name`` of the engine where results must repeat to the last bit.

    Args:
        model: A whole network or its frozen part, on the device where it shall run. It is
            computed as in evaluation.
        example: images_BCSS as they will be given, float32, normalised. Times are measured with
            them, so real images in a batch of the usual size are best.
        num_images: How many images there are to compute.
        head: Name of a head that was proved to be last (:func:`zoo.network.head.proves_out`): what
            it is given is computed, and not what it returns.
        engine: One of :data:`ENGINES`. One that this network cannot have, or with which it gives
            other outputs, is replaced by the next best.
        noted: Told in one line what was chosen and why.

    Raises:
        UsageError: No such engine, or its packages are missing.
    """
    if engine not in ENGINES:
        raise UsageError(
            f"--engine {printable(engine)}: no such engine", hint=f"one of {', '.join(ENGINES)}"
        )
    if missing := engine_missing(engine):
        raise UsageError(
            f"--engine {engine} needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}",
            hint=f"pip install 'classifier-zoo[{engine}]'",
        )
    if engine == "torch" or not len(example):
        return TorchForward(model, head=head)
    candidates = Candidates(model, example, head=head)
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
    if engine in RUNTIMES:
        for way in WAYS:
            if (forward := candidates.runtime(engine, way)) is not None:
                return forward
    return candidates.folded or candidates.plain


def _fastest(candidates: Candidates, example: Tensor, num_images: int) -> tuple[Forward, str]:
    """Returns the engine with which the work is done first, and why it is that one."""
    work_seconds = candidates.image_seconds * num_images
    if work_seconds < _LITTLE_SECONDS:
        return candidates.plain, f" ({count_of(num_images, 'image')}: too few to choose)"
    contenders: dict[str, Forward] = {"torch": candidates.plain}
    if (folded := candidates.folded) is not None:
        # On a CPU the same kernels compute both, and the copy's threads wait for each other less.
        # It was 1.02 to 2.9 times as fast (6 networks, ADR 17), so only one of the two is measured.
        if candidates.device.type == "cpu":
            del contenders["torch"]
        contenders["folded"] = folded
    remarks: list[str] = []
    rates: dict[str, Timed] = {}
    runtimes = _runtimes(candidates, work_seconds, remarked=remarks.append)
    budget = min(_MEASURED_SHARE * work_seconds, _MEASURED_SECONDS)
    while True:
        if (runtime := next(runtimes, None)) is not None:
            contenders[runtime.name] = runtime
        if runtime is not None or not rates:
            number = int(budget / candidates.image_seconds / (len(contenders) * _LIKELY_ROUNDS))
            batch = example[: _whole(number, runtime)]
            rates |= timed(contenders, batch, seconds=budget)
        best = max(contenders, key=lambda name: rates[name].rate)
        for name in contenders.keys() - {best}:
            contenders.pop(name).close()
        if runtime is None or best == runtime.name:
            break
    told = [f"{rates[best].rate:,.0f} images/s"]
    if len(rates) > 1:
        told.append(", ".join(rates[name].told(name) for name in rates if name != best))
    return contenders[best], f" ({'; '.join(told + remarks)})"


def _whole(number: int, runtime: Forward | None) -> int:
    """Returns a number of images that leaves no thread of a runtime without work.

    OpenVINO computes whole parts, so that other numbers would tell too little of its rate.
    """
    if isinstance(runtime, OpenvinoForward):
        return max(number // runtime.images_at_once, 1) * runtime.images_at_once
    return max(number, 4)


def _runtimes(
    candidates: Candidates, work_seconds: float, *, remarked: Callable[[str], None]
) -> Iterator[Forward]:
    """Yields the runtimes that are worth their time, each made when it is asked for.

    One that comes by the network as another did costs no more than itself: it is tried, too.

    Args:
        candidates: Records or exports the network, each once for all.
        work_seconds: What the network itself takes for the work.
        remarked: Told what the user may want to know.
    """
    if candidates.device.type != "cpu":
        return
    made: list[str] = []
    worth = False
    for way in WAYS:
        imports, layer = _WAY_SECONDS[way]
        seconds, paid = imports + layer * candidates.num_layers, False
        for name in HAS_GRAPH if way == "graph" else RUNTIMES:
            costs = 0.0 if paid else seconds + _MORE_SECONDS.get(name, 0)
            if name in made or costs > _LIKELY_GAIN * work_seconds:
                continue
            worth = True
            if engine_missing(name):
                continue
            begin = time.perf_counter()
            if (forward := candidates.runtime(name, way)) is not None:
                if not made:
                    remarked(f"made in {time.perf_counter() - begin:.1f} s")
                made.append(name)
                paid = True
                yield forward
        if paid and way != "graph":
            return
    if not worth:
        remarked("a runtime would not repay")
    elif not made and candidates.unrecorded and not candidates.refused:
        remarked(f"an export would not repay; {candidates.unrecorded}")
    elif all(engine_missing(name) for name in RUNTIMES):
        remarked("openvino may be faster: pip install 'classifier-zoo[openvino]'")
