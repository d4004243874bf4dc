"""zoo kfold and zoo sweep: the runs that they make, and what is said of them together."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.config import RunConfig
from zoo.engine.assembly import reading
from zoo.errors import UsageError
from zoo.experiments.running import experiment_folder
from zoo.experiments.tables import ranked, spread_of
from zoo.experiments.trials import fold_trials, grid_trials

FLAGS = ("--model", "mlp-mnist", "--img-size", "16", "--epochs", "1", "--workers", "0",
         "--batch-size", "8")  # fmt: skip


def test_kfold_trains_a_run_for_each_part(zoo_command, shapes_folder, tmp_path):
    asked = ("kfold", *FLAGS, "--data", shapes_folder, "--runs", tmp_path, "--name", "k")
    outcome = zoo_command(*asked, "--folds", 4, "--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    trials = said["trials"]
    assert [trial["setting"]["fold"] for trial in trials] == ["1/4", "2/4", "3/4", "4/4"]
    scores = [trial["best_score"] for trial in trials]
    (line,) = said["settings"]
    assert line["score"]["mean"] == pytest.approx(statistics.fmean(scores))
    assert line["score"]["deviation"] == pytest.approx(statistics.stdev(scores))
    assert line["score"]["count"] == line["test"]["count"] == 4
    for trial in trials:
        config = (tmp_path / "k" / trial["name"] / "config.toml").read_text(encoding="utf-8")
        assert f'fold = "{trial["setting"]["fold"]}"' in config
    written = json.loads((tmp_path / "k" / "experiment.json").read_text(encoding="utf-8"))
    assert (written["kind"], written["trials"]) == ("kfold", trials)
    # Again: nothing is trained twice, and a run that was cut short goes on.
    first = tmp_path / "k" / trials[0]["name"]
    (first / "summary.json").unlink()
    kept = {name: (tmp_path / "k" / name / "best" / "model.safetensors").stat().st_mtime_ns
            for name in (trial["name"] for trial in trials[1:])}  # fmt: skip
    again = json.loads(zoo_command(*asked, "--folds", 4, "--json").out)
    assert [trial["best_score"] for trial in again["trials"]] == scores
    assert (first / "summary.json").exists()
    for name, when in kept.items():
        assert (tmp_path / "k" / name / "best" / "model.safetensors").stat().st_mtime_ns == when


def test_a_sweep_ranks_and_lives_with_a_run_that_fails(zoo_command, shapes_folder, tmp_path):
    outcome = zoo_command(
        "sweep", *FLAGS, "--data", shapes_folder, "--runs", tmp_path, "--name", "s",
        "--optim", "sgd", "--grid", "lr=1e-2,1e30", "--seeds", "0,1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "1/4  val_accuracy" in outcome.out
    assert "failed: " in outcome.out
    table = outcome.out[outcome.out.index("\nruns ") + 1 :]
    assert table.index("lr 0.01") < table.index("lr 1e+30")
    said = json.loads((tmp_path / "s" / "experiment.json").read_text(encoding="utf-8"))
    assert [line["setting"] for line in said["settings"]] == [{"lr": 0.01}, {"lr": 1e30}]
    assert said["settings"][0]["score"]["count"] == 2
    assert said["settings"][1]["score"] is None
    assert said["settings"][1]["failures"]
    assert [line["runs"] for line in said["settings"]] == [2, 2]
    assert [row.split("  ")[0] for row in table.splitlines()[1:3]] == ["2", "0 of 2"]


def test_the_runs_of_a_sweep_read_the_same_data_once(shapes_folder, tmp_path, monkeypatch):
    read, real = [], reading.read_path

    def counted(source, **options):
        read.append(options["seed"])
        return real(source, **options)

    monkeypatch.setattr(reading, "read_path", counted)
    options = {
        "model": "mlp-mnist", "img_size": 16, "epochs": 1, "workers": 0, "batch_size": 8,
        "data": str(shapes_folder), "runs": str(tmp_path),
    }  # fmt: skip
    together = zoo.sweep(options, grid={"lr": [1e-2, 1e-3, 1e-1]}, name="s")
    assert read == [0]
    alone = zoo.run(options, lr=1e-3)
    assert read == [0, 0]
    (same,) = [one.result for one in together.outcomes if one.trial.setting == {"lr": 1e-3}]
    assert [row.val_loss for row in same.rows] == [row.val_loss for row in alone.rows]
    zoo.sweep(options, grid={"seed": [1, 2]}, name="seeds")
    assert read == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--grid", "lr"], "is not OPTION=VALUE"),
        (["--grid", "lr=1,,2"], "is not OPTION=VALUE"),
        (["--grid", "lrr=1,2"], "there is no option"),
        (["--grid", "lr=1e-3,1e-3"], "asked for twice: lr 0.001"),
        (["--grid", "lr=1,1.0", "--grid", "loss=ce,focal"], "asked for twice: lr 1, loss focal"),
        (["--grid", "seed=1,2", "--seeds", "0,1"], "given twice"),
        (["--grid", "monitor=loss,accuracy"], "--monitor cannot vary"),
        (["--grid", "loss=ce,focal", "--monitor", "val_loss"], "cannot be ranked by"),
        (["--grid", "lr=1,-2"], "lr"),
        (["--grid", "name=a,b"], "cannot vary"),
        (["--grid", "recipe=linear-probe,strong-finetune"], "cannot vary"),
        (["--grid", "loss=ce,crossentropie"], "crossentropie"),
        (["--seeds", "0,x"], "not a list of whole numbers"),
        ([], "nothing to try"),
    ],
)
def test_what_cannot_be_swept_is_said_before_anything_is_trained(zoo_command, tmp_path, args, said):
    outcome = zoo_command("sweep", *FLAGS, "--runs", tmp_path / "runs", *args)
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert not (tmp_path / "runs").exists()


def test_the_values_of_an_option_that_takes_several(zoo_command, shapes_folder, tmp_path):
    outcome = zoo_command(
        "sweep", *FLAGS, "--data", shapes_folder, "--runs", tmp_path, "--name", "s",
        "--grid", "mean=0.5,0.4,0.3;[0.1,0.2,0.3];none", "--set", "std=0.1,0.2,0.3",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    said = json.loads((tmp_path / "s" / "experiment.json").read_text(encoding="utf-8"))
    means = [trial["setting"]["mean"] for trial in said["trials"]]
    assert means == [[0.5, 0.4, 0.3], [0.1, 0.2, 0.3], None]
    table = outcome.out[outcome.out.index("\nruns ") :]
    assert "mean [0.5,0.4,0.3]" in table
    assert "mean none" in table


def test_a_program_gives_arrays_and_is_told_of_what_is_no_list(shapes_folder, tmp_path):
    options = {
        "model": "mlp-mnist", "img_size": np.int64(16), "epochs": 1, "workers": 0,
        "batch_size": 8, "data": shapes_folder, "runs": tmp_path,
    }  # fmt: skip
    found = zoo.sweep(options, grid={"lr": np.float32([1e-2, 1e-3]), "seed": np.arange(1)})
    assert [type(value) for value in found.outcomes[0].trial.setting.values()] == [float, int]
    for values in ("cosine", 0.1, {"a": 1}):
        with pytest.raises(UsageError, match="the axis sched is"):
            zoo.sweep(options, grid={"sched": values})
    with pytest.raises(UsageError, match="seeds is 3, and must be a list"):
        zoo.kfold(options, seeds=3)
    with pytest.raises(UsageError, match="asked for twice: seed 3, fold"):
        zoo.kfold(options, folds=2, seeds=[3, 3])
    for folds in (0, 1, "5"):
        with pytest.raises(UsageError, match=f"folds is {folds}, and must be"):
            zoo.kfold(options, folds=folds)
    with pytest.raises(UsageError, match="sample is 0"):
        zoo.sweep(options, grid={"lr": [1e-2, 1e-3]}, sample=0)


def test_folds_with_a_seed_are_of_that_seed():
    config = RunConfig()
    assert [trial.config.seed for trial in fold_trials(config, folds=2)] == [0, 0]
    assert [trial.config.seed for trial in fold_trials(config, folds=2, seeds=[3])] == [3, 3]
    assert len({trial.name for trial in fold_trials(config, folds=2, seeds=[3, 4])}) == 4


def test_a_single_run_is_not_taken_for_an_experiment_nor_the_other_way_round(
    zoo_command, shapes_folder, tmp_path
):
    zoo.run(model="mlp-mnist", data=str(shapes_folder), img_size=16, epochs=1, name="one",
            runs=str(tmp_path), workers=0)  # fmt: skip
    outcome = zoo_command("kfold", *FLAGS, "--data", shapes_folder, "--runs", tmp_path,
                          "--name", "one")  # fmt: skip
    assert (outcome.code, "a single run" in outcome.err) == (2, True)
    for command in ("report", "resume"):
        outcome = zoo_command(command, tmp_path)
        assert (outcome.code, "is a folder of runs" in outcome.err) == (2, True)
        assert f"zoo runs --runs {tmp_path} lists them" in outcome.err


def test_a_folder_of_images_is_not_taken_for_an_experiment(zoo_command, shapes_folder, tmp_path):
    """Runs between the class folders would be classes."""
    data = shutil.copytree(shapes_folder / "train", tmp_path / "photos")
    before = sorted(path.name for path in data.iterdir())
    outcome = zoo_command("sweep", *FLAGS, "--data", data, "--runs", tmp_path, "--name", "photos",
                          "--seeds", "0")  # fmt: skip
    assert (outcome.code, "a folder of other things, such as" in outcome.err) == (2, True)
    assert sorted(path.name for path in data.iterdir()) == before
    (tmp_path / "killed" / "seed-0-123456").mkdir(parents=True)  # in its first instant
    assert experiment_folder(tmp_path, name="killed", stem="sweep") == tmp_path / "killed"


@given(st.integers(1, 40), st.integers(0, 1000))
def test_a_sample_of_a_grid_is_some_of_its_combinations(count, seed):
    axes = {"lr": (1e-3, 1e-2, 1e-1), "weight_decay": (0.0, 0.1), "epochs": (1, 2, 3, 4)}
    whole = grid_trials(RunConfig(seed=seed), axes)
    some = grid_trials(RunConfig(seed=seed), axes, sample=count)
    settings = [trial.setting for trial in some]
    assert len(some) == min(count, 24)
    assert settings == [trial.setting for trial in whole if trial.setting in settings]
    assert len({trial.name for trial in whole}) == 24


def test_names_that_are_cut_or_alike_are_told_apart():
    """Of 3,000 seeds with five other options before them, two had one folder."""
    fixed = {"optim": ("adamw",), "sched": ("cosine",), "batch_size": (32,), "img_size": (96,),
             "freeze_epochs": (2,)}  # fmt: skip
    names = {trial.name for trial in grid_trials(RunConfig(), {**fixed, "seed": range(3000)})}
    assert len(names) == 3000
    assert {len(name) for name in names} == {60 + 1 + 16}
    rates = [0.1 + step * 1e-9 for step in range(20)]  # 0.1, as a person is shown each of them
    alike = grid_trials(RunConfig(), {"lr": rates})
    assert len({trial.name for trial in alike}) == 20
    assert {trial.name.rpartition("-")[0] for trial in alike} == {"lr-0.1"}


def test_a_name_that_says_all_is_what_it_was():
    """So an experiment that was begun before finds its runs."""
    first, second = grid_trials(RunConfig(), {"lr": (0.1, 0.01)})
    assert (len(first.name), len(second.name)) == (len("lr-0.1-") + 6, len("lr-0.01-") + 6)


def test_names_tell_trials_of_other_options_apart():
    (first,) = grid_trials(RunConfig(), {"lr": (0.1,)})
    (same,) = grid_trials(RunConfig(runs="elsewhere"), {"lr": (0.1,)})
    (other,) = grid_trials(RunConfig(batch_size=32), {"lr": (0.1,)})
    assert first.name == same.name != other.name
    assert first.name.startswith("lr-0.1-")
    repeated = fold_trials(RunConfig(), folds=2, seeds=(3, 4))
    assert [dict(trial.setting) for trial in repeated] == [
        {"seed": 3, "fold": "1/2"}, {"seed": 3, "fold": "2/2"},
        {"seed": 4, "fold": "1/2"}, {"seed": 4, "fold": "2/2"},
    ]  # fmt: skip
    with pytest.raises(UsageError, match="2,000,000 combinations"):
        grid_trials(RunConfig(), {"seed": range(2_000_000)})


def test_scores_that_are_not_defined_end_nothing(zoo_command, shapes_folder, tmp_path):
    """A validation split of one class has no ROC."""
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    shutil.rmtree(data / "val" / "dot")
    (data / "val" / "dot").mkdir()
    outcome = zoo_command(
        "sweep", *FLAGS, "--data", data, "--runs", tmp_path, "--name", "s", "--monitor", "auroc",
        "--seeds", "0,1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    text = (tmp_path / "s" / "experiment.json").read_text(encoding="utf-8")
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [trial["best_score"] for trial in written["trials"]] == [None, None]
    assert written["settings"][0]["score"] is None
    assert written["settings"][0]["test"]["count"] == 2


@given(st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])))
def test_a_spread_is_of_the_finite_values_and_tells_of_the_others(values):
    finite = [value for value in values if math.isfinite(value)]
    spread = spread_of(values)
    if not finite:
        assert spread is None
        return
    assert (spread.count, spread.undefined) == (len(finite), len(values) - len(finite))
    assert spread.mean == pytest.approx(np.mean(finite), abs=1e-6)
    assert (spread.low, spread.high) == (min(finite), max(finite))
    if len(finite) > 1:
        assert spread.deviation == pytest.approx(np.std(finite, ddof=1), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("without", [math.nan, None])
def test_a_setting_with_a_run_without_a_score_comes_after_those_with_all(without):
    """None stands for a run that failed: the mean of those that lived through it says too much."""

    def outcome(lr, score):
        result = SimpleNamespace(best_score=score, test_accuracy=None, seconds=1.0)
        return SimpleNamespace(
            trial=SimpleNamespace(setting={"lr": lr}), result=None if score is None else result,
            failure="" if score is not None else "the loss is nan",
        )  # fmt: skip

    scores = [(1, 0.9), (1, without), (2, 0.7), (2, 0.8), (3, without), (4, 0.1)]
    lines = ranked([outcome(*one) for one in scores], greater_is_better=True)
    assert [line.setting["lr"] for line in lines] == [2, 4, 1, 3]
    assert [line.runs for line in lines] == [2, 1, 2, 1]
