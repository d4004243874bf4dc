"""The README cannot rot: its commands run, its code works, its example plugin trains."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [
    re.split(r"\s#", line)[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("zoo ")
]


def test_the_two_lines_that_ci_runs_are_there():
    lines = [line for line in README.splitlines() if re.match(r"pip install '?\.", line)]
    assert lines == [
        "pip install . && zoo run --model mobilenetv3 --sched SGDR-10-2",
        "pip install '.[test]' && pytest",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_works(zoo_command, shapes_folder, tmp_path, after_training, command):
    (tmp_path / "run.toml").write_text('model = "lenet"\n')
    listed = [f"{p},{p.parent.name}" for p in sorted(shapes_folder.glob("train/*/*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *listed]) + "\n")
    words = shlex.split(command)[1:]
    words = [str(shapes_folder) if word == "path/to/images" else word for word in words]
    if words[0] == "run" and "--dry-run" not in words:
        words.append("--dry-run")
    elif words[0] != "run":
        words = after_training(words)
    if words[0] == "resume":
        tiny = [
            "--model",
            "lenet",
            "--img-size",
            "16",
            "--epochs",
            "1",
            "--name",
            Path(words[1]).name,
        ]
        assert zoo_command("run", "--data", shapes_folder, "--threads", 1, *tiny).code == 0
    outcome = zoo_command(*words)
    assert outcome.code == 0, outcome.err
    assert outcome.out or outcome.err


def test_the_python_example_runs(shapes_folder, tmp_path, after_training):
    (example,) = [block for block in blocks("python") if "zoo.run(" in block]
    picture = next((shapes_folder / "test" / "bar").iterdir())
    example = example.replace("path/to/images", str(shapes_folder)).replace("cat.jpg", str(picture))
    example = example.replace('model="efficientnet-lite0"', 'model="lenet", img_size=16, threads=1')
    example = example.replace("trained.predict", "answer = trained.predict")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["answer"][0] in ("bar", "dot")


def test_the_example_plugin_is_found_and_trains(make_plugin, zoo_command, shapes_folder, tmp_path):
    (declaration,) = [block for block in blocks("python") if "zoo_components" in block]
    (schedule,) = [block for block in blocks("python") if "def triangle" in block]
    package = make_plugin("acme", declaration)
    home = tmp_path / "site" / package
    text = declaration.replace("acme_zoo.schedules", f"{package}.schedules")
    (home / "__init__.py").write_text(text)
    (home / "schedules.py").write_text(schedule)
    (spec,) = re.findall(r"zoo run --sched (\S+?)`", README)
    tiny = ("--model", "lenet", "--img-size", 16, "--epochs", 2, "--threads", 1, "--runs", tmp_path)
    outcome = zoo_command("run", *tiny, "--sched", spec, "--data", shapes_folder)
    assert outcome.code == 0, outcome.err
    assert "acme/triangle:period=6" in outcome.out


def test_the_table_of_specs_says_what_explain_says(zoo_command):
    for spec in re.findall(
        r"^\| `((?:default|step|SGDR|multi)-[^`]+)`", README, flags=re.MULTILINE
    ):
        assert zoo_command("explain", spec, "--epochs", 5).code == 0


def test_exit_codes_in_the_readme_are_those_of_the_code():
    from zoo import errors

    text = README[README.index("Exit codes:") :]
    for name, word in (("UsageError", "usage"), ("DataError", "data"), ("PluginError", "plugin"),
                       ("CheckpointError", "checkpoint"), ("MachineError", "the machine"),
                       ("NonFiniteError", "non-finite"), ("BusyError", "busy"),
                       ("RefusedError", "refused"), ("CheckFailed", "check")):  # fmt: skip
        code = getattr(errors, name).exit_code
        assert re.search(rf"\b{code} [^,]*{word}", text), name
