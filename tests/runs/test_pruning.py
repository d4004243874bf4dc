"""Old checkpoints removed: only what zoo wrote, never what is needed, whole at any instant."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from zoo.api import prune_runs
from zoo.config import RunConfig
from zoo.errors import BusyError, UsageError
from zoo.runs import checkpoint
from zoo.runs.candidates import keep_candidate, read_candidates
from zoo.runs.folder import RunFolder
from zoo.runs.pruning import carry_out, plan_for, runs_named
from zoo.runs.tensor_file import TensorFile


def model(value):
    return {"weight": torch.full((4, 3), float(value))}


def a_run(parent, name="run", *, ended=True, steps=(1, 2), soup=False):
    """A run as zoo leaves it: two checkpoints, best weights, the table, perhaps candidates."""
    folder = RunFolder.create(parent, name=name, stem="x")
    folder.write_json("environment.json", {"packages": {"classifier-zoo": "0.1.0"}})
    folder.write_text("config.toml", RunConfig(name=name, epochs=2, freeze_epochs=0).to_toml())
    candidates = []
    for step in steps:
        if soup:
            candidates = keep_candidate(
                folder.path / "candidates", candidates, epoch=step, score=step / 10,
                weights=model(step), most=2,
            )  # fmt: skip
        state = {"candidates": [
            {"epoch": c.epoch, "score": c.score, "sha256": c.sha256} for c in candidates
        ], "momentum": torch.ones(2)}  # fmt: skip
        checkpoint.save(
            folder.checkpoints, step=step, model=TensorFile.of(model(step)), state=state
        )
    folder.write_rows([{"epoch": 1, "best": True}, {"epoch": 2, "best": False}])
    folder.write_best(TensorFile.of(model(2)), {"value": 2})
    (folder.path / "log.txt").write_text("said\n")
    if ended:
        folder.write_json("summary.json", {"best_score": 0.5, "best_epoch": 1})
    return folder


def files(folder):
    return {
        p.relative_to(folder.path).as_posix(): p.read_bytes()
        for p in folder.path.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


RECORD = {"config.toml", "environment.json", "metrics.jsonl", "summary.json", "log.txt",
          "best/model.safetensors", "best/model.json"}  # fmt: skip


def test_a_run_that_has_ended_keeps_its_best_weights_and_record_to_the_bit(tmp_path):
    folder = a_run(tmp_path, soup=True)
    before = files(folder)
    plan = plan_for(folder.path)
    assert files(folder) == before  # a plan changes nothing
    done = carry_out(folder.path)
    assert files(folder) == {name: before[name] for name in RECORD}
    assert [r.path.name for r in done.removals] == [
        "epoch-00001.safetensors", "epoch-00002.safetensors", "step-00000001", "step-00000002",
    ]  # fmt: skip
    gone = sum(len(content) for name, content in before.items() if name not in RECORD)
    assert plan.num_bytes == done.num_bytes == gone
    assert not folder.checkpoints.exists()
    assert torch.equal(folder.read_best()[0]["weight"], model(2)["weight"])
    assert carry_out(folder.path).removals == ()  # and again there is nothing to do


def test_some_of_the_newest_checkpoints_can_stay(tmp_path):
    folder = a_run(tmp_path)
    assert plan_for(folder.path, keep_last=2).removals == ()
    done = carry_out(folder.path, keep_last=1)
    assert done.kept == ("step-00000002",)
    assert [p.name for p in folder.checkpoints.iterdir()] == ["step-00000002"]


def test_a_run_that_was_cut_short_resumes_from_the_same_state_unless_all_may_go(tmp_path):
    folder = a_run(tmp_path, ended=False, soup=True)
    before = checkpoint.load(checkpoint.latest(folder.checkpoints)[0])
    done = carry_out(folder.path)
    assert [r.path.name for r in done.removals] == ["step-00000001"]
    after = checkpoint.load(checkpoint.latest(folder.checkpoints)[0])
    assert after.path == before.path
    assert torch.equal(after.model["weight"], before.model["weight"])
    from zoo.runs.candidates import Candidate

    needed = [Candidate(**candidate) for candidate in after.state["candidates"]]
    assert len(list(read_candidates(folder.path / "candidates", needed))) == 2
    carry_out(folder.path, everything=True)
    assert checkpoint.latest(folder.checkpoints) == (None, [])
    assert not (folder.path / "candidates").exists()


def test_candidates_that_the_newest_checkpoint_no_longer_needs_go(tmp_path):
    folder = a_run(tmp_path, ended=False, soup=True, steps=(1, 2, 3))
    assert len(list((folder.path / "candidates").iterdir())) == 3
    carry_out(folder.path)
    left = sorted(p.name for p in (folder.path / "candidates").iterdir())
    assert left == ["epoch-00002.safetensors", "epoch-00003.safetensors"]


def test_a_broken_newest_checkpoint_does_not_cost_the_whole_one_before_it(tmp_path):
    folder = a_run(tmp_path, ended=False)
    newest = folder.checkpoints / "step-00000002" / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    done = carry_out(folder.path)
    assert done.removals == ()
    assert done.kept == ("step-00000001",)
    assert any("step-00000002: model.safetensors was changed or cut" in line for line in done.left)
    assert newest.read_bytes() == content


# ---- what zoo did not write ---------------------------------------------------------------------


def add_note(folder):
    (folder.checkpoints / "step-00000001" / "notes.txt").write_text("mine")


def add_folder(folder):
    (folder.checkpoints / "step-00000009").mkdir()
    (folder.checkpoints / "step-00000009" / "thesis.txt").write_text("mine")


def add_lookalike(folder):
    shutil.copytree(folder.checkpoints / "step-00000001", folder.checkpoints / "step-00000007")


def add_backup(folder):
    shutil.copytree(folder.checkpoints / "step-00000001", folder.checkpoints / "step-1-backup")


def change_manifest(folder):
    path = folder.checkpoints / "step-00000001" / "MANIFEST.json"
    path.write_text(path.read_text().replace('"step": 1', '"step": 1 '))
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "files": {"../../../precious.txt": {"bytes": 5}}}))


def escape_with_manifest(folder):
    """A manifest that verifies, and names a file outside of its folder."""
    path = folder.checkpoints / "step-00000001" / "MANIFEST.json"
    table = json.loads(path.read_text())
    precious = folder.path.parent / "precious.txt"
    table["files"]["../../../precious.txt"] = {
        "bytes": precious.stat().st_size, "sha256": checkpoint.file_digest(precious),
    }  # fmt: skip
    table["digest"] = checkpoint.digest_of(table)
    path.write_text(json.dumps(table))


def newer_format(folder):
    path = folder.checkpoints / "step-00000001" / "MANIFEST.json"
    table = {**json.loads(path.read_text()), "format": 2}
    path.write_text(json.dumps({**table, "digest": checkpoint.digest_of(table)}))


def link_file(folder):
    path = folder.checkpoints / "step-00000001" / "model.safetensors"
    outside = folder.path.parent / "model.safetensors"
    path.rename(outside)
    path.symlink_to(outside)


def link_step(folder):
    path = folder.checkpoints / "step-00000001"
    path.rename(folder.path.parent / "moved")
    path.symlink_to(folder.path.parent / "moved")


def foreign_candidate(folder):
    (folder.path / "candidates").mkdir()
    (folder.path / "candidates" / "epoch-00001.safetensors").write_bytes(b"mine")


def foreign_leftovers(folder):
    (folder.checkpoints / ".tmp-mine").mkdir()
    inside = folder.checkpoints / ".tmp-12-0123abcd-step-00000003"
    inside.mkdir()
    (inside / "diary.txt").write_text("mine")
    (folder.checkpoints / ".tmp-12-0123abcd-step-00000004").symlink_to(folder.path.parent)


ONE, NINE = "checkpoints/step-00000001", "checkpoints/step-00000009"
FOREIGN = {
    "a file in a checkpoint": (add_note, ONE, "notes.txt, which zoo did not write"),
    "a folder like a checkpoint": (add_folder, NINE, "step-00000009: it has no manifest"),
    "a copy under another step": (
        add_lookalike, "checkpoints/step-00000007", "step-00000007: its manifest belongs to",
    ),
    "a copy under another name": (
        add_backup, "checkpoints/step-1-backup", "step-1-backup: zoo did not write it",
    ),
    "a changed manifest": (change_manifest, ONE, "its manifest was changed"),
    "a manifest that names a file outside": (escape_with_manifest, ONE, "is no file of its own"),
    "a checkpoint of a newer format": (newer_format, ONE, "made by format 2"),
    "a linked file": (link_file, ONE, "no file of its own"),
    "a linked checkpoint": (link_step, ONE, "no folder of its own"),
    "weights that no checkpoint knows": (foreign_candidate, "candidates", "no checkpoint knows it"),
    "what only begins like a leftover": (
        foreign_leftovers, "checkpoints/.tmp-12-0123abcd-step-00000003", ".tmp-12-0123abcd-step-",
    ),
}  # fmt: skip


def contents(path):
    """Everything below a path, links as what they point at."""
    inner = [path, *path.rglob("*")]
    return {p: os.readlink(p) if p.is_symlink() else p.is_file() and p.read_bytes() for p in inner}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_zoo_did_not_write_stays_and_is_named(tmp_path, case):
    add, where, word = FOREIGN[case]
    folder = a_run(tmp_path / "runs")
    (tmp_path / "runs" / "precious.txt").write_text("mine")
    add(folder)
    outside = {p: v for p, v in contents(tmp_path).items() if not p.is_relative_to(folder.path)}
    before = contents(folder.path / where)
    done = carry_out(folder.path)
    assert any(word in line for line in done.left), done.left
    assert contents(folder.path / where) == before
    now = contents(tmp_path)
    assert {p: v for p, v in now.items() if not p.is_relative_to(folder.path)} == outside
    assert torch.equal(folder.read_best()[0]["weight"], model(2)["weight"])
    assert not (folder.checkpoints / "step-00000002").exists()  # zoo's own went all the same


@pytest.mark.parametrize("name", ["checkpoints", "candidates", "best"])
def test_a_folder_that_is_a_link_is_not_followed(tmp_path, name):
    folder, victim = a_run(tmp_path, soup=True), a_run(tmp_path, "victim", soup=True)
    before = files(victim)
    shutil.rmtree(folder.path / name)
    (folder.path / name).symlink_to(victim.path / name)
    done = carry_out(folder.path)
    assert any("is a link to somewhere else" in line for line in done.left)
    assert files(victim) == before


def test_a_run_that_is_a_link_or_whose_lock_is_one_is_left(tmp_path):
    folder = a_run(tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(folder.path)
    before = files(folder)
    assert "is a link" in carry_out(tmp_path / "linked").left[0]
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (folder.path / ".lock").unlink(missing_ok=True)
    (folder.path / ".lock").symlink_to(precious)
    assert "is a link" in carry_out(folder.path).left[0]
    assert files(folder) == before
    assert precious.read_text() == "mine"


def test_leftovers_of_a_killed_process_go(tmp_path):
    folder = a_run(tmp_path, ended=False)
    (folder.path / "candidates").mkdir()
    (folder.path / "candidates" / ".tmp-7-0123abcd-epoch-00004.safetensors").write_bytes(b"half")
    half = folder.checkpoints / ".tmp-7-0123abcd-step-00000003"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    done = carry_out(folder.path, keep_last=2)
    assert [r.path.name for r in done.removals] == [
        ".tmp-7-0123abcd-step-00000003", ".tmp-7-0123abcd-epoch-00004.safetensors",
    ]  # fmt: skip
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == [
        "step-00000001", "step-00000002",
    ]  # fmt: skip


def break_best(folder):
    path = folder.path / "best" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


NEEDED = {
    "whose best weights are damaged": break_best,
    "whose best weights are gone": lambda f: (f.path / "best" / "model.safetensors").unlink(),
    "of a newer zoo": lambda f: f.write_json(
        "environment.json", {"packages": {"classifier-zoo": "99"}}
    ),
    "whose table is damaged": lambda f: f.write_text("metrics.jsonl", "{\n{}\n"),
    "whose summary is damaged": lambda f: f.write_text("summary.json", "{"),
}


@pytest.mark.parametrize("case", NEEDED)
def test_a_run_that_may_need_its_checkpoints_keeps_all(tmp_path, case):
    folder = a_run(tmp_path)
    NEEDED[case](folder)
    before = files(folder)
    done = carry_out(folder.path, everything=True)
    assert done.removals == ()
    assert done.left
    assert files(folder) == before


# ---- several runs -------------------------------------------------------------------------------


def test_a_run_that_is_being_written_is_never_touched(tmp_path):
    busy, idle = a_run(tmp_path, "busy"), a_run(tmp_path, "idle")
    with busy.owned():
        before = files(busy), files(idle)
        with pytest.raises(BusyError):
            prune_runs(["idle", "busy"], folder=tmp_path)
        assert (files(busy), files(idle)) == before  # nothing at all, as one was named
        with pytest.raises(BusyError):
            carry_out(busy.path)
        plans = {plan.path.name: plan for plan in prune_runs(folder=tmp_path)}
        assert plans["busy"].busy
        assert files(busy) == before[0]
        assert not idle.checkpoints.exists()


def test_names_globs_and_paths(tmp_path):
    for name in ("a-1", "a-2", "b"):
        a_run(tmp_path, name)
    (tmp_path / "no-run").mkdir()

    def named(*names):
        return [path.name for path in runs_named(tmp_path, names)]

    assert named() == ["a-1", "a-2", "b"]
    assert named("b", "a-*", "a-1") == ["b", "a-1", "a-2"]
    assert named(str(tmp_path / "b")) == ["b"]
    assert named("b", str(tmp_path / "b"), str(tmp_path / "a-1" / ".." / "b")) == ["b"]
    for wrong in ("c", "no-run", "../*", "a", "c*"):
        with pytest.raises(UsageError, match="there is no run"):
            named(wrong)
