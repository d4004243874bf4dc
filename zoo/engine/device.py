"""Where a run computes: device, precision and processes, through Hugging Face accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from zoo.engine.allocator import freed_memory_kept
from zoo.engine.step.bare import bare_backward
from zoo.errors import UsageError, printable

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.engine.assembly.choices import Choices
    from zoo.engine.assembly.job import Job

__all__ = ["Device", "compute_threads", "own_device", "torch_settings"]

_T = TypeVar("_T")

_LONGEST_WAIT = timedelta(days=7)
"""How long processes wait for each other: the first one computes the frozen features of all images
meanwhile. Usually it is 10 or 30 minutes. One that dies is noticed by what has started them."""


@dataclass(frozen=True, slots=True)
class Device:
    """The devices and processes of a run.

    Under ``torchrun`` or ``accelerate launch`` there is one object a process; each computes its
    share of every batch, and sums are taken over all of them.
    """

    accelerator: Accelerator

    @classmethod
    def open(cls, config: RunConfig) -> Device:
        """Returns what the configuration asks for.

        Raises:
            UsageError: The machine has no such device, or the device no such precision.
        """
        name = config.device.lower()
        kind, _, index = name.partition(":")
        if kind not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdecimal()):
            raise UsageError(
                f"--device {printable(config.device)} is not auto, cpu, cuda, cuda:N or mps"
            )
        if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
            raise UsageError(
                f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices",
                hint="--device auto takes what there is",
            )
        if kind == "mps" and not torch.backends.mps.is_available():
            raise UsageError("--device mps: this machine has none", hint="--device auto")
        if kind == "cuda" and index:
            torch.cuda.set_device(int(index))
        on_cuda = kind == "cuda" or (kind == "auto" and torch.cuda.is_available())
        precision = config.precision
        if precision == "auto":
            precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if on_cuda else "no"
        if precision == "fp16" and not on_cuda:
            raise UsageError("--precision fp16 needs CUDA", hint="--precision bf16 or no")
        # accelerate keeps its settings for the whole process, and a process may make several runs.
        AcceleratorState._reset_state(reset_partial_state=kind in ("cpu", "mps"))
        waits = InitProcessGroupKwargs(timeout=_LONGEST_WAIT)
        return cls(
            Accelerator(cpu=kind == "cpu", mixed_precision=precision, kwargs_handlers=[waits])
        )

    @property
    def torch_device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def rank(self) -> int:
        """Number of this process."""
        return int(self.accelerator.process_index)

    @property
    def world(self) -> int:
        """How many processes compute together."""
        return int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return bool(self.accelerator.is_main_process)

    def seed(self, number: int) -> None:
        """Seeds the generators that computing on this device draws from.

        ``torch.manual_seed`` seeds those of every kind of device, and for each kind that is not in
        use it writes down where it was called from: 0.7 ms, as much as a step on kept features.
        """
        if self.torch_device.type == "cpu":
            torch.default_generator.manual_seed(number)
        else:
            torch.manual_seed(number)

    def prepared(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Returns the optimizer as it steps: itself, or scaled and shared among processes.

        accelerate's wrapper looks for other packages on the disk in each step: 0.4 ms.
        """
        if self.world == 1 and self.accelerator.scaler is None:
            return optimizer
        wrapped: torch.optim.Optimizer = self.accelerator.prepare_optimizer(optimizer)
        return wrapped

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision for the forward pass, where it is on."""
        if self.accelerator.mixed_precision == "no":
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def backward(self, loss: Tensor, *, create_graph: bool = False) -> None:
        """Adds the gradient of a loss: scaled in fp16, shared among processes."""
        if self.world == 1 and self.accelerator.scaler is None:
            if self.torch_device.type == "cpu" and not create_graph:
                bare_backward(loss)
            else:
                torch.autograd.backward(loss, create_graph=create_graph)
        else:
            self.accelerator.backward(loss, create_graph=create_graph)

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Keeps gradients in this process: all parts of a batch but the last."""
        if self.world == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.no_sync(module)
        return context

    def free_memory(self) -> None:
        """Gives back to the device what is not in use any more."""
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.torch_device.type == "mps":
            torch.mps.empty_cache()

    def wrap(self, module: nn.Module) -> nn.Module:
        """Returns the module as it is trained: itself, or shared among processes."""
        return self.accelerator.prepare_model(module) if self.world > 1 else module

    def from_main(self, make: Callable[[], _T]) -> _T:
        """Returns what ``make`` returns in the main process, in every process."""
        made: list[_T | None] = [make() if self.is_main else None]
        if self.world > 1:
            broadcast_object_list(made)
        (value,) = made
        return cast("_T", value)

    def wait(self) -> None:
        """Waits until every process is here."""
        self.accelerator.wait_for_everyone()

    def sum(self, tensor: Tensor) -> Tensor:
        """Returns the sum over all processes."""
        return self.accelerator.reduce(tensor, reduction="sum") if self.world > 1 else tensor


def own_device(name: str, *, number: int) -> str:
    """Returns the device of one of several processes that train side by side: the GPUs in turn.

    Args:
        name: As the configuration has it.
        number: Of the process, from 0.
    """
    num_gpus = torch.cuda.device_count()
    return f"cuda:{number % num_gpus}" if name in ("auto", "cuda") and num_gpus > 1 else name


@contextmanager
def compute_threads(config: RunConfig) -> Iterator[None]:
    """Computes with the run's threads inside the block."""
    before = torch.get_num_threads()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_settings(job: Job) -> Iterator[None]:
    """Computes with the run's threads, determinism and memory kept inside the block."""
    strict = torch.are_deterministic_algorithms_enabled()
    changed = job.config.deterministic and not strict
    if changed:  # only then: to say it imports torch's compiler, which has to know
        torch.use_deterministic_algorithms(True)
    try:
        with compute_threads(job.config), freed_memory_kept(), _attention(job.choices):
            yield
    finally:
        if changed:
            torch.use_deterministic_algorithms(False)


def _attention(choices: Choices) -> AbstractContextManager[None]:
    """Has attention computed by kernels with a second derivative, where the optimizer needs one.

    torch's fused kernels have none.
    """
    if not choices.second_order:
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)
