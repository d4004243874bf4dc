"""What decides features besides the image: network, weights, preprocessing, engine, machine.

Whoever changes one of these gets another key, so nothing stale is ever read. Names and versions
alone would not do: a plugin's code changes without them. So the key also holds what the frozen part
made of two made-up images just now.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, fx, nn

from zoo.data.pixels import decode
from zoo.network.blocks import within
from zoo.network.freeze import digest
from zoo.network.inference.forwards import part_size
from zoo.runs.provenance import code_digests, installed_version

if TYPE_CHECKING:
    from zoo.engine.assembly.job import Job
    from zoo.network.frontier import Frontier

__all__ = [
    "About",
    "about_features",
    "augmentation_spec",
    "frozen_values",
    "probe_images",
]

_FORMAT = 3
_PACKAGES = ("classifier-zoo", "torch", "torchvision", "timm", "numpy", "pillow")
_ENGINE_PACKAGES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx")}

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# In what a function says of itself: another one in every process.

About: TypeAlias = "Callable[[str], dict[str, Any]]"
"""From an engine's name to all that decides features besides the image."""


def about_features(
    job: Job,
    frontier: Frontier,
    *,
    trained: Collection[str],
    weights: str,
    probe: Tensor,
    dtype: str,
    device: torch.device,
) -> About:
    """Returns the function from an engine to all that decides features besides the image.

    Args:
        job: Model, preprocessing, channels.
        frontier: Where the network is cut.
        trained: Names of the modules that train. What they are made of decides nothing.
        weights: Digest of the frozen tensors.
        probe: What the frozen part makes of :func:`probe_images`.
        dtype: How it is stored.
        device: Where it computes.
    """
    config, model = job.config, job.choices.model
    cut = frontier.prefix.graph if isinstance(frontier.prefix, fx.GraphModule) else "head input"
    side = job.preprocessing.image_size
    shape = "x".join(str(number) for number in probe.shape[1:])
    common = {
        "format": _FORMAT,
        "model": {"spec": model.spec, "package": model.entry.origin},
        "network": _digest_of_text(f"{_structure(job.model, but=trained)}\0{cut}"),
        "frontier": frontier.name,
        "weights": weights,
        "probe": digest({"probe": probe}),
        "preprocessing": {key: str(value) for key, value in asdict(job.preprocessing).items()},
        "pixels": _digest_of_code(Path(decode.__file__).parent),
        "channels": config.channels,
        "channels_last": config.channels_last,
        "dtype": dtype,
        "machine": [
            device.type, torch.backends.cpu.get_cpu_capability(),
            torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        ],
        "packages": {name: installed_version(name) for name in _PACKAGES},
    }  # fmt: skip

    def about(engine: str) -> dict[str, Any]:
        packages = _ENGINE_PACKAGES.get(engine, ())
        # On a CPU each thread of an engine computes parts of one size by itself, and those of the
        # network as it trains share each layer.
        in_parts = device.type == "cpu" and engine != "torch"
        return {
            **common,
            "computed": ["images in a part", part_size(probe_images(job, torch.device("meta")))]
            if in_parts
            else ["threads", torch.get_num_threads()],
            "what": f"{model.entry.component.name} at {side} px, {shape} before {frontier.name}, "
            f"{engine} {dtype}",
            "engine": [engine, *(installed_version(name) for name in packages)],
        }

    return about


def _structure(model: nn.Module, *, but: Collection[str]) -> str:
    """Returns what a network is made of, a line for each module outside some of them."""
    lines = []
    for name, module in model.named_modules():
        if not within(name, but):
            leaf = next(module.children(), None) is None
            what = repr(module) if leaf else f"{type(module).__name__}({module.extra_repr()})"
            lines.append(f"{name}: {what}")
    return "\n".join(lines)


def augmentation_spec(job: Job) -> str:
    """Returns all that decides how views are augmented: what, its code, and the seed."""
    choices = job.choices.transforms
    packages = [choice.entry.component.target.partition(":")[0].partition(".")[0]
                for choice in choices]  # fmt: skip
    specs = [(choice.spec, choice.entry.origin) for choice in choices]
    return f"{specs} {code_digests(['zoo', *packages])} seed {job.config.seed}"


def frozen_values(model: nn.Module, trained: Collection[str]) -> dict[str, Tensor]:
    """Returns every parameter and buffer that does not train, computed ones too."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: t for name, t in tensors.items() if not within(name, trained)}


def probe_images(job: Job, device: torch.device) -> Tensor:
    """Returns two made-up images as the network is given them, the same each time."""
    side = job.preprocessing.image_size
    numbers = torch.Generator().manual_seed(0)
    made = torch.randn(2, job.config.channels, side, side, generator=numbers)
    layout = torch.channels_last if job.config.channels_last else torch.contiguous_format
    return made.to(device).contiguous(memory_format=layout)


@cache
def _digest_of_code(folder: Path) -> str:
    """Returns the SHA-256 of a room's files: how a file becomes pixels is in no version.

    As they were when it was first asked for, which is nearer to what was imported.
    """
    texts = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(_ADDRESS.sub("", text).encode()).hexdigest()
