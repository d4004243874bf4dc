"""Telling that memory ran out, with real allocations that fail; cutting a batch finer."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.step.memory import is_out_of_memory, next_accumulation, smaller_parts_note

CHILD = """
import resource, sys, torch
from torch import nn
from zoo.engine.step.memory import is_out_of_memory, release_memory
torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))
model(torch.zeros(1, 3, 32, 32)).sum().backward()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 120 * 2**20,) * 2)
parts = 1
while True:
    try:
        for part in torch.zeros(64, 3, 64, 64).chunk(parts):
            model(part).sum().backward()
        break
    except (RuntimeError, MemoryError) as error:
        assert is_out_of_memory(error), repr(error)
        kind = type(error).__name__
    release_memory()
    parts *= 2
try:
    b"x" * 2**30
except MemoryError as error:
    assert is_out_of_memory(error)
print(kind, parts)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of an address space are Linux's")
def test_a_batch_that_does_not_fit_fits_in_parts():
    run = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    kind, parts = run.stdout.split()
    assert kind in ("RuntimeError", "MemoryError")
    assert int(parts) in (2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't "
                      "allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough "
                      "memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("can't allocate memory"), False),
        (KeyboardInterrupt(), False),
    ],
)  # fmt: skip
def test_only_errors_of_memory_count(error, expected):
    assert is_out_of_memory(error) is expected


@given(st.integers(1, 5000), st.integers(1, 2))
def test_parts_double_until_they_are_smallest(batch_size, smallest_part):
    parts, seen = 1, []
    while (more := next_accumulation(batch_size, parts, smallest_part=smallest_part)) is not None:
        assert parts < more <= 2 * parts
        assert batch_size // more >= smallest_part
        parts = more
        seen.append(parts)
    assert parts == max(1, batch_size // smallest_part)
    assert all(one * 2 == two for one, two in pairwise(seen[:-1]))


def test_the_user_is_told_what_changes():
    plain = smaller_parts_note(64, parts=4, norms_train=False)
    assert "batch of 64" in plain
    assert "4 parts of about 16" in plain
    assert "batch norms see smaller batches" in smaller_parts_note(64, parts=4, norms_train=True)
