"""A run whose plugins are not there now: every command says which package and version to have."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

import zoo
from zoo.errors import PluginError
from zoo.registry import PluginRecord, Registry
from zoo.registry.absent import refuse_missing

PARTS = {
    "model": "Component(kind='model', name='smallnet', target='zoo_classics.networks:lenet')",
    "data": "Component(kind='dataset', name='pictures', target='zoo_datasets.folders:folder',"
            " params=(Param(name='path', type='str'),))",
    "loss": "Component(kind='loss', name='plain', target='zoo_torch.losses:label_smoothing')",
}  # fmt: skip
HEAD = "from zoo.plugin import Component, Param, hookimpl\n@hookimpl\ndef zoo_components():\n"


@pytest.fixture
def made(make_plugin, shapes_folder, tmp_path):
    """Two runs whose parts come from three plugins, and what takes a plugin away."""
    for part, declared in PARTS.items():
        make_plugin(f"acme-{part}", f"{HEAD}    yield {declared}\n", version="2.1")
    runs = [
        zoo.run(
            model="smallnet", data=f"pictures:path={shapes_folder}", loss="plain", img_size=24,
            epochs=1, freeze_epochs=0, aug="none", batch_size=8, weights="none", threads=1,
            runs=str(tmp_path / "runs"), name=name,
        ).path
        for name in ("one", "two")
    ]  # fmt: skip

    def remove(part: str) -> None:
        info = tmp_path / "site" / f"zoo_acme_{part}-2.1.dist-info"
        for file in info.iterdir():
            file.unlink()
        info.rmdir()

    return runs, remove


def said(outcome, *, part: str, name: str) -> None:
    """Checks that a command ended with the one message about a missing plugin."""
    kind = {"data": "dataset"}.get(part, part)
    assert outcome.code == 5, outcome.err
    assert f"was made with the {kind} acme-{part}/{name}" in outcome.err
    assert f"of zoo-acme-{part} 2.1: it is not installed" in outcome.err
    assert f"pip install 'zoo-acme-{part}==2.1'" in outcome.err
    assert "Traceback" not in outcome.err


def test_every_command_says_what_to_install(made, zoo_command, shapes_folder):
    (one, two), remove = made
    picture = next(shapes_folder.glob("test/*/*.png"))

    remove("loss")  # only a resume needs it
    (one / "summary.json").rename(one / "kept.json")
    said(zoo_command("resume", one), part="loss", name="plain")
    (one / "kept.json").rename(one / "summary.json")
    assert zoo_command("evaluate", one).code == 0

    remove("data")
    said(zoo_command("evaluate", one), part="data", name="pictures")
    said(zoo_command("predict", one, "--split", "test"), part="data", name="pictures")
    said(zoo_command("compare", one, two), part="data", name="pictures")
    said(zoo_command("report", one), part="data", name="pictures")
    assert zoo_command("evaluate", one, "--data", shapes_folder).code == 0
    assert zoo_command("predict", one, picture).code == 0, "it needs no data set"

    remove("model")
    for command in (
        ["evaluate", one], ["evaluate", one, "--data", shapes_folder], ["predict", one, picture],
        ["compare", one, two], ["report", one], ["heatmap", one, picture],
        ["embed", one, "-o", one / "e.npz"], ["export", one], ["review", one],
    ):  # fmt: skip
        said(zoo_command(*command), part="model", name="smallnet")
    listed = zoo_command("runs", "--runs", one.parent)
    assert listed.code == 0
    assert "one" in listed.out
    with pytest.raises(PluginError, match="smallnet"):
        zoo.load(one)

    (one / "summary.json").unlink()
    every = zoo_command("resume", one)
    assert every.code == 5
    for part in PARTS:
        assert f"pip install 'zoo-acme-{part}==2.1'" in every.err
    assert len(every.err.splitlines()) == 4


def record(**more):
    return PluginRecord(
        namespace="acme", module="m", **{"distribution": "zoo-acme", "version": "3.0", **more}
    )


@pytest.mark.parametrize(
    ("plugins", "says", "cure"),
    [
        ([], "it is not installed", "pip install 'zoo-acme==2.1'"),
        (
            [record(status="disabled", cause="disabled; zoo plugins enable acme")],
            "it is disabled", "zoo plugins enable acme",
        ),
        (
            [record(status="disabled", cause="not named in ZOO_PLUGINS")],
            "not named in ZOO_PLUGINS", "add acme to ZOO_PLUGINS",
        ),
        ([record(status="broken", cause="KeyError: x")], "it is broken: KeyError: x", "zoo doctor"),
        ([record()], "zoo-acme 3.0 does not have it", "pip install 'zoo-acme==2.1'"),
        (
            [record(distribution="acme.py", version="sha256:ab", digest="abcd")],
            "acme.py declares it no more", "undo the change",
        ),
    ],
)  # fmt: skip
def test_the_cause_and_its_cure(plugins, says, cure):
    components = {"scheduler": {"spec": "acme/tri:p=1", "package": "zoo-acme 2.1"}, "model": 7}
    with pytest.raises(PluginError) as caught:
        refuse_missing(components, Registry(plugins), run="runs/x")
    assert says in caught.value.found
    assert cure in caught.value.hint


@pytest.mark.parametrize(
    "components", [None, [], {}, {"model": {}}, {"what": {"spec": "a/b"}}, {"model": {"spec": 5}}]
)
def test_what_says_nothing_is_passed_over_or_named_and_never_a_crash(components, registry):
    expected = pytest.raises(PluginError) if components == {"model": {"spec": 5}} else nullcontext()
    with expected:
        refuse_missing(components, registry, run="x")
