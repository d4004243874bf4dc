"""Fine-tuning through the engine against a bare PyTorch loop, tensors already in memory.

Same model, batch, memory format, optimizer and thread count; the bare loop indexes a normalised
tensor, the engine also counts its randomness, watches the loss and sums its meters.

    python benchmarks/step.py [--model mobilenetv3] [--size 64] [--batch 64] [--runs 7] [--own]
        [--hold] [--ema 0.999] [--callbacks]

    python benchmarks/step.py --layers       1x1 convolutions against the matrix product, by shape

Without --own both use torch's own convolutions, and memory as glibc gives it; with it the engine
has what a run has: zoo's own code for some layers, and freed memory kept. --hold has both hold the
statistics of batch norms, as zoo does with pretrained ones. --ema has it follow an average of the
weights; --callbacks has it tell csv and tensorboard each step.

Ratios are of wall time, and of processor time, which with --threads 1 does not depend on what else
the machine does.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import alternate, machine, spread
from torch.nn import functional

from zoo.config import RunConfig
from zoo.data.batches import repeated_draws
from zoo.data.pixels.store import Store
from zoo.engine.allocator import freed_memory_kept
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.assembly.phases import plan_of
from zoo.engine.callbacks import listening
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.feeds import ImageFeed, Labels
from zoo.engine.loop import train_epoch
from zoo.engine.meters import Meter
from zoo.engine.step.averaging import WeightAverage
from zoo.engine.step.update import Update
from zoo.engine.training import Accumulation, Training
from zoo.network.fast import accelerate, fuse
from zoo.network.fast.pointwise import pointwise_conv2d
from zoo.network.freeze import set_modes
from zoo.network.head import find_head
from zoo.protocols import Preprocessing, Split
from zoo.registry import Registry, build, parse_choice, parse_choices


class Pixels:
    """Images of the network's size, already decoded."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv3")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--ema", type=float, default=0.0)
    parser.add_argument("--callbacks", action="store_true")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.layers:
        layers(args.batch, args.runs)
        return
    registry = Registry.installed()
    torch.manual_seed(0)
    model = build(parse_choice(registry, "model", args.model), num_classes=10, channels=3,
                  image_size=args.size)  # fmt: skip
    model = model.to(memory_format=torch.channels_last)
    num = args.batch * args.steps
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (num, args.size, args.size, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, num)

    def optimizer_of(network: torch.nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(network, head=find_head(network, num_classes=10), lr=1e-4,
                                  backbone_lr=1.0, layer_decay=1.0, weight_decay=0.01)  # fmt: skip
        return build(parse_choice(registry, "optimizer", "adamw"), params=groups, lr=1e-4,
                     weight_decay=0.01)  # fmt: skip

    bare_model, bare_images = copy.deepcopy(model), None
    set_modes(bare_model, ("",), hold_statistics=args.hold)
    bare_optimizer = optimizer_of(bare_model)
    bare_images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5)
    bare_images = bare_images.contiguous(memory_format=torch.channels_last)
    bare_labels = torch.from_numpy(labels)

    def bare() -> Cost:
        start = now()
        for index in torch.randperm(num).split(args.batch):
            bare_optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(bare_model(bare_images[index]), bare_labels[index]).backward()
            bare_optimizer.step()
        return since(start, num)

    engine_model = copy.deepcopy(model)
    accelerate(engine_model, enabled=args.own)
    if args.hold:
        fuse(engine_model, torch.rand(2, 3, args.size, args.size), held=True, enabled=args.own)
    config = RunConfig(model=args.model, batch_size=args.batch, lr=1e-4, device="cpu")
    device = Device.open(config)
    preprocessing = Preprocessing(image_size=args.size)
    store = Store.open(Pixels(pixels), preprocessing=preprocessing, channels=3, budget_bytes=0,
                       num_threads=1)  # fmt: skip
    split = Split(images=Pixels(pixels), labels_N=labels)
    labelled = Labels(split, num_classes=10, device=torch.device("cpu"))
    feed = ImageFeed(store, labels=labelled, preprocessing=preprocessing)
    average = WeightAverage.ema(args.ema) if args.ema else None
    set_modes(engine_model, ("",), hold_statistics=args.hold)
    if average is not None:
        average.follow(engine_model)
    loss = build(parse_choice(registry, "loss", "ce"), num_classes=10, class_weight_K=None)
    training = Training(
        module=engine_model, feed=feed, loss=loss, mass=loss.mass, device=device, config=config,
        augment=False, accumulation=Accumulation(1),
        draws=lambda epoch: repeated_draws(num, repeats=1, seed=0, epoch=epoch),
        update=Update(
            optimizer=optimizer_of(engine_model), model=engine_model, device=device, config=config,
            head=find_head(engine_model, num_classes=10), average=average,
        ),
    )  # fmt: skip
    (phase,) = plan_of(RunConfig(freeze_epochs=0, epochs=1, norm="train"))
    chosen = parse_choices(registry, "callback", "csv+tensorboard") if args.callbacks else ()

    def engine() -> Cost:
        steps = 0

        def step_ended(step: int, num_steps: int, value: float | None) -> None:
            nonlocal steps
            steps += 1
            told.step_ended(phase, epoch=1, step=step + 1, num_steps=num_steps, loss=value)
            told.step_measured(steps_done=steps, lr=1e-4, loss=value)

        set_modes(engine_model, ("",), hold_statistics=args.hold)
        with freed_memory_kept() if args.own else nullcontext():
            start = now()
            train_epoch(training, epoch=0, first_step=0, meter=Meter(device.torch_device),
                        lr_factor=lambda step, steps: 1.0, step_ended=step_ended)  # fmt: skip
            return since(start, num)

    with (
        tempfile.TemporaryDirectory() as folder,
        listening(Observer(), chosen, run_path=Path(folder)) as told,
    ):
        bare(), engine()  # warm up
        bare_speed, engine_speed = alternate(args.runs, bare, engine)
    print(machine(), f"{torch.get_num_threads()} threads")
    print(f"{args.model}, {args.size} pixels, batch {args.batch}, {args.steps} steps a run")
    for name, wall in (("wall time", True), ("processor time", False)):
        bares, engines = (
            [cost.wall if wall else cost.processor for cost in costs]
            for costs in (bare_speed, engine_speed)
        )
        ratios = [b / a for a, b in zip(bares, engines, strict=True)]
        print(f"bare loop  {spread(bares)} images/s of {name}")
        print(f"engine     {spread(engines)} images/s of {name}")
        print(f"engine / bare, pair by pair: {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip


class Cost(NamedTuple):
    """Images per second of the clock, and of the processor's time."""

    wall: float
    processor: float


def now() -> Cost:
    return Cost(time.perf_counter(), time.process_time())


def since(start: Cost, num_images: int) -> Cost:
    end = now()
    return Cost(num_images / (end.wall - start.wall), num_images / (end[1] - start[1]))


CHANNELS = ((40, 240), (80, 480), (112, 672), (160, 960), (192, 1152), (320, 1280), (512, 2048))
LAYERS = ((960, 1280, 1), (72, 24, 1), (16, 8, 1), *(
    (*pair, side) for side in (1, 2, 3, 4, 7) for low, high in CHANNELS
    for pair in ((low, high), (high, low))
))  # fmt: skip


def layers(batch: int, runs: int) -> None:
    """Prints how many times as long a 1x1 convolution takes as the matrix product."""
    print(machine(), f"{torch.get_num_threads()} threads, batch {batch}, time on the wall")
    print("| channels | map | forward | forward and backward |\n| --- | --- | --- | --- |")

    for channels, out, side in LAYERS:
        x, weight, grad = (
            torch.randn(shape).contiguous(memory_format=torch.channels_last)
            for shape in (
                (batch, channels, side, side), (out, channels, 1, 1), (batch, out, side, side)
            )
        )  # fmt: skip
        x.requires_grad_(), weight.requires_grad_()

        def seconds(function: Any, backward: bool, x: Any = x, w: Any = weight,
                    grad: Any = grad) -> float:  # fmt: skip
            start = time.perf_counter()
            for _ in range(5):
                output = function(x, w)
                if backward:
                    torch.autograd.grad(output, (x, w), grad)
            return time.perf_counter() - start

        cells = []
        for backward in (False, True):
            seconds(functional.conv2d, backward), seconds(pointwise_conv2d, backward)  # warm up
            theirs, ours = alternate(
                runs, partial(seconds, functional.conv2d, backward),
                partial(seconds, pointwise_conv2d, backward),
            )  # fmt: skip
            cells.append(spread([a / b for a, b in zip(theirs, ours, strict=True)]))
        print(f"| {channels} to {out} | {side}x{side} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
