"""--tune: the fastest settings, beyond doubt, remembered, with no trace in what is trained."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

import zoo
from zoo.config.run_config import option_of
from zoo.cores import num_cores
from zoo.data.cache import cache_folder
from zoo.engine.allocator import freed_memory_kept
from zoo.engine.device import Device
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.engine.tuning import remembered, trial, tune
from zoo.engine.tuning.settings import Settings, fastest, thread_counts
from zoo.network.freeze import digest

DEFAULT = Settings(
    threads=1, workers=2, channels_last=True, fast_convolutions=True, compile=False
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(tune, "load", lambda: 0.0)


@pytest.fixture
def speeds(monkeypatch):
    """Settings that are tried; contiguous memory is made the faster one, whatever the machine."""
    tried = []
    real = trial.Trials.step_seconds

    def measured(trials, settings):
        real(trials, settings)
        tried.append(settings)
        return 1.0 if settings.channels_last else 0.5

    monkeypatch.setattr(trial.Trials, "step_seconds", measured)
    return tried


def config_of(result):
    return tomllib.loads((result.path / "config.toml").read_text())


def weights_of(result):
    return load_file(result.path / "best" / "model.safetensors")


def test_what_wins_wins_in_nearly_all_rounds_and_by_a_twentieth():
    base = [1.0, 1.2, 0.9, 1.0, 1.1]
    assert fastest({"d": base, "a": [0.9 * s for s in base]}, default="d") == "a"
    assert fastest({"d": base, "a": [0.96 * s for s in base]}, default="d") == "d"
    assert fastest({"d": base, "a": [0.5, 0.6, 0.5, 0.5, 2.0]}, default="d") == "a"
    assert fastest({"d": base, "a": [0.5, 0.6, 0.5, 1.5, 2.0]}, default="d") == "d"
    assert fastest({"d": base[:3], "a": [0.5, 0.6, 1.5]}, default="d") == "d"
    assert fastest({"a": [0.8], "d": [1.0], "b": [0.7]}, default="d") == "b"
    # The machine became ten times slower in the second round: pairs do not mind.
    assert fastest({"d": [1.0, 10.0], "a": [0.9, 9.0]}, default="d") == "a"


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=7), st.floats(0.96, 5))
def test_nothing_replaces_a_default_that_is_as_fast(seconds, factor):
    assert fastest({0: seconds, 1: [factor * s for s in seconds]}, default=0) == 0


@given(st.integers(1, 512))
def test_thread_counts_are_some_of_the_cores_and_all_of_them(cores):
    counts = thread_counts(cores)
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (1, cores)
    assert len(counts) <= 10


@given(st.dictionaries(
    st.sampled_from(Settings.__slots__),
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5000), st.text(), st.floats(),
        st.sampled_from(("default", "reduce-overhead")), st.just([]),
    ),
))  # fmt: skip
def test_settings_from_a_file_are_all_there_and_sound_or_none(table):
    found = Settings.from_mapping(table)
    if found is not None:
        assert 1 <= found.threads <= 4096
        assert found.workers >= 0
        assert all(type(table[k]) is bool for k in ("channels_last", "compile"))
        assert found.compile_mode in option_of("compile_mode").choices
        assert found.compile or found.compile_mode == "default"


def test_a_tuned_run_is_to_the_bit_the_run_that_was_given_its_settings(train, speeds):
    options = {"epochs": 2, "aug": "light", "ema": 0.9, "threads": 1}
    tuned = train(name="tuned", tune=True, **options)
    config = config_of(tuned)
    assert (config["channels_last"], config["threads"], config["tune"]) == (False, 1, False)
    assert {s.channels_last for s in speeds} == {True, False}
    assert {s.fast_convolutions for s in speeds} == {True, False}
    given_them = train(name="given", channels_last=False, **options)
    assert digest(weights_of(tuned)) == digest(weights_of(given_them))
    for mine, its in zip(tuned.rows, given_them.rows, strict=True):
        assert mine.train_loss == its.train_loss
        assert mine.val_loss == its.val_loss
    default = train(name="default", **options)
    assert default.rows[0].val_loss == pytest.approx(tuned.rows[0].val_loss, rel=1e-3)


def test_the_trial_leaves_job_and_random_state_alone(shapes_folder, registry, speeds):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=1, freeze_epochs=1, threads=1, tune=True, registry=registry,
    )  # fmt: skip
    model = job.model
    before = digest(model.state_dict())
    modes = [m.training for m in model.modules()]
    trains = [p.requires_grad for p in model.parameters()]
    strides = [p.stride() for p in model.parameters()]
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    told = []
    chosen = tune.tuned(
        job, device=Device.open(job.config), progress=lambda *where: told.append(where)
    )
    assert chosen.model is model
    assert digest(model.state_dict()) == before
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == trains
    assert [p.stride() for p in model.parameters()] == strides
    assert all(p.grad is None for p in model.parameters())
    assert not any("_conv_forward" in vars(m) for m in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert (job.config.channels_last, chosen.config.channels_last) == (True, False)
    assert any("channels_last off" in note for note in chosen.notes)
    assert max(done for _, done, _ in told) == max(total for _, _, total in told) > 0


def test_what_was_found_is_remembered_for_the_same_work_only(train, speeds):
    train(name="first", tune=True)
    num_tried = len(speeds)
    assert num_tried
    (file,) = (cache_folder() / "tuning").glob("*/about.json")
    assert "lenet at 16 px, batch 8: channels_last off" in json.loads(file.read_text())["what"]
    again = train(name="again", tune=True, threads=None)
    environment = json.loads((again.path / "environment.json").read_text())
    assert environment["threads"] == config_of(again)["threads"]
    num_tried = len(speeds)
    again = train(name="once more", tune=True, threads=None)
    assert len(speeds) == num_tried
    assert config_of(again)["channels_last"] is False
    train(name="other", tune=True, batch_size=4)
    assert len(speeds) > num_tried


@pytest.mark.parametrize("damage", [
    b"", b"[]", b"\xff\xfe", b"[" * 5000, "threads", "speed", "work",
])  # fmt: skip
def test_a_damaged_memory_counts_as_none(damage):
    work = {"machine": ["x"], "n": 1}
    finding = remembered.Finding(
        settings=DEFAULT, before=DEFAULT, images_per_second=2.0, before_per_second=1.0
    )
    remembered.remember(work, finding, what="x")
    assert remembered.recall(work) == finding
    (file,) = (cache_folder() / "tuning").glob("*/about.json")
    table = json.loads(file.read_text())
    if damage == "threads":
        table["settings"]["threads"] = "../../x"
    elif damage == "speed":
        table["images_per_second"] = None
    elif damage == "work":
        table["work"]["n"] = 2
    file.write_bytes(damage if isinstance(damage, bytes) else json.dumps(table).encode())
    assert remembered.recall(work) is None
    remembered.remember(work, finding, what="x")
    assert remembered.recall(work) == finding


def test_what_a_version_without_modes_of_compile_remembered_is_found(shapes_folder, registry):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, epochs=1,
        compile=True, registry=registry,
    )  # fmt: skip
    before = replace(DEFAULT, compile=True)
    device = Device.open(job.config)
    work = remembered.work_of(job, job.phases[-1], device=device, before=before, decodes=False)
    assert work["before"] == {
        "threads": 1, "workers": 2, "channels_last": True, "fast_convolutions": True,
        "compile": True,
    }  # fmt: skip
    assert "graphs" not in work
    finding = remembered.Finding(
        settings=DEFAULT, before=before, images_per_second=2.0, before_per_second=1.0
    )
    remembered.remember(work, finding, what="x")
    (file,) = (cache_folder() / "tuning").glob("*/about.json")
    table = json.loads(file.read_text())
    for key in ("settings", "before"):
        assert table[key].pop("compile_mode") == "default"
    file.write_text(json.dumps(table))
    assert remembered.recall(work) == finding
    graphs = replace(before, compile_mode="reduce-overhead")
    other = remembered.work_of(job, job.phases[-1], device=device, before=graphs, decodes=False)
    assert remembered.recall(other) is None
    remembered.remember(other, replace(finding, settings=graphs, before=graphs), what="x")
    assert remembered.recall(other).settings == graphs


class Cuda(Device):
    """A device that says it is a GPU."""

    torch_device = torch.device("cuda", 0)


@pytest.mark.parametrize("fast", ["reduce-overhead", "default", None])
def test_on_cuda_a_compiled_run_is_tried_with_graphs_too(
    shapes_folder, registry, monkeypatch, fast
):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=1, compile=True, tune=True, registry=registry,
    )  # fmt: skip
    tried = []

    def measured(trials, settings):
        tried.append(settings)
        return 0.5 if (settings.compile_mode if settings.compile else None) == fast else 1.0

    monkeypatch.setattr(trial.Trials, "step_seconds", measured)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    device = Cuda(Device.open(job.config).accelerator)
    chosen = tune.tuned(job, device=device).config
    modes = {(s.compile, s.compile_mode) for s in tried}
    assert modes == {(False, "default"), (True, "default"), (True, "reduce-overhead")}
    assert {s.threads for s in tried} == {torch.get_num_threads()}
    assert (chosen.compile, chosen.compile_mode) == (fast is not None, fast or "default")
    num_tried = len(tried)
    assert tune.tuned(job, device=device).config == chosen
    assert len(tried) == num_tried


def test_on_a_cpu_there_are_no_graphs_to_try(shapes_folder, registry, monkeypatch):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=1, threads=1, compile=True, tune=True, registry=registry,
    )  # fmt: skip
    tried = []
    monkeypatch.setattr(
        trial.Trials, "step_seconds", lambda trials, settings: tried.append(settings) or 1.0
    )
    chosen = tune.tuned(job, device=Device.open(job.config)).config
    assert {(s.compile, s.compile_mode) for s in tried} == {(False, "default"), (True, "default")}
    assert (chosen.compile, chosen.compile_mode) == (True, "default")


def test_on_a_busy_machine_nothing_is_remembered(train, speeds, monkeypatch):
    monkeypatch.setattr(tune, "load", lambda: num_cores() + 1.0)
    notes = []

    class Watch(Observer):
        def run_started(self, job, path, *, resumed_epoch):
            notes.extend(job.notes)

    result = train(name="busy", tune=True, observer=Watch())
    assert config_of(result)["channels_last"] is False
    assert not (cache_folder() / "tuning").exists()
    (note,) = (note for note in notes if "tuned" in note)
    assert note.startswith("tuned for this run, on a busy machine: channels_last off; 16 images/s")


def test_only_cached_phases_leave_nothing_to_tune(shapes_folder, registry, speeds):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=0, freeze_epochs=1, tune=True, registry=registry,
    )  # fmt: skip
    chosen = tune.tuned(job, device=Device.open(job.config))
    assert not speeds
    assert any("no effect" in note for note in chosen.notes)


def test_workers_are_tried_where_images_are_decoded_meanwhile(shapes_folder, registry, speeds):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=4,
        epochs=1, ram=0, threads=1, tune=True, registry=registry,
    )  # fmt: skip
    chosen = tune.tuned(job, device=Device.open(job.config))
    assert len({s.workers for s in speeds}) > 1
    assert {s.threads for s in speeds} == {1}  # as the user says
    assert chosen.config.workers is None  # none is faster here


def test_a_real_trial_measures_a_step(shapes_folder, registry):
    job = zoo.prepare(
        data=str(shapes_folder), model="lenet", weights="none", img_size=16, batch_size=8,
        epochs=1, threads=1, registry=registry,
    )  # fmt: skip
    trials = trial.Trials(job=job, phase=job.phases[-1], device=Device.open(job.config))
    assert 0 < trials.step_seconds(DEFAULT) < 10


def test_memory_is_kept_and_given_back_and_no_bit_is_another():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    x = torch.rand(8, 3, 64, 64)
    expected = network(x)
    with freed_memory_kept():
        assert torch.equal(network(x), expected)
        blocks = [np.ones(2**22) for _ in range(3)]
        del blocks
        assert torch.equal(network(x), expected)
    assert torch.equal(network(x), expected)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc's allocator")
def test_what_a_phase_has_freed_is_given_back_before_the_next():
    code = (
        "import ctypes, os, re\n"
        "from pathlib import Path\n"
        "from zoo.engine.allocator import freed_memory_kept, give_back\n"
        "def resident():\n"
        "    text = Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmRSS:\\s+(\\d+)', text)[1]) / 1024\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "with freed_memory_kept():\n"
        "    before = resident()\n"
        "    blocks = [libc.malloc(2**20) for _ in range(200)]\n"
        "    for block in blocks: ctypes.memset(block, 1, 2**20)\n"
        "    last = libc.malloc(64)\n"
        "    for block in blocks: libc.free(block)\n"
        "    kept = resident()\n"
        "    give_back()\n"
        "    print(kept - before > 190, resident() - before < 10)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True True\n"


def test_whoever_sets_up_the_allocator_is_respected(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    with freed_memory_kept() as kept:
        assert not kept


def test_an_old_name_of_the_option_still_reads():
    assert zoo.RunConfig.from_mapping({"fast_depthwise": False}).fast_convolutions is False


def test_a_signal_ends_the_trial_and_a_resume_starts_the_run(
    train, speeds, tmp_path, registry, monkeypatch
):
    monkeypatch.setattr(tune, "num_cores", lambda: 2)

    class Press(Observer):
        def preparing(self, what, done, total):
            if what == "settings":
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted) as stopped:
        train(name="cut", tune=True, threads=None, observer=Press())
    assert stopped.value.exit_code == 143
    speeds.clear()
    result = zoo.resume(tmp_path / "runs" / "cut", registry=registry)
    assert {s.threads for s in speeds} == {1, 2}
    assert config_of(result)["channels_last"] is False
    whole = train(name="whole", tune=True, threads=None)
    assert digest(weights_of(result)) == digest(weights_of(whole))


def test_resume_auto_finds_a_run_that_was_tuned(train, speeds, registry):
    class Died(Exception):
        pass

    class Dies(Observer):
        def epoch_ended(self, row):
            raise Died

    with pytest.raises(Died):
        train(name="cut", tune=True, epochs=2, observer=Dies())
    result = train(tune=True, epochs=2, resume="auto")
    assert result.path.name == "cut"
    assert len(result.rows) == 2
