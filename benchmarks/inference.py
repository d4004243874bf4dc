"""Times the inference engines: images a second of a network that does not train.

    python benchmarks/inference.py engines [MODEL:PIXELS ...] [--threads N] [--batch 128] [--runs 7]
    python benchmarks/inference.py slices [--threads N] [--runs 7]
    python benchmarks/inference.py parts [MODEL:PIXELS ...] [--threads N] [--runs 7]
    python benchmarks/inference.py passes [MODEL:PIXELS ...] [--threads N] [--runs 7]
    python benchmarks/inference.py choice [MODEL:PIXELS ...] [--images 7000] [--runs 3]
    python benchmarks/inference.py exports [MODEL:PIXELS ...]
    python benchmarks/inference.py spinning [--threads 2] [--runs 15]

``engines`` compares the network as it trains, the same in channels_last, and zoo's engines, and
says how far outputs are apart. ``slices`` shows why a batch is computed in parts, ``parts`` in
which OpenVINO computes it. ``passes`` times the pass over the images of a frozen phase, where an
engine is given a batch when the one before is done, or while it is computed. ``choice`` times
``--engine auto`` and says what it took. ``exports`` times how an engine comes by a network:
recorded as OpenVINO's graph, or by one of torch's exporters to ONNX. ``spinning`` lets ONNX
Runtime's threads spin or sleep while they wait, alone and beside a thread that decodes JPEGs.

The ways run in turns; printed are medians with their range, and the ratio to the first way of
each turn. With one thread the clock is that of the process on the processor, so that other work on
the machine matters little; with more it is the time on the wall, which needs an idle machine.
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np
import onnxruntime
import timm
import torch
from common import alternate, machine, spread
from PIL import Image
from torch import Tensor, nn

from zoo.data.pixels.store import Store
from zoo.engine.allocator import freed_memory_kept
from zoo.engine.features.collect import _GROUPS_AT_ONCE
from zoo.engine.features.compute import computed
from zoo.engine.feeds import ImageFeed, Labels
from zoo.errors import PluginError
from zoo.network.inference import fast_forward, openvino_forward
from zoo.network.inference.exporting import INPUT, Exporter, onnx_bytes
from zoo.network.inference.folding import folded_copy
from zoo.network.inference.forwards import FoldedForward, OnnxForward, TorchForward, part_size
from zoo.network.inference.nodes import NotRecorded
from zoo.network.inference.openvino_forward import OpenvinoForward
from zoo.network.inference.proof import apart
from zoo.protocols import Preprocessing, Split

NETWORKS = (("mobilenetv3_large_100", 64), ("tf_efficientnet_lite0", 96))
LARGE = ("mobilenetv3_large_100", 224)
EXPORTED = (
    *("mobilenetv3_large_100:64", "tf_efficientnet_lite0:96", "resnet18:64", "convnext_atto:64"),
    *("mobilenetv2_100:64", "efficientnet_b0:64", "vit_tiny_patch16_224:224"),
)

_EXPORTING = ("onnx", "onnxscript", "onnxruntime")
_PACKAGES = {
    "engines": (*_EXPORTING, "openvino"), "slices": _EXPORTING, "parts": (*_EXPORTING, "openvino"),
    "passes": (*_EXPORTING, "openvino"), "choice": (*_EXPORTING, "openvino"),
    "exports": (*_EXPORTING, "openvino"), "spinning": _EXPORTING,
}  # fmt: skip

Clock = Callable[[], float]


class Pixels:
    """Images of the network's size, already decoded."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)


def network(name: str, pixels: int) -> tuple[nn.Module, Tensor]:
    """Returns a network with batch norm statistics of its own, and an image."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(16, 3, pixels, pixels))
    return model.eval(), torch.randn(1, 3, pixels, pixels)


def in_turns(ways: dict[str, Callable[[], object]], images: int, runs: int, clock: Clock) -> None:
    """Prints the images a second of each way, and how many times the first way's that is."""

    def timed(way: Callable[[], object]) -> float:
        begin = clock()
        way()
        return images / (clock() - begin)

    for way in ways.values():
        way()
    rates = alternate(runs, *(lambda way=way: timed(way) for way in ways.values()))
    for name, own in zip(ways, rates, strict=True):
        ratios = [rate / first for rate, first in zip(own, rates[0], strict=True)]
        print(f"  {name:24s} {spread(own, digits=4):32s} x {spread(ratios)}", flush=True)


def engines(name: str, pixels: int, *, batch: int, runs: int, clock: Clock) -> None:
    model, _ = network(name, pixels)
    images = torch.randn(batch, 3, pixels, pixels)
    twin, folds = folded_copy(model, images[:2])
    plain, folded = TorchForward(model), FoldedForward(twin)
    content = exported(twin, images)
    onnx, openvino = OnnxForward(content), OpenvinoForward(content, images)
    last = TorchForward(network(name, pixels)[0].to(memory_format=torch.channels_last))
    laid = images.contiguous(memory_format=torch.channels_last)
    few = images[:16]
    expected = [plain(few)]
    print(
        f"{name} at {pixels} pixels, batch {batch}, {folds} norms folded; apart from torch:"
        f" folded {apart(folded, [few], expected):.1e}, onnx {apart(onnx, [few], expected):.1e},"
        f" openvino {apart(openvino, [few], expected):.1e}"
    )
    ways = {
        "torch": lambda: plain(images),
        "torch, channels_last": lambda: last(laid),
        "folded": lambda: folded(images),
        "onnx": lambda: onnx(images),
        "openvino": lambda: openvino(images),
    }
    in_turns(ways, batch, runs, clock)


def slices(*, runs: int, clock: Clock) -> None:
    for name, pixels, sizes in ((*NETWORKS[0], (128, 64, 32, 8)), (*LARGE, (32, 16, 8, 4, 1))):
        model, image = network(name, pixels)
        images = image.expand(sizes[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        twin, _ = folded_copy(model, image)
        onnx = session(onnx_bytes(twin, image, exporter="recorded"), spins=False)
        arrays = images.contiguous().numpy()
        print(f"{name} at {pixels} pixels, {len(images)} images")

        def by_torch(size: int, twin: nn.Module = twin, images: Tensor = images) -> None:
            with torch.inference_mode():
                for begin in range(0, len(images), size):
                    twin(images[begin : begin + size])

        def by_onnx(
            size: int, onnx: onnxruntime.InferenceSession = onnx, arrays: np.ndarray = arrays
        ) -> None:
            for begin in range(0, len(arrays), size):
                onnx.run(None, {INPUT: arrays[begin : begin + size]})

        for kind, way in (("folded", by_torch), ("onnx", by_onnx)):
            ways = {f"{kind}, {size} at once": lambda s=size, way=way: way(s) for size in sizes}
            in_turns(ways, len(images), runs, clock)


def exported(twin: nn.Module, images: Tensor) -> bytes:
    """Returns it by the first exporter that has no doubt."""
    try:
        return onnx_bytes(twin, images, exporter="recorded")
    except PluginError:
        return onnx_bytes(twin, images)


def parts(name: str, pixels: int, *, runs: int, clock: Clock) -> None:
    """Times OpenVINO with parts of some sizes; each batch is whole parts for every thread."""
    model, image = network(name, pixels)
    content = exported(folded_copy(model, image)[0], image)
    most = part_size(image)
    images = image.expand(most * torch.get_num_threads() * 2, -1, -1, -1).contiguous()
    print(f"{name} at {pixels} pixels, {len(images)} images")
    ways = {}
    for size in sorted({most, -(-most // 2), -(-most // 4)}):
        openvino_forward._MOST_IN_A_PART = size
        ways[f"parts of {size}"] = partial(OpenvinoForward(content, image), images)
    in_turns(ways, len(images), runs, clock)


def passes(name: str, pixels: int, *, runs: int, clock: Clock) -> None:
    """Times passes over images in memory, as many as take about 2 s."""
    number = 6000 * 64**2 // pixels**2 // 10 * 10
    images = Pixels(
        np.random.default_rng(0).integers(0, 256, (number, pixels, pixels, 3), np.uint8)
    )
    preprocessing = Preprocessing(image_size=pixels)
    split = Split(images=images, labels_N=np.zeros(number, dtype=np.int64))
    feed = ImageFeed(
        Store.open(images, preprocessing=preprocessing, channels=3, budget_bytes=0, num_threads=0),
        labels=Labels(split, num_classes=2, device=torch.device("cpu")),
        preprocessing=preprocessing,
    )
    model, _ = network(name, pixels)

    def over(forward: Callable[[Tensor], Tensor]) -> None:
        made = computed(
            forward, feed, np.arange(number), epoch=None, progress=lambda done, total: None,
            groups=_GROUPS_AT_ONCE,
        )  # fmt: skip
        for _ in made:
            pass

    for engine in ("folded", "openvino"):
        forward = fast_forward(model, example=feed.example(), num_images=number, engine=engine)
        print(f"{name} at {pixels} pixels, {number} images, {forward.name}")
        ways = {
            "one after the other": partial(over, lambda given, forward=forward: forward(given)),
            "the next meanwhile": partial(over, forward),
        }
        with freed_memory_kept():
            in_turns(ways, number, runs, clock)
        forward.close()


def choice(name: str, pixels: int, *, images: int, runs: int) -> None:
    """Times the choice of an engine, imports included in the first."""
    model, image = network(name, pixels)
    example = torch.randn(128, *image.shape[1:])
    for _ in range(runs):
        told: list[str] = []
        begin = time.perf_counter()
        forward = fast_forward(model, example=example, num_images=images, noted=told.append)
        print(f"{name} at {pixels} pixels, {time.perf_counter() - begin:.2f} s: {told[0]}")
        forward.close()


def exports(names: list[str]) -> None:
    """Seconds of the process on the processor, so that other work does not count."""
    for text in names or EXPORTED:
        name, _, pixels = text.partition(":")
        model, image = network(name, int(pixels))
        twin, _ = folded_copy(model, image)
        layers = sum(next(module.children(), None) is None for module in model.modules())
        ways = ways_to_an_engine(twin, image)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        refused = {}
        for _ in range(3):
            for way, make in ways.items():
                begin = time.process_time()
                try:
                    make()
                except (PluginError, NotRecorded) as error:
                    refused[way] = getattr(error, "found", "") or str(error)
                else:
                    seconds[way].append(time.process_time() - begin)
        told = [
            f"{way}: refused, {refused[way]}" if way in refused else f"{way} {spread(found, ' s')}"
            for way, found in seconds.items()
        ]
        print(f"{text}, {layers} layers: {'; '.join(told)}", flush=True)


def ways_to_an_engine(twin: nn.Module, image: Tensor) -> dict[str, Callable[[], object]]:
    """Returns what makes an engine of a folded network."""
    images = image.expand(part_size(image), *image.shape[1:])

    def exported(exporter: Exporter) -> bytes:
        return onnx_bytes(twin, image, exporter=exporter)

    return {
        "openvino, graph": partial(OpenvinoForward, twin, images),
        "openvino, export": lambda: OpenvinoForward(exported("recorded"), images),
        "onnx": lambda: session(exported("recorded"), spins=False),
        "onnx, newer exporter": lambda: session(exported("proved"), spins=False),
    }


def session(content: bytes, *, spins: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def spinning(*, runs: int) -> None:
    name, pixels = NETWORKS[0]
    model, image = network(name, pixels)
    content = onnx_bytes(folded_copy(model, image)[0], image, exporter="recorded")
    given = {INPUT: torch.randn(64, 3, pixels, pixels).numpy()}
    sessions = {kind: session(content, spins=kind == "spin") for kind in ("spin", "sleep")}
    ways = {k: lambda s=s: s.run(None, given) for k, s in sessions.items()}
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (375, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "jpeg")
    over = threading.Event()

    def decode() -> None:
        while not over.is_set():
            Image.open(io.BytesIO(file.getvalue())).convert("RGB")

    print(f"{name} at {pixels} pixels, 64 images, alone")
    in_turns(ways, 64, runs, time.perf_counter)
    decoder = threading.Thread(target=decode)
    decoder.start()
    try:
        print("beside a thread that decodes JPEGs of 500x375")
        in_turns(ways, 64, runs, time.perf_counter)
    finally:
        over.set()
        decoder.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=tuple(_PACKAGES))
    parser.add_argument("names", nargs="*", help="MODEL:PIXELS")
    parser.add_argument("--images", type=int, default=7000, help="of choice")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    names = [(name, int(size)) for name, _, size in (n.partition(":") for n in arguments.names)]
    packages = ", ".join(f"{p} {version(p)}" for p in _PACKAGES[arguments.what])
    print(f"{machine()}; {packages}; {arguments.threads} thread(s), {clock.__name__}")
    if arguments.what == "engines":
        for name, pixels in names or (*NETWORKS, LARGE):
            engines(name, pixels, batch=arguments.batch, runs=arguments.runs, clock=clock)
    elif arguments.what == "slices":
        slices(runs=arguments.runs, clock=clock)
    elif arguments.what == "parts":
        for name, pixels in names or (*NETWORKS, LARGE):
            parts(name, pixels, runs=arguments.runs, clock=clock)
    elif arguments.what == "passes":
        for name, pixels in names or (*NETWORKS, LARGE):
            passes(name, pixels, runs=arguments.runs, clock=clock)
    elif arguments.what == "choice":
        for name, pixels in names or (*NETWORKS, LARGE):
            choice(name, pixels, images=arguments.images, runs=arguments.runs)
    elif arguments.what == "exports":
        exports(arguments.names)
    else:
        spinning(runs=arguments.runs)


if __name__ == "__main__":
    main()
