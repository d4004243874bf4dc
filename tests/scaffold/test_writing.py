"""A new folder is written whole or not at all, over nothing that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import MachineError, RefusedError
from zoo.scaffold import write_folder

FILES = {"a.txt": "one\n", "deep/er/b.txt": "two\n", ".hidden": ""}


def inside(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_files_are_there(tmp_path):
    write_folder(tmp_path / "new" / "plugin", FILES)
    assert inside(tmp_path / "new" / "plugin") == FILES
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plugin"]  # nothing beside it


def test_an_empty_folder_is_filled_even_if_it_is_the_current_one(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_folder(Path("."), FILES)
    assert inside(Path.cwd()) == FILES
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", ["full", "file", "link"])
def test_what_is_there_is_refused_and_kept(tmp_path, kind):
    target = tmp_path / "plugin"
    if kind == "full":
        target.mkdir()
        (target / "mine\x1b[31m.txt").write_text("mine")
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RefusedError, match="is not overwritten") as caught:
        write_folder(target, FILES)
    assert "\x1b" not in str(caught.value)
    assert caught.value.exit_code == 9
    left = [path.name for path in tmp_path.rglob("*")]
    assert left == ["plugin", *(["mine\x1b[31m.txt"] if kind == "full" else [])]


def test_an_error_half_way_leaves_nothing(tmp_path):
    with pytest.raises(MachineError, match="cannot be written") as caught:
        write_folder(tmp_path / "plugin", {**FILES, "deep": "a file where a folder is"})
    assert caught.value.kept == "nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_a_folder_is_filled_leaves_it_empty(tmp_path, monkeypatch):
    target = tmp_path / "plugin"
    target.mkdir()
    rename = Path.rename

    def failing(self: Path, other: Path) -> Path:
        if self.name == "deep" and other.parent == target:
            raise OSError(28, "No space left on device")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(MachineError, match="cannot be written"):
        write_folder(target, FILES)
    assert list(tmp_path.rglob("*")) == [target]
