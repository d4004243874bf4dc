"""An export that is cut off anywhere: the earlier one or the new one is there, and nothing else."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from zoo.errors import MachineError
from zoo.evaluation import exporting

CUT = """
    import os, shutil, signal, sys
    from pathlib import Path
    from zoo.cli.signals import signals_stop
    from zoo.evaluation import exporting

    root, how = Path(sys.argv[1]), sys.argv[2]

    def cut_at(at):
        left = at

        def counted(function):
            def call(*args, **kwargs):
                nonlocal left
                left -= 1
                due = left == 0
                if due and how == "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                result = function(*args, **kwargs)
                if due:
                    os.kill(os.getpid(), signal.Signals[how])
                return result
            return call

        for name in ("fsync", "rmdir", "unlink", "rename"):
            setattr(os, name, counted(getattr(os, name)))
        for name in ("mkdir", "open", "write_text"):
            setattr(Path, name, counted(getattr(Path, name)))

    def replace(target):
        with exporting._folder_beside(target) as folder:
            (folder / "model").mkdir()
            (folder / "model" / "weights").write_text("new")
            (folder / "model.json").write_text("new")

    for at in range(1, 1000):
        target = root / str(at) / "onnx"
        (target / "model").mkdir(parents=True)
        (target / "model" / "weights").write_text("old")
        (target / "model.json").write_text("old")
        child = os.fork()
        if child == 0:
            code = 0
            with signals_stop():
                try:
                    cut_at(at)
                    replace(target)
                except KeyboardInterrupt:
                    code = 9
            os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
    print(at)
"""


def content(target):
    return {(target / name).read_text() for name in ("model.json", "model/weights")}


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_an_export_that_is_cut_off_at_any_operation(tmp_path, how):
    repository = Path(__file__).parents[2]
    search = [str(repository), str(repository / "plugins")]
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CUT), tmp_path, how], capture_output=True,
        text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    number = int(ended.stdout)
    assert number > 15
    found = []
    for at in range(1, number):
        folder = tmp_path / str(at)
        if how != "SIGKILL":  # what could still clean up did
            assert (folder / "onnx").is_dir()
        exporting._settle_all(folder)
        names = sorted(one.name for one in folder.iterdir())
        # One that was cut off before it was locked may be of a process that is about to lock it.
        assert all(name == "onnx" or not list((folder / name).iterdir()) for name in names), names
        found.append(content(folder / "onnx"))
    assert found[0] == {"old"}
    assert found[-1] == {"new"}
    assert all(len(texts) == 1 for texts in found)


def an_export(folder):
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_text("old")
    (folder / "model.json").write_text("old")
    return folder


def replace(target):
    with exporting._folder_beside(target) as folder:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_text("new")
        (folder / "model.json").write_text("new")


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), OSError(errno.EIO, "an error"), MemoryError()]
)
def test_the_earlier_export_comes_back(tmp_path, monkeypatch, raised):
    target = an_export(tmp_path / "exports" / "onnx")
    real = Path.rename

    def rename(path, to):
        if path.name == "new":
            raise raised
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(MachineError if isinstance(raised, OSError) else type(raised)):
        replace(target)
    assert content(target) == {"old"}
    assert os.listdir(target.parent) == ["onnx"]


def test_one_that_cannot_be_put_back_stays_and_is_put_back_by_the_next(tmp_path, monkeypatch):
    target = an_export(tmp_path / "exports" / "onnx")
    real = Path.rename

    def rename(path, to):
        if to == target:
            raise OSError(errno.EIO, "the disk fails")
        return real(path, to)

    with monkeypatch.context() as patches:
        patches.setattr(Path, "rename", rename)
        with pytest.raises(MachineError, match="cannot be put back") as caught:
            replace(target)
    kept = Path(caught.value.kept.removeprefix("it is in "))
    assert content(kept) == {"old"}
    exporting._settle_all(target.parent)
    assert content(target) == {"old"}
    replace(target)
    assert content(target) == {"new"}
    assert os.listdir(target.parent) == ["onnx"]


def test_the_command_puts_back_what_a_killed_one_left(
    zoo_command, shapes_folder, tmp_path, registry
):
    import zoo

    run = zoo.run(
        model="lenet", data=str(shapes_folder), runs=str(tmp_path), img_size=24, batch_size=8,
        threads=1, freeze_epochs=0, epochs=1, workers=1, registry=registry,
    ).path  # fmt: skip
    again = ["export", run, "--to", "safetensors"]
    assert zoo_command(*again).code == 0
    exports = run / "exports"
    first = json.loads((exports / "safetensors" / "model.json").read_text())
    beside = exports / ".tmp-0123abcd-export-safetensors"
    (beside / "new").mkdir(parents=True)
    (beside / "lock").touch()
    (exports / "safetensors").rename(beside / "old")
    refused = zoo_command(*again)
    assert refused.code == 2, refused.err
    assert json.loads((exports / "safetensors" / "model.json").read_text()) == first
    assert os.listdir(exports) == ["safetensors"]
    assert zoo_command(*again, "--force").code == 0
    assert os.listdir(exports) == ["safetensors"]
