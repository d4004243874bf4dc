"""When memory runs out: how to tell it from other errors, and to go on with smaller parts."""

from __future__ import annotations

import gc

import torch

__all__ = [
    "is_out_of_memory",
    "next_accumulation",
    "release_memory",
    "smaller_parts_note",
]

_MESSAGES = (
    "can't allocate memory",  # torch's CPU allocator on Linux and macOS
    "not enough memory: you tried to allocate",  # on Windows
    "MPS backend out of memory",
    "CUDA error: out of memory",  # outside torch's own allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not create a memory object",  # oneDNN
    "could not create a primitive",  # oneDNN without memory for its scratchpad
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine has no memory left.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shape mismatch"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(message in text for message in _MESSAGES)


def next_accumulation(batch_size: int, parts: int, *, smallest_part: int = 1) -> int | None:
    """Returns twice as many parts for the same batch, or None when they would be too small.

    Args:
        batch_size: Samples in an optimizer step, on one process.
        parts: In which the batch is computed now.
        smallest_part: Samples that a part must have; 2 where batch norms train.

    >>> next_accumulation(64, 1), next_accumulation(6, 2), next_accumulation(6, 6)
    (2, 4, None)
    """
    most = max(1, batch_size // smallest_part)
    return min(2 * parts, most) if parts < most else None


def smaller_parts_note(batch_size: int, *, parts: int, norms_train: bool) -> str:
    """Returns what the user is told when a batch is cut into more parts."""
    text = (
        f"memory ran out: each batch of {batch_size} is computed in {parts} parts of about "
        f"{-(-batch_size // parts)} from here on; the step stays the same"
    )
    return text + ", but batch norms see smaller batches" if norms_train else text


def release_memory() -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
