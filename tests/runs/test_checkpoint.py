"""Checkpoints: whole or absent, verified, and never a wrong one without a word."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import stat
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import BusyError, CheckpointError, MachineError, UsageError
from zoo.runs import checkpoint, tree
from zoo.runs.folder import RunFolder
from zoo.runs.tensor_file import TensorFile


def model(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((4, 3), value), "steps": torch.tensor(7)}


STATE = {"position": {"epoch": 2}, "optimizer": {"state": {0: {"avg": torch.arange(3.0)}}}}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    checkpoint.save(tmp_path, step=12, model=TensorFile.of(model()), state=STATE)
    path, rejected = checkpoint.latest(tmp_path)
    loaded = checkpoint.load(path)
    assert rejected == []
    assert torch.equal(loaded.model["weight"], model()["weight"])
    assert loaded.model["steps"].shape == ()
    assert loaded.state["position"] == {"epoch": 2}
    assert torch.equal(loaded.state["optimizer"]["state"][0]["avg"], torch.arange(3.0))


def test_the_last_two_are_kept_by_step_not_by_time(tmp_path):
    for step in (9, 10, 100):
        path = checkpoint.save(tmp_path, step=step, model=TensorFile.of(model(step)), state={})
        os.utime(path, (1e9 - step, 1e9 - step))  # a clock that goes back
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert checkpoint.latest(tmp_path)[0].name == "step-00000100"


def corrupt(path, how, generator):
    data = bytearray(path.read_bytes())
    if how == "flip":
        position = generator.randrange(len(data))
        data[position] ^= 1 << generator.randrange(8)
    elif how == "cut":
        del data[generator.randrange(len(data)) :]
    else:
        data += b"\0"
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("how", ["flip", "cut", "grow"])
def test_no_corruption_is_loaded_silently(tmp_path, how):
    generator = random.Random(how)
    checkpoint.save(tmp_path / "a", step=1, model=TensorFile.of(model(1)), state=STATE)
    checkpoint.save(tmp_path / "a", step=2, model=TensorFile.of(model(2)), state=STATE)
    names = sorted(p.name for p in (tmp_path / "a" / "step-00000002").iterdir())
    silent = 0
    for trial in range(120):
        folder = tmp_path / f"trial-{trial}"
        shutil.copytree(tmp_path / "a", folder)
        corrupt(folder / "step-00000002" / generator.choice(names), how, generator)
        path, rejected = checkpoint.latest(folder)
        if path.name == "step-00000002":  # a flipped bit of white space or of an unread key
            silent += not torch.equal(checkpoint.load(path).model["weight"], model(2)["weight"])
        else:
            assert rejected
            assert checkpoint.load(path).model["weight"][0, 0] == 1
        shutil.rmtree(folder)
    assert silent == 0


def test_swapped_files_and_manifests_are_refused(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step=step, model=TensorFile.of(model(step)), state=STATE)
    first, second = tmp_path / "step-00000001", tmp_path / "step-00000002"
    shutil.copy(first / "MANIFEST.json", second / "MANIFEST.json")
    with pytest.raises(CheckpointError, match="its manifest belongs to step 1"):
        checkpoint.load(second)
    shutil.copy(second / "model.safetensors", first / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model.safetensors was changed"):
        checkpoint.load(first)


def test_a_newer_format_says_upgrade(tmp_path):
    path = checkpoint.save(tmp_path, step=1, model=TensorFile.of(model()), state={})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["format"] = checkpoint.FORMAT + 1
    manifest["digest"] = checkpoint.digest_of(manifest)
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="upgrade zoo"):
        checkpoint.load(path)


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path):
    checkpoint.save(tmp_path, step=1, model=TensorFile.of(model(1)), state=STATE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(MachineError) as caught:
            checkpoint.save(
                tmp_path, step=2, model=TensorFile.of({"big": torch.zeros(100_000)}), state={}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 6
    assert "writing the checkpoint" in str(caught.value)
    assert caught.value.kept == f"the checkpoints in {tmp_path}"
    path, rejected = checkpoint.latest(tmp_path)
    assert path.name == "step-00000001"
    assert rejected == []
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("number", "passed_over"),
    [
        *((number, True) for number in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR)),
        *((number, False) for number in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_file_system_that_cannot_sync_a_folder(tmp_path, monkeypatch, call, number, passed_over):
    real = getattr(os, call)

    def failing(what, *args, **options):
        if stat.S_ISDIR(os.stat(what).st_mode):
            raise OSError(number, os.strerror(number))
        return real(what, *args, **options)

    monkeypatch.setattr(os, call, failing)
    if passed_over:
        checkpoint.save(tmp_path / "new", step=1, model=TensorFile.of(model()), state=STATE)
        assert checkpoint.latest(tmp_path / "new")[0].name == "step-00000001"
    else:
        with pytest.raises(MachineError) as caught:
            checkpoint.save(tmp_path / "new", step=1, model=TensorFile.of(model()), state=STATE)
        assert caught.value.__cause__.errno == number


plain = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=8)
trees = st.recursive(
    plain | st.just(0).map(lambda _: torch.arange(3)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(-5, 5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(trees)
def test_any_state_survives_json(state):
    body, tensors = tree.split(state)
    back = tree.join(json.loads(json.dumps(body)), tensors)
    assert tree.split(back)[0] == body
    assert type(back) is type(state)


def test_a_state_of_foreign_objects_is_refused():
    with pytest.raises(TypeError, match="cannot hold set"):
        tree.split({"a": {1, 2}})


def test_two_processes_cannot_own_one_run(tmp_path):
    folder = RunFolder.create(tmp_path, name="one", stem="x")
    code = (
        "import sys; from pathlib import Path; from zoo.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).owned(): print('owned')"
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, folder.path], capture_output=True,
                              text=True, timeout=120, check=False)  # fmt: skip

    with folder.owned():
        refused = other()
        assert "BusyError" in refused.stderr
        assert f"process {os.getpid()}" in refused.stderr
    assert other().stdout == "owned\n"
    assert BusyError.exit_code == 8


@pytest.mark.parametrize(
    ("content", "owner"),
    [
        (b"4711\n", "process 4711"),
        (b"", "process unknown"),
        (b"\x1b]0;owned\x07", r"process \x1b]0;owned\x07"),
        (b"\xff" + b"7" * 10**6, "process \ufffd" + "7" * 19),
    ],
)
def test_who_holds_a_run_is_told_without_what_acts_on_a_terminal(tmp_path, content, owner):
    folder = RunFolder.create(tmp_path, name="x", stem="x")
    with folder.owned():
        (folder.path / ".lock").write_bytes(content)
        with pytest.raises(BusyError) as caught, folder.owned():
            pass
    assert caught.value.found == owner


def test_names_in_a_manifest_write_nothing_to_the_terminal(tmp_path):
    path = checkpoint.save(tmp_path, step=1, model=TensorFile.of(model()), state={})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["files"] = {"\x1b[31m.json": {"bytes": 1, "sha256": ""}, **manifest["files"]}
    manifest["digest"] = checkpoint.digest_of(manifest)
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert checkpoint.latest(tmp_path)[1] == [r"step-00000001: \x1b[31m.json is missing"]
    (path / "\x1b[31m.json").write_text("longer")
    with pytest.raises(CheckpointError, match="cannot be used") as caught:
        checkpoint.load(path)
    assert caught.value.found == r"\x1b[31m.json was changed or cut"


def test_json_of_a_run_holds_any_name(tmp_path):
    folder = RunFolder.create(tmp_path, name="x", stem="x")
    names = ["caf\udce9", "caf\u00e9", "\\\udcff", "\x1b", '"\n', "\U0001f600"]
    folder.write_json("a.json", {"names": names})
    assert folder.read_json("a.json") == {"names": names}
    assert "caf\u00e9" in (folder.path / "a.json").read_text(encoding="utf-8")
    for content in ("{", "[" * 100_000, "\x1b[31m"):
        (folder.path / "a.json").write_text(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            folder.read_json("a.json")


def test_run_names_count_up_and_a_taken_name_is_refused(tmp_path):
    paths = [RunFolder.create(tmp_path, name=None, stem="net-data").path.name for _ in range(3)]
    assert paths == ["net-data-1", "net-data-2", "net-data-3"]
    mine = RunFolder.create(tmp_path, name="mine", stem="x")
    mine.write_text("config.toml", "")
    with pytest.raises(UsageError, match="zoo resume"):
        RunFolder.create(tmp_path, name="mine", stem="x")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="exists"):
        RunFolder.create(tmp_path, name="file", stem="x")


def test_best_weights_that_do_not_belong_to_their_description_are_refused(tmp_path):
    folder = RunFolder.create(tmp_path, name="run", stem="x")
    folder.write_best(TensorFile.of(model(1)), {"classes": ["a", "b"]})
    assert folder.read_best()[1]["classes"] == ["a", "b"]
    data = bytearray((folder.path / "best/model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder.path / "best/model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"not the file that model.json describes"):
        folder.read_best()


def test_a_torn_last_row_is_dropped(tmp_path):
    folder = RunFolder.create(tmp_path, name="run", stem="x")
    folder.write_rows([{"epoch": 1}, {"epoch": 2}])
    whole = (folder.path / "metrics.jsonl").read_text()
    (folder.path / "metrics.jsonl").write_text(whole[:-4])
    assert folder.rows() == [{"epoch": 1}]


def test_the_same_step_again_takes_the_new_state(tmp_path):
    checkpoint.save(tmp_path, step=5, model=TensorFile.of(model(1)), state={"at": "the step"})
    checkpoint.save(
        tmp_path, step=5, model=TensorFile.of(model(2)), state={"at": "the epoch's end"}
    )
    loaded = checkpoint.load(checkpoint.latest(tmp_path)[0])
    assert loaded.state == {"at": "the epoch's end"}
    assert loaded.model["weight"][0, 0] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_a_cut_checkpoint_is_no_fall_back_and_does_not_count(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step=step, model=TensorFile.of(model(step)), state={})
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"")
    assert checkpoint.latest(tmp_path)[0].name == "step-00000002"
    checkpoint.save(tmp_path, step=4, model=TensorFile.of(model(4)), state={})
    (tmp_path / "step-00000004" / "MANIFEST.json").unlink()
    assert checkpoint.latest(tmp_path)[0].name == "step-00000002"


def test_a_step_that_a_resume_passed_over_is_built_anew(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step=step, model=TensorFile.of(model(step)), state={})
    (tmp_path / "step-00000003" / "MANIFEST.json").unlink()
    checkpoint.save(tmp_path, step=2, model=TensorFile.of(model(20)), state={})
    assert checkpoint.latest(tmp_path)[0].name == "step-00000002"
    checkpoint.save(tmp_path, step=3, model=TensorFile.of(model(30)), state={})
    assert checkpoint.load(checkpoint.latest(tmp_path)[0]).model["weight"][0, 0] == 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_rows_that_are_there_are_not_written_again(tmp_path):
    folder = RunFolder.create(tmp_path, name="a", stem="a")
    table = folder.path / "metrics.jsonl"
    folder.write_rows([{"epoch": 1}])
    first = table.stat().st_ino, table.stat().st_mtime_ns
    folder.write_rows([{"epoch": 1}])
    assert (table.stat().st_ino, table.stat().st_mtime_ns) == first
    folder.write_rows([{"epoch": 1}, {"epoch": 2}])
    assert folder.rows() == [{"epoch": 1}, {"epoch": 2}]
    table.write_text('{"epoch": 1}\n{"epo', encoding="utf-8")
    folder.write_rows([{"epoch": 1}])
    assert table.read_text(encoding="utf-8") == '{"epoch": 1}\n'


def test_a_file_of_tensors_is_what_it_says_wherever_it_is_written(tmp_path):
    file = TensorFile.of(model(3))
    for name in ("a", "b"):
        file.write(tmp_path / name)
        assert checkpoint.file_digest(tmp_path / name) == file.sha256
        assert file.entry == {"bytes": (tmp_path / name).stat().st_size, "sha256": file.sha256}
