"""Times the fast gradient of depthwise convolutions against torch's own.

    python benchmarks/depthwise.py shapes [--threads N] [--batch B]
    python benchmarks/depthwise.py inputs [--threads N] [--batch B]
    python benchmarks/depthwise.py steps [--threads N] [--batch B]

``shapes`` times single layers, weight gradient and (forward and backward of the whole layer).
``inputs`` times the gradient of the input with stride 1, channels_last and contiguous.
``steps`` times whole training steps (AdamW) with BatchNorm in training and in evaluation mode.
Both ways alternate in one process; printed are medians and, for steps, the quartiles. The time is
that of all the process's threads on the CPU, so that other work on the machine matters little;
with more than one thread it is the time on the wall, which needs an idle machine.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn import functional

from zoo.engine.allocator import freed_memory_kept
from zoo.network.fast.depthwise import accelerate_depthwise, restore_depthwise
from zoo.network.fast.depthwise_gradient import depthwise_conv2d, input_gradient, weight_gradient
from zoo.network.fast.depthwise_shapes import wins

# (channels, filter, stride, map), most of them layers of MobileNetV3 and EfficientNet-Lite0.
SHAPES = (
    *((960, 5, 1, 1), (960, 5, 1, 2), (1152, 5, 1, 3), (480, 5, 1, 4), (672, 5, 1, 6)),
    *((480, 5, 1, 7), (240, 5, 1, 14), (120, 5, 1, 28), (16, 5, 1, 56), (672, 5, 2, 2)),
    *((672, 5, 2, 4), (672, 5, 2, 6), (144, 5, 2, 12), (144, 5, 2, 24), (72, 5, 2, 56)),
    *((200, 3, 1, 1), (200, 3, 1, 2), (672, 3, 1, 2), (480, 3, 1, 3), (240, 3, 1, 7)),
    *((240, 3, 2, 2), (240, 3, 2, 3), (240, 3, 2, 4), (64, 3, 2, 56), (384, 7, 1, 1)),
    *((384, 7, 1, 3), (384, 7, 1, 7), (192, 7, 1, 14), (96, 7, 1, 28), (384, 7, 2, 4)),
    *((384, 7, 2, 7), (384, 7, 2, 14), (96, 7, 2, 28), (72, 5, 2, 16), (72, 5, 2, 28)),
    *((240, 5, 2, 8), (120, 5, 2, 9), (40, 5, 2, 6), (64, 3, 2, 32)),
)
# The like with TensorFlow's SAME padding, less before the map than after it.
SAME = (
    *((672, 5, 2, 4), (240, 5, 2, 14), (144, 5, 2, 16), (144, 5, 2, 24), (96, 7, 2, 28)),
    *((240, 3, 2, 8), (144, 3, 2, 16), (96, 3, 2, 32), (96, 3, 2, 48), (64, 3, 2, 56)),
    *((64, 3, 2, 80), (16, 3, 2, 112)),
)
STEPS = (
    *(("mobilenetv3_large_100", pixels) for pixels in (32, 64, 96)),
    *(("tf_efficientnet_lite0", pixels) for pixels in (64, 96)),
)


def alternate(
    ways: Sequence[Callable[[], object]], *, clock: Callable[[], float], seconds: float
) -> list[list[float]]:
    """Returns the milliseconds of each call of each way, called in turns after one warm-up."""
    for way in ways:
        way()
    times: list[list[float]] = [[] for _ in ways]
    end = time.perf_counter() + seconds
    while len(times[0]) < 5 or (time.perf_counter() < end and len(times[0]) < 51):
        for way, own in zip(ways, times, strict=True):
            begin = clock()
            way()
            own.append(1e3 * (clock() - begin))
    return times


def time_shapes(*, batch: int, clock: Callable[[], float]) -> None:
    print(
        "channels filter stride map       layout             used  torch ms   ours  ratio   (layer)"
    )
    for same, shapes in ((False, SHAPES), (True, SAME)):
        for shape in shapes:
            for layout in (torch.channels_last, torch.contiguous_format):
                time_shape(*shape, layout, same=same, batch=batch, clock=clock)


def time_shape(
    channels: int, kernel: int, stride: int, size: int, layout: torch.memory_format, *,
    same: bool, batch: int, clock: Callable[[], float],
) -> None:  # fmt: skip
    pair = (stride, stride)
    before = after = kernel // 2
    if same:
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before, after = whole // 2, whole - whole // 2
    padding = (before, after, before, after)
    x = torch.randn(batch, channels, size, size).to(memory_format=layout)
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    weight = torch.randn(channels, 1, kernel, kernel, requires_grad=True)

    def torchs(x: torch.Tensor) -> torch.Tensor:
        if same:
            return functional.conv2d(
                functional.pad(x, padding), weight, None, stride, 0, 1, channels
            )
        return functional.conv2d(x, weight, None, stride, before, 1, channels)

    def ours(x: torch.Tensor) -> torch.Tensor:
        return depthwise_conv2d(x, weight, stride=pair, padding=padding)

    output = torchs(x)
    grad = torch.randn_like(output.detach())
    geometry = {"kernel": (kernel, kernel), "stride": pair, "padding": padding}
    times = alternate(
        (
            lambda: torch.autograd.grad(output, weight, grad, retain_graph=True),
            lambda: weight_gradient(x, grad, **geometry),
            lambda: torch.autograd.grad(torchs(leaf), (leaf, weight), grad),
            lambda: torch.autograd.grad(ours(leaf), (leaf, weight), grad),
        ),
        clock=clock,
        seconds=0.5,
    )
    torch_ms, ours_ms, torch_layer, ours_layer = map(statistics.median, times)
    used = wins(
        batch=batch,
        channels=channels,
        size=(size, size),
        capability=torch.backends.cpu.get_cpu_capability(),
        **geometry,
    )
    print(
        f"{channels:8d} {kernel:6d} {stride:6d} {size:3d} {'SAME' if same else '':4s} "
        f"{str(layout).removeprefix('torch.'):17s}  {'yes' if used else 'no':4s}  "
        f"{torch_ms:8.2f} {ours_ms:6.2f} {torch_ms / ours_ms:6.1f}"
        f"   ({torch_layer / ours_layer:.1f})",
        flush=True,
    )


def time_inputs(*, batch: int, clock: Callable[[], float]) -> None:
    """Prints how long torch's gradient of the input takes and how long the forward convolution."""
    print("channels filter map    layout          torch    zoo     ratio")
    ratios = []
    for channels, taps, stride, size in SHAPES:
        if stride != 1:
            continue
        for layout in (torch.channels_last, torch.contiguous_format):
            x = torch.randn(batch, channels, size, size).contiguous(memory_format=layout)
            grad, weight = torch.randn_like(x), torch.randn(channels, 1, taps, taps)
            pads = (taps // 2,) * 4

            torchs = partial(
                torch.ops.aten.convolution_backward, grad, x, weight, None, (1, 1), pads[:2],
                (1, 1), False, (0, 0), channels, (True, False, False),
            )  # fmt: skip
            ours = partial(input_gradient, grad, x, weight, (1, 1), pads)
            with torch.no_grad():
                first, second = alternate((torchs, ours), clock=clock, seconds=0.4)
            middle = statistics.median(first), statistics.median(second)
            ratios.append(middle[0] / middle[1])
            print(
                f"{channels:8} {taps:6} {size:3}    {str(layout)[6:]:18} {middle[0]:7.2f} "
                f"{middle[1]:7.2f} {ratios[-1]:6.2f}"
            )
    quarter, median, three_quarters = statistics.quantiles(ratios)
    print(
        f"ratios {min(ratios):.2f} to {max(ratios):.2f}, half of them {quarter:.2f} to "
        f"{three_quarters:.2f}, median {median:.2f}"
    )


def time_steps(*, batch: int, clock: Callable[[], float]) -> None:
    print(
        "network                pixels  BatchNorm  torch ms (quartiles)    ours (quartiles)  ratio"
    )
    for name, pixels in STEPS:
        for training in (True, False):
            time_step(name, pixels, training=training, batch=batch, clock=clock)


def time_step(
    name: str, pixels: int, *, training: bool, batch: int, clock: Callable[[], float]
) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(training)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randn(batch, 3, pixels, pixels).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 10

    def step(change: Callable[[nn.Module], int]) -> None:
        change(model)
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    torchs, ours = alternate(
        (lambda: step(restore_depthwise), lambda: step(accelerate_depthwise)),
        clock=clock,
        seconds=12,
    )
    low, torch_ms, high = statistics.quantiles(torchs, n=4)
    ours_low, ours_ms, ours_high = statistics.quantiles(ours, n=4)
    print(
        f"{name:22s} {pixels:6d}  {'training' if training else 'frozen':9s}  "
        f"{torch_ms:8.0f} ({low:.0f} to {high:.0f})  "
        f"{ours_ms:8.0f} ({ours_low:.0f} to {ours_high:.0f})  {torch_ms / ours_ms:5.2f}"
        f"   {len(ours)} steps each",
        flush=True,
    )


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("shapes", "inputs", "steps"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.threads == 1 else time.perf_counter
    print(
        f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} thread(s), "
        f"batch {arguments.batch}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"timm {timm.__version__}, {clock.__name__}"
    )
    measure = {"shapes": time_shapes, "inputs": time_inputs, "steps": time_steps}[arguments.what]
    with freed_memory_kept():  # as in a run: else fresh memory costs more than what is measured
        measure(batch=arguments.batch, clock=clock)


if __name__ == "__main__":
    main()
