"""A run that goes on when its data is no longer what it was."""

from __future__ import annotations

import shutil

import pytest
from test_resume import StopAt, assert_same

import zoo
from zoo.engine.events import Observer
from zoo.engine.interrupts import Interrupted
from zoo.errors import DataError


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
    assert not [line for line in heard.notes if "files of the data" in line]
    image = data / "train" / "dot" / "dot-0.png"
    image.write_bytes(image.read_bytes())
    heard = Hears()
    zoo.resume(tmp_path / "runs" / "two", registry=registry, observer=heard)
    (line,) = [line for line in heard.notes if "files of the data" in line]
    assert line == (
        "since the run was started: 1 files of the data were written or moved; "
        "if they are other images, start a new run"
    )
    assert_same(tmp_path / "runs" / "one", tmp_path / "runs" / "two")
