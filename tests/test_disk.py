"""What the disk refuses is told with its cause, and with what mends that cause."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.unprivileged import own_folder, unprivileged
from zoo.disk import atomic_file, machine_errors
from zoo.errors import MachineError
from zoo.evaluation.predict.writers import whole_file
from zoo.runs.folder import RunFolder

FULL = Path("/dev/full")


def write(path):
    path.write_text("x" * 10_000)


def told(path, **more):
    """Returns what is told of writing a file that cannot be written."""
    with pytest.raises(MachineError) as caught, machine_errors("writing", path, **more):
        atomic_file(path, write)
    return caught.value


def test_the_hint_fits_the_cause(tmp_path):
    gone = told(tmp_path / "gone" / "page.html")
    assert (gone.found, gone.hint) == ("", "make the folder, or name another place")
    assert gone.what.endswith("page.html failed: its folder is not there")
    (tmp_path / "file").write_text("")
    inside = told(tmp_path / "file" / "page.html", then="then zoo resume runs/a")
    assert inside.what.endswith("failed: a file is where a folder must be")
    assert inside.hint == "remove the file, then zoo resume runs/a"
    (tmp_path / "page.html").mkdir()
    folder = told(tmp_path / "page.html")
    assert folder.hint == "remove the folder, or name another place"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert told(tmp_path / "large").hint == "raise ulimit -f, or name another place"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "page.html"]


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_disk_says_how_much_is_free():
    with (
        pytest.raises(MachineError) as caught,
        machine_errors("writing", FULL),
        FULL.open("w") as file,
    ):
        file.write("x")
    assert caught.value.hint == "free space, or name another place"
    assert "MiB free there" in caught.value.found


def test_a_folder_that_may_not_be_written():
    with own_folder() as folder:
        told(folder / "gone" / "page.html")  # imports what it needs
        folder.chmod(0o500)
        with unprivileged():
            hint = told(folder / "page.html").hint
        folder.chmod(0o700)
    assert hint == "make it writable, or name another place"


def test_only_what_a_run_writes_is_gone_on_with_by_resume(tmp_path):
    with pytest.raises(MachineError, match="then zoo resume") as caught:
        RunFolder(tmp_path / "gone").write_text("metrics.jsonl", "{}")
    assert caught.value.hint == f"make the folder, then zoo resume {tmp_path / 'gone'}"
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="or name another --runs"):
        RunFolder.create(tmp_path / "file" / "runs", name="a", stem="a")
    with pytest.raises(MachineError, match="or name another place"):
        whole_file(tmp_path / "file" / "said.csv", write)
