"""A kill at each operation of pruning on the disk: what is left still reads and resumes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_pruning import a_run, model

from zoo.runs import checkpoint
from zoo.runs.folder import RunFolder
from zoo.runs.pruning import carry_out

KILLER = """
    import os, shutil, sys
    from pathlib import Path
    from zoo.runs.pruning import carry_out

    def die_at(at):
        left = at

        def counted(function):
            def call(*args, **kwargs):
                nonlocal left
                left -= 1
                if left == 0:
                    os._exit(137)
                return function(*args, **kwargs)
            return call

        for owner, names in ((os, ("fsync", "rmdir", "unlink")), (Path, ("rename", "unlink",
                             "rmdir"))):
            for name in names:
                setattr(owner, name, counted(getattr(owner, name)))

    root = Path(sys.argv[1])
    for kind in ("ended", "short", "all"):
        for at in range(1, 1000):
            target = root / f"{kind}-{at}"
            shutil.copytree(root / ("start-ended" if kind == "ended" else "start-short"), target)
            child = os.fork()
            if child == 0:
                die_at(at)
                carry_out(target / "run", everything=kind == "all")
                os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                break
        print(kind, at - 1)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    root = tmp_path_factory.mktemp("pruned")
    a_run(root / "start-ended", soup=True)
    a_run(root / "start-short", ended=False, soup=True, steps=(1, 2, 3))
    script = root / "killer.py"
    script.write_text(textwrap.dedent(KILLER))
    search = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    ended = subprocess.run(
        [sys.executable, script, root], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": search},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return root, {kind: int(n) for kind, n in map(str.split, ended.stdout.splitlines())}


@pytest.mark.parametrize("kind", ["ended", "short", "all"])
def test_a_kill_at_every_operation_leaves_what_still_reads_and_resumes(killed, kind):
    root, totals = killed
    assert totals[kind] >= 10
    kept = set()
    for at in range(1, totals[kind] + 1):
        folder = RunFolder(root / f"{kind}-{at}" / "run")
        assert torch.equal(folder.read_best()[0]["weight"], model(2)["weight"])
        assert len(folder.rows()) == 2
        newest, rejected = checkpoint.latest(folder.checkpoints)
        assert rejected == []  # every checkpoint that has a name is whole
        if newest is not None:
            state = checkpoint.load(newest).state
            assert len(state["candidates"]) == 2
        if kind == "short":
            assert newest.name == "step-00000003"
            for candidate in state["candidates"]:
                path = folder.path / "candidates" / f"epoch-{candidate['epoch']:05d}.safetensors"
                assert load_file(path)
        done = carry_out(folder.path, everything=kind == "all")  # the next one tidies up
        assert done.left == ()
        assert not list(folder.path.rglob(".tmp-*"))
        kept.add(tuple(sorted(p.name for p in folder.path.rglob("step-*"))))
    assert kept == {("step-00000003",) if kind == "short" else ()}
