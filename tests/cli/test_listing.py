"""list, show, explain, plugins, doctor."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo

ROOT = Path(__file__).parents[2]


def test_lists_count_filter_and_find(zoo_command):
    counts = json.loads(zoo_command("list", "--json").out)
    assert counts["model"] > 1000
    assert counts["scheduler"] >= 10
    found = json.loads(zoo_command("list", "models", "*mobilenetv3*", "--json").out)
    assert found
    assert all("mobilenetv3" in (row["name"] + "".join(row["aliases"])) for row in found)
    for word in ("model", "MODELS", "losses", "sched"):
        assert zoo_command("list", word).code == 0
    wrong = zoo_command("list", "modles")
    assert wrong.code == 2
    assert "zoo list models" in wrong.err
    tagged = json.loads(zoo_command("list", "datasets", "--tag", "embedded", "--json").out)
    assert {row["name"] for row in tagged} == {"fashion-mini", "clipart10"}


def test_show_a_model_tells_size_input_and_weights(zoo_command):
    facts = json.loads(zoo_command("show", "model", "tf_efficientnet_lite0", "--json").out)
    assert facts["parameters"] == "4,652,008"
    first = facts["weights"][0]
    assert (first["here"], first["image_size"], first["mean"]) == (True, 224, [0.5, 0.5, 0.5])
    text = zoo_command("show", "model", "mobilenetv3").out
    assert "timm/mobilenetv3_large_100" in text
    assert "5,483,032" in text


def test_show_a_scheduler_tells_its_forms(zoo_command):
    text = zoo_command("show", "scheduler", "SGDR-7-3").out
    assert "short form  sgdr-10-2" in text
    assert "7" in text
    assert "classifier-zoo" in text


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("SGDR-4-2", lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2)),
        ("step-4-0.8", lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.8)),
        ("multi-3,8-0.1", lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 8], 0.1)),
    ],
)
def test_explain_draws_what_torch_computes(zoo_command, spec, make):
    rates = json.loads(zoo_command("explain", spec, "--epochs", 20, "--lr", 0.1, "--json").out)[
        "lr"
    ]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    for rate in rates:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_explain_plateau_falls_when_nothing_gets_better(zoo_command):
    rates = json.loads(zoo_command("explain", "default-0.1-3", "--epochs", 12, "--json").out)["lr"]
    assert rates[0] == 0.01
    assert rates[-1] < rates[0]
    text = zoo_command("explain", "default-0.1-3").out
    assert "never gets better" in text
    assert "patience" in text
    assert zoo_command("explain", "default-0.1-3", "--lr", "1e308").code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("explain", "cosine", "--lr", "nan"), ("explain", "cosine", "--lr", "inf"),
        ("explain", "cosine", "--warmup", "inf"), ("lr-find", "--max-lr", "nan"),
        ("predict", "runs/a", "b.png", "--threshold", "nan"),
        ("compare", "runs/a", "runs/b", "--alpha", "nan"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_a_usage_error(zoo_command, args):
    outcome = zoo_command(*args)
    assert outcome.code == 2
    assert f"{args[-1]} is not a finite number" in outcome.err


@pytest.mark.parametrize("option", ["--data", "--weights", "--name", "--runs", "--config"])
def test_a_name_that_no_file_can_have_is_a_usage_error(zoo_command, tmp_path, option):
    tiny = ("--model", "lenet", "--img-size", 16, "--limit", 20, "--epochs", 1, "--threads", 1)
    outcome = zoo_command("run", *tiny, "--runs", tmp_path, option, "x" * 300)
    assert outcome.code == 2, outcome.err
    assert "too long" in outcome.err


@pytest.mark.parametrize("option", ["--data", "--runs", "--config", "--model"])
def test_a_variable_that_is_not_set_is_no_default(zoo_command, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    outcome = zoo_command("run", "--model", "lenet", "--limit", 20, "--epochs", 1, option, "")
    assert outcome.code == 2, outcome.err
    assert "empty" in outcome.err or "cannot be read" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_crop_of_next_to_nothing_is_a_usage_error(zoo_command, tmp_path):
    tiny = ("--model", "lenet", "--img-size", 16, "--limit", 20, "--epochs", 1, "--threads", 1)
    outcome = zoo_command("run", *tiny, "--runs", tmp_path, "--crop-fraction", "1e-300")
    assert outcome.code == 2
    assert "must be at least 0.01" in outcome.err


def test_one_word_is_a_list_of_one():
    assert zoo.list("loss", tags="sigmoid") == zoo.list("loss", tags=["sigmoid"])
    assert zoo.list("loss", tags="sigmoid")


def test_plugins_list_shows_package_version_status(zoo_command):
    records = json.loads(zoo_command("plugins", "list", "--json").out)
    assert {r["namespace"] for r in records} >= {
        "torch",
        "timm",
        "torchvision",
        "classics",
        "datasets",
    }
    assert {r["status"] for r in records if r["builtin"]} == {"ok"}


def test_doctor_is_content(zoo_command, monkeypatch):
    monkeypatch.setattr("zoo.cli.doctor._SLOW_MILLISECONDS", 0.0)  # the machine is busy
    monkeypatch.setenv("CC", "/usr/bin/gcc-99 -O2")
    outcome = zoo_command("doctor")
    assert "gcc-99" in outcome.out
    assert "/usr/bin/gcc" not in outcome.out
    assert outcome.code == 0
    assert "0 problems" in outcome.out
    assert json.loads(zoo_command("doctor", "--json").out)["problems"] == []


def test_commands_that_do_not_exist(zoo_command):
    outcome = zoo_command("trian")
    assert outcome.code == 2
    assert "there is no command 'trian'" in outcome.err


def test_bugs_are_told_apart_from_errors(zoo_command, monkeypatch):
    import zoo.cli.doctor

    def broken(registry):
        raise ValueError("boom\x1b[31m")

    monkeypatch.setattr(zoo.cli.doctor, "_problems", broken)
    outcome = zoo_command("doctor")
    assert outcome.code == 1
    assert "this is a bug in zoo: ValueError: boom\\x1b" in outcome.err
    assert "Traceback" not in outcome.err
    assert "Traceback" in zoo_command("doctor", "--debug").err


def test_a_strangers_error_of_many_pages_is_cut(zoo_command, monkeypatch):
    import zoo.cli.doctor

    def broken(registry):
        raise RuntimeError("g++ failed\n" + "warning: unused\n" * 10_000)

    monkeypatch.setattr(zoo.cli.doctor, "_problems", broken)
    outcome = zoo_command("doctor")
    assert outcome.code == 1
    assert "RuntimeError: g++ failed" in outcome.err
    assert " ... (160,010 characters)\n" in outcome.err
    assert len(outcome.err) < 1500
    assert outcome.err.count("\n") <= 4
    assert len(zoo_command("doctor", "--debug").err) > 160_000


def test_every_public_module_lists_what_it_offers():
    import importlib
    import pkgutil

    import zoo

    for info in pkgutil.walk_packages(zoo.__path__, "zoo."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{info.name}.{name}"
    assert all(getattr(zoo, name) for name in zoo.__all__)


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    zoo = f"{shlex.quote(sys.executable)} -m zoo.cli.main"
    script = f"{zoo} list models | head -1; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120,
                          check=True, env={**os.environ, "PYTHONPATH": path})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "0 0"
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_gets_plain_bars():
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "zoo.cli.main", "explain", "step-4-0.8"],
                          capture_output=True, text=True, timeout=120, check=True,
                          env=environment)  # fmt: skip
    assert "####" in done.stdout
    assert "?" not in done.stdout
