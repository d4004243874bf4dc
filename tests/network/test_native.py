"""The compiler of zoo's own C: what it makes, keeps, and says when it cannot."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial

import pytest
import torch

from zoo.data.cache import cache_entries, remove_entry
from zoo.network.fast.native import compiler
from zoo.network.fast.native.kernels import DEPTHWISE
from zoo.network.fast.native.linear import LINEAR

compiled = partial(compiler.compiled.__wrapped__, DEPTHWISE)  # each call anew
GCC = shutil.which("gcc")

needs_compiler = pytest.mark.skipif(
    GCC is None or sys.platform != "linux" or not compiler._shares_openmp(),
    reason="no gcc, or threads of another kind",
)


@needs_compiler
def test_it_is_made_once_and_kept(tmp_path, monkeypatch):
    first = compiled(tmp_path)
    assert first.kernels.usable
    assert first.seconds > 0
    assert first.reason == ""
    assert sorted(p.name for p in first.kernels.path.parent.iterdir()) == [
        "about.json",
        "kernels.so",
    ]
    assert [p.name for p in (tmp_path / "compiled").iterdir()] == [first.kernels.path.parent.name]
    monkeypatch.setattr(compiler, "_compile", None)  # a call would fail
    second = compiled(tmp_path)
    assert (second.kernels, second.seconds) == (first.kernels, 0)
    (entry,) = cache_entries(tmp_path)
    assert (entry.kind, entry.what) == ("compiled", "depthwise convolutions in C")
    assert json.loads((entry.path / "about.json").read_text())["made by"][0] == GCC
    assert remove_entry(entry)
    assert cache_entries(tmp_path) == []
    assert first.kernels.computes_right()  # whoever has it open keeps it


@needs_compiler
def test_processors_that_differ_do_not_share(tmp_path, monkeypatch):
    paths = set()
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda it=capability: it)
        monkeypatch.setattr(
            compiler, "_compile", lambda code, arguments, folder, path: paths.add(path)
        )
        assert compiled(tmp_path).kernels is None  # since there is no file
    assert len(paths) == 2


def test_other_processors_are_left_to_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NO AVX")
    assert compiled(tmp_path) == compiler.Compilation(None)


@needs_compiler
def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiled(tmp_path) == compiler.Compilation(None, reason="no C compiler (gcc)")


@needs_compiler
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/nowhere/cc", "No such file"),
        ("'cc", "No such file"),
        ("false", "false failed: it does not say why"),
        (r"""sh -c 'printf "error: caf\351" >&2; false'""", "sh failed: error: caf\ufffd"),
        (f"{GCC} -DRELU=", "error: expected identifier"),
        (f"{GCC} -D__clang__", "gcc is needed"),
        (f"{GCC} '-D__builtin_rintf(x)=(0.5f*(x))'", "does not compute right"),
    ],
)
def test_a_compiler_that_fails(command, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", command)
    compilation = compiled(tmp_path)
    assert compilation.kernels is None
    assert reason in compilation.reason
    assert "\n" not in compilation.reason
    left = list((tmp_path / "compiled").glob("*/kernels.so"))
    assert bool(left) == ("builtin_rintf" in command)


@needs_compiler
@pytest.mark.parametrize("wrong", ["log1pf=expm1f", "sqrtf=cbrtf"], ids=["loss", "adam"])
def test_steps_of_a_head_that_compute_wrong_are_left_to_torch(wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", f"{GCC} -D{wrong}")
    compilation = compiler.compiled.__wrapped__(LINEAR, tmp_path)
    assert compilation.kernels is None
    assert "does not compute right" in compilation.reason


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cache with the library."""
    cache = tmp_path_factory.mktemp("whole")
    assert compiled(cache).kernels is not None
    return cache


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "no notes", "other notes", "no library"])
def test_what_is_damaged_is_made_again(damage, whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    [path] = tmp_path.glob("compiled/*/kernels.so")
    made, about = path.read_bytes(), path.with_name("about.json")
    if damage == "cut":
        path.write_bytes(made[:1000])
    if damage == "no library":
        path.unlink()
    if damage == "no notes":
        about.unlink()
    if damage == "other notes":
        about.write_text("[1]")
    assert compiled(tmp_path).seconds > 0
    assert compiler._is_whole(path)


@needs_compiler
def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "compiled").write_text("in the way")
    compilation = compiled(tmp_path)
    assert compilation.kernels is None
    assert "compiled" in compilation.reason
