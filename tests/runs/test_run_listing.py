"""Runs listed without torch: every state a folder can be in is a row with a word."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.config import RunConfig
from zoo.errors import UsageError
from zoo.runs.folder import RunFolder
from zoo.runs.listing import is_held, list_runs, read_run
from zoo.runs.selecting import chosen, parse_condition, ranked

ROW = {"phase": "train", "epoch": 1, "lr": 0.1, "train_loss": 1.5, "train_accuracy": 0.5,
       "val_loss": 1.0, "val_accuracy": 0.75, "val_f1": 0.7, "seconds": 2.0,
       "images_per_second": 9.0, "best": True}  # fmt: skip


def write_run(parent: Path, name: str, *, ended: bool = True, score: float = 0.75, **config):
    path = parent / name
    (path / "best").mkdir(parents=True)
    settled = RunConfig(name=name, model="lenet", epochs=2, freeze_epochs=0, **config)
    (path / "config.toml").write_text(settled.to_toml())
    (path / "environment.json").write_text(json.dumps({
        "packages": {"classifier-zoo": "0.1.0"},
        "components": {"model": {"spec": "classics/lenet", "package": "classifier-zoo 0.1.0"}},
        "data": {"name": "shapes"},
    }))  # fmt: skip
    rows = [{**ROW, "val_accuracy": score}, {**ROW, "epoch": 2, "best": False, "val_loss": 3.0}]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "best" / "model.safetensors").write_bytes(b"x" * 100)
    if ended:
        (path / "summary.json").write_text(json.dumps({
            "best_epoch": 1, "best_score": score, "monitor": "val_accuracy",
            "greater_is_better": True, "test_accuracy": score - 0.05, "test_loss": 1.1,
            "test_f1": 0.6, "num_test": 8, "seconds": 5.0,
        }))  # fmt: skip
    return path


def test_a_run_that_has_ended(tmp_path):
    path = write_run(tmp_path, "a", lr=0.002)
    (entry,) = list_runs(tmp_path)
    assert (entry.name, entry.status, entry.why) == ("a", "done", "")
    assert (entry.model, entry.data, entry.epochs, entry.planned) == ("lenet", "shapes", 2, 2)
    assert (entry.monitor, entry.best_score, entry.best_epoch) == ("val_accuracy", 0.75, 1)
    assert entry.test_accuracy == pytest.approx(0.7)
    assert entry.seconds == 5.0
    assert entry.num_bytes == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert entry.when == max(f.stat().st_mtime for f in path.glob("*.*"))
    wanted = {"lr": 0.002, "val_loss": 1.0, "val_f1": 0.7, "test_f1": 0.6, "train_loss": 1.5}
    assert wanted.items() <= entry.values.items()


def test_a_run_that_was_cut_short_is_told_by_its_table(tmp_path):
    path = write_run(tmp_path, "a", ended=False)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "train", "epo')  # a torn line is what a kill leaves
    entry = read_run(path)
    assert (entry.status, entry.epochs, entry.planned) == ("cut short", 2, 2)
    assert (entry.best_score, entry.best_epoch, entry.test_accuracy) == (0.75, 1, None)
    assert entry.seconds == 4.0


def test_the_monitor_of_a_run_that_was_cut_short_is_looked_up_with_or_without_its_split(tmp_path):
    write_run(tmp_path, "a", ended=False, monitor="f1")
    write_run(tmp_path, "b", ended=False, monitor="val_f1")
    assert [entry.best_score for entry in list_runs(tmp_path)] == [0.7, 0.7]


def test_a_run_that_is_being_written_is_running_and_its_lock_is_left_alone(tmp_path):
    path = write_run(tmp_path, "a", ended=False)
    with RunFolder(path).owned():
        before = (path / ".lock").read_bytes()
        assert read_run(path).status == "running"
        assert (path / ".lock").read_bytes() == before
    assert read_run(path).status == "cut short"
    with RunFolder(path).owned():  # nor does looking hold it
        assert is_held(path)
    os.symlink("/etc/hostname", tmp_path / "linked")
    (tmp_path / "b").mkdir()
    os.symlink("/etc/hostname", tmp_path / "b" / ".lock")
    assert not is_held(tmp_path / "b")


def test_two_lists_at_once_do_not_take_each_other_for_a_run(tmp_path):
    path = write_run(tmp_path, "a", ended=False)
    (path / ".lock").touch()
    with (path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert read_run(path).status == "cut short"


def rewritten(name, text):
    return lambda path: (path / name).write_text(text)


BROKEN = {
    "config is not TOML": (rewritten("config.toml", "model = ["), "config.toml is not TOML"),
    "config is bytes": (lambda p: (p / "config.toml").write_bytes(b"\xff\xfe"), "is not text"),
    "config is gone": (lambda p: (p / "config.toml").unlink(), "it has no config.toml"),
    "config is a folder": (
        lambda p: ((p / "config.toml").unlink(), (p / "config.toml").mkdir()), "not a file",
    ),
    "config is a pipe": (
        lambda p: ((p / "config.toml").unlink(), os.mkfifo(p / "config.toml")), "not a file",
    ),
    "summary is cut": (rewritten("summary.json", '{"best_epoch": 1'), "summary.json is not JSON"),
    "summary is a list": (rewritten("summary.json", "[1]"), "summary.json is not a table"),
    "summary is another table": (rewritten("summary.json", "{}"), "does not say how it ended"),
    "summary is deep": (rewritten("summary.json", "[" * 99999), "summary.json is not JSON"),
    "table is damaged": (
        rewritten("metrics.jsonl", f"{{]\n{json.dumps(ROW)}\n"), "line 1 of metrics.jsonl",
    ),
    "weights are gone": (
        lambda p: (p / "best" / "model.safetensors").unlink(), "best weights are gone",
    ),
    "environment is not JSON": (rewritten("environment.json", "{"), "environment.json is not JSON"),
    "newer by version": (
        rewritten("environment.json", json.dumps({"packages": {"classifier-zoo": "99.1"}})),
        "made by zoo 99.1",
    ),
    "newer by format": (rewritten("summary.json", '{"format": 7}'), "made by format 7"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_or_newer_folder_is_one_row_with_a_word(tmp_path, case):
    break_it, word = BROKEN[case]
    write_run(tmp_path, "good")
    break_it(write_run(tmp_path, "bad"))
    bad, good = list_runs(tmp_path)
    assert good.status == "done"
    assert bad.status == ("newer" if "newer" in case else "broken")
    assert word in bad.why


def test_values_of_wrong_types_break_nothing(tmp_path):
    path = write_run(tmp_path, "a")
    (path / "config.toml").write_text("model = 3\nepochs = 'x'\nmonitor = [1]\nfreeze_epochs = 1\n")
    (path / "environment.json").write_text(
        '{"packages": [1], "components": {"model": 4}, "data": 5}'
    )
    (path / "summary.json").write_text(
        '{"best_score": NaN, "best_epoch": "one", "seconds": 1e999, "test_accuracy": true,'
        f' "num_test": {"9" * 400}, "test_metrics": {{"f1": 0.5}}}}'
    )
    entry = read_run(path)
    assert (entry.status, entry.model, entry.planned, entry.best_epoch) == ("done", "", None, None)
    assert entry.test_accuracy is None
    assert entry.values["test_f1"] == 0.5
    plain = entry.as_dict()
    assert (plain["best_score"], plain["seconds"]) == (None, None)
    json.dumps(plain, allow_nan=False)


def test_what_is_no_run_is_not_listed_and_what_has_not_begun_is(tmp_path):
    write_run(tmp_path, "a")
    (tmp_path / "plots").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".lock").touch()
    (tmp_path / "early" / "environment.json").write_text("{}")
    assert [(e.name, e.status) for e in list_runs(tmp_path)] == [
        ("a", "done"), ("early", "not begun"),
    ]  # fmt: skip


def test_a_folder_of_runs_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        list_runs(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is a run itself"):
        list_runs(write_run(tmp_path, "a"))


def test_sizes_follow_no_links(tmp_path):
    path = write_run(tmp_path, "a")
    before = read_run(path).num_bytes
    (path / "loop").symlink_to(path)
    assert read_run(path).num_bytes - before < 100  # the link itself


# ---- which, and in what order -------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    for number, (name, score, model) in enumerate(
        [("lenet-1", 0.5, "lenet"), ("lenet-2", 0.9, "lenet"), ("vit", 0.7, "vit")]
    ):
        path = write_run(tmp_path, name, score=score, lr=0.001 * (number + 1), seed=number)
        for file in (path / "config.toml", path / "environment.json"):
            text = file.read_text()
            text = text.replace('"lenet"', f'"{model}"').replace("classics/lenet", f"x/{model}")
            file.write_text(text)
        os.utime(path / "summary.json", (2e9 + number, 2e9 + number))
    write_run(tmp_path, "short", ended=False, score=0.6, fold="1/5")
    return list_runs(tmp_path)


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (["model=lenet"], ["lenet-1", "lenet-2", "short"]),
        (["model=x/lenet", "seed=1"], ["lenet-2"]),
        (["model=v*"], ["vit"]),
        (["model!=lenet"], ["vit"]),
        (["lr=1e-3"], ["lenet-1"]),
        (["val-accuracy>=70%"], ["lenet-2", "vit"]),
        (["val_accuracy>0.5", "val_accuracy<0.7"], ["short"]),
        (["test_accuracy>0"], ["lenet-1", "lenet-2", "vit"]),
        (["status=cut short"], ["short"]),
        (["status!=done"], ["short"]),
        (["fold=none"], ["lenet-1", "lenet-2", "vit"]),
        (["fold=1/5"], ["short"]),
        (["split=0.8,0.1,0.1"], ["lenet-1", "lenet-2", "short", "vit"]),
        (["restore-best=true", "name=*2"], ["lenet-2"]),
        (["when>2033-01-01"], ["lenet-1", "lenet-2", "vit"]),
        (["size<1"], []),
        (["distill=none"], ["lenet-1", "lenet-2", "short", "vit"]),
    ],
)
def test_conditions(runs, where, wanted):
    found = chosen(runs, where=where, known=("distill", "fold", "split"))
    assert sorted(entry.name for entry in found) == wanted


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [("lenet", 2), ("LENET*", 2), ("*-1", 1), ("-1", 1), ("nothing", 0), (None, 4), ("v?t", 1)],
)
def test_patterns(runs, pattern, wanted):
    assert len(chosen(runs, pattern=pattern)) == wanted


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("val-accuracy", ["lenet-2", "vit", "short", "lenet-1"]),
        ("test_accuracy", ["lenet-2", "vit", "lenet-1", "short"]),  # without one: last
        ("lr", ["vit", "lenet-2", "lenet-1", "short"]),
        ("name", ["lenet-1", "lenet-2", "short", "vit"]),
        ("seconds", ["short", "lenet-1", "lenet-2", "vit"]),  # the quickest first
        (None, ["vit", "lenet-2", "lenet-1", "short"]),  # the newest first
    ],
)
def test_order(runs, key, wanted):
    assert [entry.name for entry in ranked(runs, key)] == wanted


def test_runs_without_the_value_come_last_the_other_way_round_too(runs):
    found = [entry.name for entry in ranked(runs, "test_accuracy", reverse=True)]
    assert found == ["lenet-1", "vit", "lenet-2", "short"]
    assert next(entry.name for entry in ranked(runs, "name", reverse=True)) == "vit"


@pytest.mark.parametrize("monitor", ["val_loss", "val_mae"])  # the second one's name tells nothing
def test_the_best_of_a_metric_that_is_best_when_low_is_the_lowest(tmp_path, monitor):
    for name, score in (("far", 0.9), ("near", 0.2), ("between", 0.5)):
        path = write_run(tmp_path, name, monitor=monitor)
        summary = json.loads((path / "summary.json").read_text())
        summary |= {"monitor": monitor, "best_score": score, "greater_is_better": False}
        (path / "summary.json").write_text(json.dumps(summary))
        (path / "metrics.jsonl").write_text(json.dumps({**ROW, monitor: score}) + "\n")
    for key in ("best_score", monitor):
        found = [entry.name for entry in ranked(list_runs(tmp_path), key)]
        assert found == ["near", "between", "far"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("val_acuracy>1", ["val_acuracy", "close: val_accuracy"]),
        ("lr", ["is not a condition"]),
        ("lr>", ["is not a condition"]),
        ("lr>fast", ["'fast'", "no number"]),
        ("when>yesterday", ["'yesterday'", "no date", "when>20"]),
        ("=3", ["is not a condition"]),
        ("no\x1b[31mkey=1", ["is not a condition", "\\x1b"]),
    ],
)
def test_conditions_that_cannot_be_meant(runs, where, words):
    with pytest.raises(UsageError) as caught:
        chosen(runs, where=[where])
    assert all(word in str(caught.value) for word in words)


@given(st.text())
def test_any_text_is_a_condition_or_a_usage_error(text):
    try:
        condition = parse_condition(text)
    except UsageError:
        return
    assert condition.wanted
    assert condition.key == condition.key.lower()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_found_as_it_is_printed(value):
    condition = parse_condition(f"lr={value!r}")
    assert condition.number == value


def test_no_torch_and_quick(tmp_path):
    for number in range(300):
        write_run(tmp_path, f"run-{number}")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom zoo.api import list_runs\n"
        f"list_runs({str(tmp_path)!r})\nbegan = time.process_time()\n"
        f"found = list_runs({str(tmp_path)!r}, where=['val_accuracy>0.5'], sort='val_loss')\n"
        "print(len(found), time.process_time() - began, 'torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    number, seconds, torch = ended.stdout.split()
    assert (number, torch) == ("300", "False")
    assert float(seconds) < 1.0  # 0.15 s of processor time on an idle machine
