"""A run that goes on when its data or its options are no longer what they were."""

from __future__ import annotations

import shutil

import pytest
from test_resume import StopAt, assert_same

import zoo
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.errors import CheckpointError, DataError


def test_other_classes_are_named_and_write_nothing_to_the_terminal(
    train, registry, shapes_folder, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    with pytest.raises(Interrupted):
        train(name="cut", data=str(data), epochs=2, observer=StopAt(4))
    for folder in data.glob("*/dot"):
        folder.rename(folder.with_name("\x1b[31mdot"))
    with pytest.raises(DataError, match="has other classes") as caught:
        zoo.resume(tmp_path / "runs" / "cut", registry=registry, force=True)
    assert caught.value.found == r"gone: dot, new: \x1b[31mdot"


class Hears(Observer):
    """Keeps what is noted."""

    def __init__(self):
        self.notes = []

    def noted(self, line):
        self.notes.append(line)


def test_files_that_were_written_since_are_noted(train, registry, shapes_folder, tmp_path):
    """Names and sizes stay: it may be a copy of the data, with which a run goes on."""
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    for name in ("one", "two"):
        with pytest.raises(Interrupted):
            train(name=name, data=str(data), epochs=2, observer=StopAt(4))
    heard = Hears()
    zoo.resume(tmp_path / "runs" / "one", registry=registry, observer=heard)
    assert not [line for line in heard.notes if "of the data written" in line]
    image = data / "train" / "dot" / "dot-0.png"
    image.write_bytes(image.read_bytes())
    heard = Hears()
    zoo.resume(tmp_path / "runs" / "two", registry=registry, observer=heard)
    (line,) = [line for line in heard.notes if "of the data written" in line]
    assert line == (
        "since the run was started: 1 file of the data written or moved; "
        "if they are other images, start a new run"
    )
    assert_same(tmp_path / "runs" / "one", tmp_path / "runs" / "two")


def test_other_options_are_refused_unless_they_decide_nothing(train, registry, tmp_path):
    with pytest.raises(Interrupted):
        train(name="cut", epochs=2, lr=0.01, optim="sgd", observer=StopAt(2))
    config = tmp_path / "runs" / "cut" / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("lr = 0.01", "lr = 0.5").replace("epochs = 2", "epochs = 3"))
    with pytest.raises(CheckpointError) as caught:
        zoo.resume(config.parent, registry=registry)
    assert "--epochs was 2 and is 3; --lr was 0.01 and is 0.5" in str(caught.value)
    config.write_text(text.replace("max_minutes = 0.0", "max_minutes = 9.0"))
    assert len(zoo.resume(config.parent, registry=registry).rows) == 2
