"""Times layers of mobile networks in zoo's own C against layer by layer.

    python benchmarks/blocks.py steps [--threads N] [--batch B] [--networks NAME ...]
        [--sizes PIXELS ...]
    python benchmarks/blocks.py parts [the same]
    python benchmarks/blocks.py layers [--threads N] [--batch B]

``steps`` times whole training steps (AdamW, channels_last), with held batch norms and with norms
that train. ``parts`` times those of norms that train, with activations alone in the blocks, with
norms in them, and with squeezes and excitations, too. ``layers`` times forward and backward of a
single convolution, with ReLU6 on both sides and without activations. The other way is zoo's as
well, without a compiler: its own gradient for some shapes, held norms within the convolutions. All
ways alternate in one process; printed are medians, quartiles and the ratio. The time is that on the
wall, which needs an idle machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch
from common import machine
from depthwise import SHAPES, alternate
from torch import nn
from torch.nn import functional

from zoo.engine.allocator import freed_memory_kept
from zoo.network.fast import accelerate, fuse
from zoo.network.fast.blocks import fuse_blocks
from zoo.network.fast.depthwise import accelerated
from zoo.network.fast.depthwise_block import depthwise_block
from zoo.network.fast.native import DEPTHWISE, Kernels, compiled
from zoo.network.fast.squeeze import restore_squeezes

NETWORKS = (
    "efficientnet_lite0", "tf_efficientnet_lite0", "mobilenetv3_large_100", "mobilenetv2_100",
    "efficientnet_b0", "convnext_atto",
)  # fmt: skip


def described(times: Sequence[float]) -> str:
    low, median, high = statistics.quantiles(times, n=4)
    return f"{median:8.1f} ({low:.1f} to {high:.1f})"


def stepper(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    labels = torch.arange(len(images)) % 10

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def time_steps(kernels: Kernels, networks: Sequence[str], sizes: Sequence[int], batch: int) -> None:
    print(
        "network                 pixels  norms  layer by layer, ms        in C, ms           ratio"
    )
    for name in networks:
        for size in sizes:
            for held in (True, False):
                torch.manual_seed(0)
                images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
                model = timm.create_model(name, num_classes=10).train()
                model.to(memory_format=torch.channels_last)
                for module in model.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.train(not held)
                accelerate(model)
                steps = []
                for library in (None, kernels):
                    twin = copy.deepcopy(model)
                    fuse(twin, images[:2], held=held, kernels=library)
                    steps.append(stepper(twin, images))
                slow, fast = alternate(steps, clock=time.perf_counter, seconds=12)
                found = statistics.median(slow) / statistics.median(fast)
                print(
                    f"{name:22s} {size:7d}  {'held ' if held else 'train'} {described(slow):26s}"
                    f"{described(fast):26s} {found:6.2f}   {len(fast)} steps each",
                    flush=True,
                )


def time_parts(kernels: Kernels, networks: Sequence[str], sizes: Sequence[int], batch: int) -> None:
    print(
        "network                 pixels  activations, ms           and norms, ms           ratio"
        "   and squeezes, ms        ratio"
    )
    for name in networks:
        for size in sizes:
            torch.manual_seed(0)
            images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
            model = timm.create_model(name, num_classes=10).train()
            accelerate(model.to(memory_format=torch.channels_last))
            activations, norms, squeezes = (copy.deepcopy(model) for _ in range(3))
            fuse_blocks(
                activations, images[:2], kernels, convolutions=accelerated(activations), pairs=(),
                held=True,
            )  # fmt: skip
            for twin in (norms, squeezes):
                fuse(twin, images[:2], held=False, kernels=kernels)
            restore_squeezes(norms)
            steps = [stepper(twin, images) for twin in (activations, norms, squeezes)]
            least, more, most = alternate(steps, clock=time.perf_counter, seconds=18)
            first, second = (
                statistics.median(slow) / statistics.median(fast)
                for slow, fast in ((least, more), (more, most))
            )
            print(
                f"{name:22s} {size:7d}  {described(least):26s}{described(more):26s}{first:5.2f}"
                f"   {described(most):26s}{second:5.2f}   {len(most)} steps each",
                flush=True,
            )


def time_layers(kernels: Kernels, batch: int) -> None:
    print("channels filter stride map  activations  layer by layer, ms      in C, ms        ratio")
    ratios = [
        time_layer(kernels, *shape, activation=activation, batch=batch)
        for shape in SHAPES
        for activation in (nn.ReLU6, None)
    ]
    quarter, median, three_quarters = statistics.quantiles(ratios)
    print(
        f"ratios {min(ratios):.2f} to {max(ratios):.2f}, half of them {quarter:.2f} to "
        f"{three_quarters:.2f}, median {median:.2f}"
    )


def time_layer(
    kernels: Kernels, channels: int, taps: int, stride: int, size: int, *,
    activation: type[nn.Module] | None, batch: int,
) -> float:  # fmt: skip
    convolution = nn.Conv2d(channels, channels, taps, stride, taps // 2, groups=channels)
    accelerate(convolution)
    images = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
    leaves = (images.requires_grad_(), convolution.weight, convolution.bias)
    grad = torch.randn_like(convolution(images).detach())
    apart = activation() if activation else nn.Identity()

    def in_torch() -> object:
        return torch.autograd.grad(apart(convolution(apart(images))), leaves, grad)

    def in_c() -> object:
        output = depthwise_block(
            *leaves, stride=(stride, stride), padding=(taps // 2,) * 4, before=activation,
            after=activation, kernels=kernels,
        )  # fmt: skip
        return torch.autograd.grad(output, leaves, grad)

    slow, fast = alternate((in_torch, in_c), clock=time.perf_counter, seconds=0.6)
    found = statistics.median(slow) / statistics.median(fast)
    name = "ReLU6" if activation else "none"
    print(
        f"{channels:8d} {taps:6d} {stride:6d} {size:3d}  {name:11s}"
        f"{described(slow):24s}{described(fast):22s} {found:6.2f}",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("steps", "parts", "layers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=(64,))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as cache, freed_memory_kept():
        compilation = compiled(DEPTHWISE, Path(cache))
        if compilation.kernels is None:
            parser.error(compilation.reason or "zoo's own C is not for this machine")
        print(f"{machine()}; {arguments.threads} threads, batch {arguments.batch}")
        print(f"compiled in {compilation.seconds:.1f} s")
        if arguments.what == "layers":
            time_layers(compilation.kernels, arguments.batch)
        else:
            timed = time_steps if arguments.what == "steps" else time_parts
            timed(compilation.kernels, arguments.networks, arguments.sizes, arguments.batch)


if __name__ == "__main__":
    main()
