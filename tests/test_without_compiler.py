"""torch's compiler is not imported by a run that compiles nothing, and is there for who asks."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import textwrap

import pytest

PLAIN = """
import sys, torch
from zoo.without_compiler import compiler_spared
COMPILER = "torch._dynamo"
"""


def in_a_process(code, *, folder=None):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:Guards may run slower on Python 3.13.0",
         "-c", PLAIN + textwrap.dedent(code)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize("optim", ["adamw", "sgd", "torch/rmsprop"])
def test_a_run_does_not_import_it(shapes_folder, tmp_path, optim):
    told = in_a_process(
        f"""
        import zoo
        zoo.run(data={str(shapes_folder)!r}, model='mobilenetv3', weights='none', img_size=32,
                freeze_epochs=1, epochs=1, limit=8, threads=1, optim={optim!r}, ema=0.9,
                runs={str(tmp_path)!r})
        print(*(name in sys.modules for name in
                ("timm", "torchvision", COMPILER, "torch._inductor", "triton")))
        """
    )
    assert told == ["True", "True", "False", "False", "False"]


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_a_network_is_recorded_without_it_and_after_it():
    told = in_a_process(
        """
        with compiler_spared():
            pass
        from zoo.network.inference import fast_forward
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU())
        x = torch.rand(9, 3, 8, 8)
        def made():
            forward = fast_forward(net, example=x, num_images=9, engine="openvino")
            assert torch.allclose(forward(x), net(x), atol=1e-5)
            return forward.name
        first, imported = made(), COMPILER in sys.modules
        import torch._dynamo
        print(first, imported, made())
        """
    )
    assert told == ["openvino", "False", "openvino"]


def test_what_is_compiled_afterwards_is_the_same():
    told = in_a_process(
        """
        with compiler_spared():
            import timm
        assert COMPILER not in sys.modules
        net, x = torch.nn.Linear(3, 2), torch.rand(4, 3)
        assert torch.allclose(torch.compile(net, backend="eager")(x), net(x), atol=1e-6)
        print(COMPILER in sys.modules)
        """
    )
    assert told == ["True"]


def test_optimizers_are_torchs_own_once_it_is_there():
    told = in_a_process(
        """
        with compiler_spared():
            pass
        methods = [torch.optim.Optimizer.zero_grad, torch.optim.Optimizer.add_param_group]
        kept = lambda: [method.__wrapped__.__dict__.get("__dynamo_disable") for method in methods]
        weight, bias = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
        def used(optimizer):
            weight.grad = torch.ones(2)
            optimizer.zero_grad()
            optimizer.add_param_group({"params": [bias], "lr": 0.5})
            optimizer.load_state_dict(optimizer.state_dict())
            return weight.grad, [group["lr"] for group in optimizer.param_groups]
        assert used(torch.optim.SGD([weight], lr=0.1)) == (None, [0.1, 0.5])
        assert COMPILER not in sys.modules
        before = kept()
        assert before == [method.__wrapped__ for method in methods]
        import torch._dynamo
        assert kept() == [None, None]
        assert used(torch.optim.SGD([weight], lr=0.1)) == (None, [0.1, 0.5])
        print(*(one._torchdynamo_disable for one in kept()))
        """
    )
    assert told == ["True", "True"]


def test_what_is_not_to_be_compiled_is_not():
    told = in_a_process(
        """
        with compiler_spared(), compiler_spared():  # as in two threads
            @torch.compiler.disable
            def plainly(x):
                "Doubles."
                assert not torch.compiler.is_compiling()
                return 2 * x
            @torch.compiler.disable(recursive=False, reason="a test")
            def at_all(x):
                return x + 1
        assert plainly(torch.ones(1)) == 2 and at_all(torch.ones(1)) == 2
        assert (plainly.__name__, plainly.__doc__) == ("plainly", "Doubles.")
        assert COMPILER not in sys.modules
        compiled = torch.compile(lambda x: at_all(plainly(x + 1)), backend="eager")
        for _ in range(3):
            assert torch.equal(compiled(torch.arange(3.0)), torch.tensor([3.0, 5.0, 7.0]))
        print(torch.compiler.disable.__module__)  # torch's own again
        """
    )
    assert told == ["torch.compiler"]


def test_torchvision_has_its_boxes_and_the_function_it_asked_for():
    told = in_a_process(
        """
        with compiler_spared():
            from torchvision.ops import roi_align
        assert COMPILER not in sys.modules
        images, boxes = torch.rand(1, 2, 8, 8), [torch.tensor([[1.0, 1.0, 6.0, 5.0]])]
        assert roi_align(images, boxes, 3, sampling_ratio=2).shape == (1, 2, 3, 3)
        assert COMPILER not in sys.modules
        supported = sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu")
        from torch._dynamo.utils import is_compile_supported
        print(COMPILER in sys.modules, supported == is_compile_supported("cpu"))
        """
    )
    assert told == ["True", "True"]


@pytest.mark.parametrize("asked", ["is_compile_supported", "counters"])
def test_a_module_that_asks_for_more_has_it(tmp_path, asked):
    (tmp_path / "mentioning.py").write_text(
        f"from torch._dynamo.utils import is_compile_supported, {asked} as asked\n"
        "supported = is_compile_supported('cpu')\n"
    )
    told = in_a_process(
        """
        import zoo.without_compiler
        zoo.without_compiler._MENTIONING = "mentioning"
        with compiler_spared():
            import mentioning
        import torch._dynamo.utils as real
        print(mentioning.supported == real.is_compile_supported("cpu"),
              mentioning.asked is real.__dict__.get("counters"), real.__name__)
        """,
        folder=tmp_path,
    )
    assert told == ["True", str(asked == "counters"), "torch._dynamo.utils"]


def test_where_it_is_there_nothing_is_changed():
    importlib.import_module("torch._dynamo")
    torch = importlib.import_module("torch")
    from zoo.without_compiler import compiler_spared

    before, disable = list(sys.meta_path), torch.compiler.disable
    with compiler_spared():
        assert (sys.meta_path, torch.compiler.disable) == (before, disable)
