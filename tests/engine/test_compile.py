"""--compile and --compile-mode: which passes torch is told of, and what they overwrite.

CUDA graphs need a GPU. What they do to a training loop does not: here a stand-in has logits and
gradients in memory that every mark of a new pass overwrites, as torch's graphs have.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import zoo
from tests.engine.feature_runs import Watch, assert_same
from zoo.config import RunConfig
from zoo.config.run_config import option_of
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.step.graphs import GRAPH_MODES, begin_pass, is_compiled, keep_gradients
from zoo.engine.tuning.settings import Settings
from zoo.engine.tuning.trial import Trials
from zoo.errors import UsageError
from zoo.network.freeze import digest


class Graphs:
    """The memory of graphs that a CPU can show."""

    def __init__(self):
        self.memory, self.modes, self.num_passes, self.marked = {}, [], 0, False

    def compile(self, module, mode):
        self.modes.append(mode)

        class Pass(torch.autograd.Function):
            @staticmethod
            def forward(ctx, images_BCHW, *parameters):
                with torch.enable_grad():
                    ctx.logits_BK, ctx.parameters = module._call_impl(images_BCHW), parameters
                return self.placed("logits", ctx.logits_BK.detach())

            @staticmethod
            def backward(ctx, gradient_BK):
                gradients = torch.autograd.grad(ctx.logits_BK, ctx.parameters, gradient_BK)
                return None, *(self.placed(place, one) for place, one in enumerate(gradients))

        def replay(images_BCHW):
            assert self.marked, "a pass that torch was not told of"
            self.marked, self.num_passes = False, self.num_passes + 1
            return Pass.apply(images_BCHW, *(p for p in module.parameters() if p.requires_grad))

        module._compiled_call_impl = replay

    def placed(self, name, value):
        key = (name, value.shape)
        if key not in self.memory:
            with torch.inference_mode(False):
                self.memory[key] = torch.empty_like(value)
        self.memory[key].copy_(value)
        return self.memory[key].data  # autograd takes it as it is

    def mark(self):
        self.marked = True
        for tensor in self.memory.values():
            tensor.fill_(torch.nan)


@pytest.fixture
def graphs(monkeypatch):
    standing_in = Graphs()
    monkeypatch.setattr(nn.Module, "compile", lambda self, *, mode: standing_in.compile(self, mode))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", standing_in.mark)
    return standing_in


class Gradients(Observer):
    def __init__(self):
        self.seen = []

    def weights_shown(self, view, *, epoch):
        self.seen.append(dict(view.gradients()))


def test_the_choices_are_modes_of_torch():
    from torch._inductor import list_mode_options

    modes = list_mode_options()
    assert set(option_of("compile_mode").choices) <= set(modes)
    with_graphs = {mode for mode, options in modes.items() if options.get("triton.cudagraphs")}
    assert with_graphs == set(GRAPH_MODES)


def test_the_stand_in_overwrites_logits_and_gradients(graphs):
    network = nn.Linear(3, 2)
    network.compile(mode="x")
    assert is_compiled(network)
    begin_pass()
    logits_BK = network(torch.ones(1, 3))
    logits_BK.sum().backward()
    begin_pass()
    assert logits_BK.isnan().all()
    assert network.weight.grad.isnan().all()


def test_gradients_that_are_kept_are_not_overwritten(graphs):
    network = nn.Linear(3, 2)
    network.compile(mode="x")
    begin_pass()
    network(torch.ones(1, 3)).sum().backward()
    with torch.inference_mode():
        keep_gradients(network.parameters())
    begin_pass()
    assert torch.equal(network.weight.grad, torch.ones(2, 3))
    assert not network.weight.grad.is_inference()


@pytest.mark.parametrize("options", [
    {"metric": "f1", "monitor": "val_loss"},
    {"accumulate": 3, "l2": 0.01, "clip_norm": 1.0},
    {"accumulate": 2, "sam": 0.05, "ema": 0.9, "aug": "flip+mixup"},
])  # fmt: skip
def test_nothing_that_a_pass_overwrites_is_read_after_it(train, graphs, options):
    options = {**options, "epochs": 2, "fast_convolutions": False}
    watched, plain = Gradients(), Gradients()
    first = train(compile=True, compile_mode="reduce-overhead", observer=watched, **options)
    assert graphs.modes == ["reduce-overhead"]
    assert graphs.num_passes > 0
    second = train(observer=plain, **options)
    assert digest(load_file(first.path / "best/model.safetensors")) == digest(
        load_file(second.path / "best/model.safetensors")
    )
    for mine, its in zip(first.rows, second.rows, strict=True):
        assert (mine.train_loss, mine.train_accuracy) == (its.train_loss, its.train_accuracy)
        assert (mine.val_loss, mine.metrics) == (its.val_loss, its.metrics)
    assert len(watched.seen) == 2
    for mine, its in zip(watched.seen, plain.seen, strict=True):
        assert digest(mine) == digest(its)


def test_a_teacher_is_no_pass_of_the_network(train, graphs):
    options = {"distill": str(train().path), "fast_convolutions": False, "accumulate": 2}
    first, second = train(compile=True, **options), train(**options)
    assert graphs.modes == ["default"]
    assert first.rows[0].train_loss == second.rows[0].train_loss
    assert first.rows[0].val_loss == second.rows[0].val_loss


@pytest.mark.parametrize("phases", ["head:epochs=2", "last-1:epochs=1+all:epochs=1"])
def test_frozen_features_of_a_compiled_network_are_found_as_python_has_it(train, graphs, phases):
    options = {"phases": phases, "epochs": None, "aug": "none", "fast_convolutions": False}
    watch = Watch()
    first, second = train(compile=True, observer=watch, **options), train(**options)
    assert watch.cached[0], watch.notes
    assert_same(first, second)


def test_torch_is_told_of_the_passes_of_compiled_networks_only(train, graphs):
    train()
    assert not graphs.marked


def test_a_trial_compiles_as_it_is_told(shapes_folder, registry, graphs):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=1, threads=1, compile=True, registry=registry,
    )  # fmt: skip
    trials = Trials(job=job, phase=job.phases[-1], device=Device.open(job.config))
    settings = Settings(
        threads=1, workers=0, channels_last=True, fast_convolutions=False, compile=True,
        compile_mode="max-autotune",
    )  # fmt: skip
    assert trials.step_seconds(settings) > 0
    assert graphs.modes == ["max-autotune"]
    assert not is_compiled(job.model)
    trials.forget()


def test_a_mode_without_compile_is_told_as_soon_as_the_options_are_whole(shapes_folder, registry):
    part = RunConfig.from_mapping({"compile_mode": "reduce-overhead"})  # a file; flags may follow
    assert part.changed(compile=True).compile_mode == "reduce-overhead"
    with pytest.raises(UsageError) as caught:
        zoo.prepare(
            data=str(shapes_folder), model="lenet", weights="none",
            compile_mode="reduce-overhead", registry=registry,
        )  # fmt: skip
    assert str(caught.value).startswith(
        "--compile-mode reduce-overhead has no effect without --compile"
    )
    assert caught.value.hint.startswith("--compile --compile-mode reduce-overhead")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="compile-mode"):
        RunConfig.from_mapping({"compile_mode": "fastest"})


@pytest.mark.slow
def test_on_a_cpu_reduce_overhead_trains_what_the_default_mode_trains(train):
    options = {"compile": True, "epochs": 2, "accumulate": 2}
    first, second = train(compile_mode="reduce-overhead", **options), train(**options)
    tensors, expected = (load_file(r.path / "best/model.safetensors") for r in (first, second))
    assert tensors.keys() == expected.keys()
    for name in tensors:
        assert torch.allclose(tensors[name], expected[name], rtol=0, atol=1e-6), name
    for mine, its in zip(first.rows, second.rows, strict=True):
        assert mine.val_loss == pytest.approx(its.val_loss, abs=1e-6)
        assert mine.train_loss == pytest.approx(its.train_loss, abs=1e-6)
