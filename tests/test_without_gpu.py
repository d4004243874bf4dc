"""Triton, which computes on GPUs, is not loaded where there is none, and is there for who asks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from zoo.without_gpu import spare_triton

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU"),
]


def in_a_process(code):
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


def test_a_run_loads_torchs_compiler_without_it(shapes_folder, tmp_path):
    code = (
        "import sys, zoo\n"
        f"zoo.run(data={str(shapes_folder)!r}, model='mobilenetv3', weights='none', img_size=32,\n"
        f"        epochs=1, limit=8, threads=1, runs={str(tmp_path)!r})\n"
        "assert 'torch._dynamo' in sys.modules\n"
        "print('triton' in sys.modules)"
    )
    assert in_a_process(code) == "False"


def test_what_is_compiled_for_a_cpu_is_the_same_and_others_can_import_it():
    code = (
        "import torch\n"
        "from zoo.without_gpu import spare_triton\n"
        "spare_triton()\n"
        "net, x = torch.nn.Linear(3, 2), torch.rand(4, 3)\n"
        "assert torch.allclose(torch.compile(net)(x), net(x), atol=1e-6)\n"
        "import triton\n"
        "print(triton.__name__)"
    )
    assert in_a_process(code) == "triton"


def test_nothing_is_changed_before_torch_is_there_or_after_triton_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", "somebody's")
    spare_triton()
    assert sys.modules["triton"] == "somebody's"
    monkeypatch.delitem(sys.modules, "triton")
    monkeypatch.delitem(sys.modules, "torch")
    spare_triton()
    assert "torch" not in sys.modules
