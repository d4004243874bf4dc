"""`zoo runs` and `zoo runs prune` as a person uses them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from zoo.runs.folder import RunFolder

TINY = ("--model", "lenet", "--img-size", "16", "--batch-size", "8", "--threads", "1")


@pytest.fixture(scope="module")
def trained(shapes_folder, tmp_path_factory, registry):
    """Three real runs, one of them as if it had been cut short."""
    import zoo

    runs = tmp_path_factory.mktemp("runs")
    common = {"model": "lenet", "data": str(shapes_folder), "img_size": 16, "batch_size": 8,
              "threads": 1, "runs": str(runs), "registry": registry}  # fmt: skip
    zoo.run(name="good", epochs=3, lr=5e-3, soup=2, **common)
    zoo.run(name="poor", epochs=1, lr=1e-9, **common)
    zoo.run(name="short", epochs=2, **common)
    (runs / "short" / "summary.json").unlink()
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    """A copy that a test may change."""
    import shutil

    return shutil.copytree(trained, tmp_path / "runs")


def test_the_table(zoo_command, runs):
    outcome = zoo_command("runs", "--runs", runs, "--sort", "name")
    assert outcome.code == 0, outcome.err
    header, good, poor, short = outcome.out.splitlines()
    wanted = "name model data epochs best val_accuracy test when time size status"
    assert " ".join(header.split()) == wanted
    summary = json.loads((runs / "good" / "summary.json").read_text())
    assert good.split()[:2] == ["good", "lenet"]
    assert f" {summary['best_score']:.1%} " in good
    assert f" {summary['test_accuracy']:.1%} " in good
    assert good.endswith("done")
    assert poor.startswith("poor")
    assert short.endswith("cut short")
    assert "3 runs in" in outcome.err


def test_filters_order_and_limit(zoo_command, runs):
    outcome = zoo_command("runs", "list", "--runs", runs, "--where", "lr<0.001", "--json")
    assert [run["name"] for run in json.loads(outcome.out)] == ["poor"]
    outcome = zoo_command("runs", "o", "--runs", runs, "--sort", "lr", "--reverse", "--limit", 2,
                          "--json")  # fmt: skip
    assert [run["name"] for run in json.loads(outcome.out)] == ["poor", "short"]
    outcome = zoo_command("runs", "--runs", runs, "--sort", "val_loss")
    assert "val_loss" in outcome.out.splitlines()[0]
    found = zoo_command("runs", "--runs", runs, "--where", "status=done").err
    assert "2 of 3 runs" in found


def test_json_is_json_and_nothing_else(zoo_command, runs):
    outcome = zoo_command("runs", "--runs", runs, "--json")
    (good,) = [run for run in json.loads(outcome.out) if run["name"] == "good"]
    summary = json.loads((runs / "good" / "summary.json").read_text())
    assert good["test_accuracy"] == summary["test_accuracy"]
    assert good["values"]["soup"] == 2
    assert outcome.err == ""


def test_names_cannot_act_on_the_terminal(zoo_command, runs):
    (runs / "good").rename(runs / "evil\x1b[31m\u202e🦓")
    text = (runs / "poor" / "config.toml").read_text()
    (runs / "poor" / "config.toml").write_text(text.replace('"lenet"', r'"\u001b[2Jlenet"'))
    outcome = zoo_command("runs", "--runs", runs)
    assert outcome.code == 0
    assert "\x1b" not in outcome.out + outcome.err
    assert "evil\\x1b[31m\\u202e🦓" in outcome.out
    outcome = zoo_command("runs", "prune", "--runs", runs, "--keep-best", "--dry-run")
    assert "\x1b" not in outcome.out + outcome.err


WRONG = {
    "no such folder": (["--runs", "nowhere"], 2, ["nowhere", "does not exist"]),
    "a key nobody has": (["--where", "val_acc>1"], 2, ["'val_acc'", "val_accuracy"]),
    "no condition": (["--where", "lr"], 2, ["is not a condition"]),
    "sorted by nothing": (["--sort", "colour"], 2, ["'colour'"]),
    "a run": (["--runs", "good"], 2, ["is a run itself"]),
    "nothing to keep": (["prune"], 2, ["nothing says what to keep", "--keep-best"]),
    "no such run": (["prune", "nothing", "--keep-best"], 2, ["no run 'nothing'"]),
    "nobody to ask": (["prune", "--keep-best"], 9, ["nobody to ask", "--yes"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_clear_message(zoo_command, trained, monkeypatch, case):
    args, code, words = WRONG[case]
    monkeypatch.chdir(trained)
    where = [] if "--runs" in args else ["--runs", str(trained)]
    outcome = zoo_command("runs", *args, *where)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert len(outcome.err.splitlines()) <= 4


def test_prune_frees_what_it_says_and_the_run_can_still_be_used(zoo_command, runs, shapes_folder):
    import zoo

    before = sum(f.stat().st_size for f in runs.rglob("*") if f.is_file())
    dry = zoo_command("runs", "prune", "--keep-best", "--dry-run", "--runs", runs, "--json")
    planned = json.loads(dry.out)
    assert before == sum(f.stat().st_size for f in runs.rglob("*") if f.is_file())
    outcome = zoo_command("runs", "prune", "--keep-best", "--yes", "--runs", runs)
    assert outcome.code == 0, outcome.err
    after = sum(f.stat().st_size for f in runs.rglob("*") if f.is_file() and f.name != ".lock")
    locks = sum(f.stat().st_size for f in runs.rglob(".lock"))
    assert abs(before - after - locks - planned["num_bytes"]) < 32
    assert f"{planned['num_bytes'] / 1e6:,.1f} MB freed" in outcome.out
    assert not (runs / "good" / "checkpoints").exists()
    assert not (runs / "good" / "candidates").exists()
    picture = next((shapes_folder / "test" / "bar").iterdir())
    assert zoo.load(runs / "good").predict([picture])[0] in ("bar", "dot")
    assert "short: checkpoints/" in outcome.out  # an older one went, the newest stays
    assert len(list((runs / "short" / "checkpoints").iterdir())) == 1
    again = zoo_command("runs", "prune", "--keep-best", "--runs", runs)
    assert (again.code, again.out) == (0, "0.0 MB freed\n")  # nothing to ask about


def test_a_run_that_was_cut_short_resumes_after_pruning(zoo_command, runs):
    best = (runs / "short" / "best" / "model.safetensors").read_bytes()
    zoo_command("runs", "prune", "short", "--keep-best", "--yes", "--runs", runs)
    outcome = zoo_command("resume", runs / "short")
    assert outcome.code == 0, outcome.err
    assert (runs / "short" / "best" / "model.safetensors").read_bytes() == best
    assert (runs / "short" / "summary.json").is_file()


def test_a_run_that_is_being_written_is_exit_8_by_name_and_passed_over_otherwise(zoo_command, runs):
    with RunFolder(runs / "good").owned():
        (runs / "good" / "summary.json").unlink()
        assert "running" in zoo_command("runs", "good", "--runs", runs).out
        outcome = zoo_command("runs", "prune", "good", "--keep-best", "--yes", "--runs", runs)
        assert outcome.code == 8
        outcome = zoo_command("runs", "prune", "--keep-best", "--yes", "--runs", runs)
        assert outcome.code == 0
        assert "good: it is being written; left as it is" in outcome.out
    assert len(list((runs / "good" / "checkpoints").iterdir())) == 2


def test_it_asks_on_a_terminal(zoo_command, runs, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda text: "MB of 3 runs" not in text)
    outcome = zoo_command("runs", "prune", "--keep-best", "--runs", runs)
    assert outcome.code == 130
    assert len(list((runs / "good" / "checkpoints").iterdir())) == 2
    monkeypatch.setattr("click.confirm", lambda text: "MB of 3 runs" in text)
    assert zoo_command("runs", "prune", "--keep-best", "--runs", runs).code == 0
    assert not (runs / "good" / "checkpoints").exists()


@pytest.mark.parametrize("args", [["runs", "--runs", "RUNS"], ["runs", "prune", "--help"],
                                  ["runs", "--help"], ["compare", "--help"]])  # fmt: skip
def test_it_imports_no_torch(trained, args):
    args = [str(trained) if arg == "RUNS" else arg for arg in args]
    code = (
        "import sys\nfrom zoo.cli.main import main\n"
        f"assert main({args!r}) == 0\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'matplotlib', 'safetensors'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout.splitlines()[-1] == "[]"
