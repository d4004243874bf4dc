"""`zoo predict` as a person uses it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import zoo
from zoo.runs.checkpoint import digest_of

ROOT = Path(__file__).parents[2]
TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "lr": 5e-3, "workers": 1}


@pytest.fixture(scope="module")
def trained_run(shapes_folder, tmp_path_factory, registry):
    place = str(tmp_path_factory.mktemp("runs"))
    return zoo.run(
        name="shapes", data=str(shapes_folder), epochs=6, runs=place, registry=registry, **TINY
    ).path


@pytest.fixture
def here(trained_run, shapes_folder, tmp_path, monkeypatch):
    """A folder with a run and images, as a person has them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_run, "run")
    shutil.copytree(shapes_folder / "test", "photos")
    return tmp_path


def rows_of(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_on_the_terminal(here, zoo_command):
    outcome = zoo_command("predict", "run", "photos")
    assert outcome.code == 0, outcome.err
    header, *rows = outcome.out.splitlines()
    assert header.split() == ["image_id", "label", "score"]
    assert [row.split()[0] for row in rows][:2] == ["photos/bar/bar-0.png", "photos/bar/bar-1.png"]
    assert len(rows) == 8
    assert "8 images in" in outcome.err
    assert "images/s" in outcome.err


def test_files_in_every_form_say_the_same(here, zoo_command):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for suffix in ("csv", "json", "jsonl", "parquet"):
        options = ("-o", f"out.{suffix}", "--top-k", 2, "--probabilities")
        outcome = zoo_command("predict", "run", "photos", *options)
        assert outcome.code == 0, outcome.err
        assert outcome.out == ""
    table = rows_of("out.csv")
    whole = json.loads(Path("out.json").read_text())
    assert [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()] == whole
    columns = parquet.read_table("out.parquet").to_pylist()
    for row, record, cells in zip(table, whole, columns, strict=True):
        assert row["image_id"] == record["image_id"] == cells["image_id"]
        assert row["label"] == row["label_1"] == record["top"][0]["label"] == cells["label_1"]
        scores = (float(row["p:dot"]), record["probabilities"]["dot"], cells["p:dot"])
        assert scores == pytest.approx((scores[0],) * 3, abs=1e-5)
    printed = zoo_command("predict", "run", "photos", "--top-k", 2, "--probabilities", "--json")
    assert json.loads(printed.out) == whole
    assert list(Path(here).glob(".tmp-*")) == []


def test_an_output_that_exists_stays_unless_it_is_to_be_replaced(here, zoo_command):
    Path("out.csv").write_text("precious")
    refused = zoo_command("predict", "run", "photos", "-o", "out.csv")
    assert refused.code == 2
    assert "out.csv exists" in refused.err
    assert "--force" in refused.err
    failed = zoo_command(
        "predict", "run", "photos", "gone.png", "-o", "out.csv", "--force", "--on-bad", "fail"
    )
    assert failed.code == 3
    assert Path("out.csv").read_text() == "precious"
    assert zoo_command("predict", "run", "photos", "-o", "out.csv", "--force").code == 0
    assert len(rows_of("out.csv")) == 8
    Path("list.csv").write_text("path\nphotos/bar/bar-0.png\n")
    eaten = zoo_command("predict", "run", "list.csv", "-o", "list.csv", "--force")
    assert eaten.code == 2
    assert "is read, and cannot be written" in eaten.err


def test_bad_images_are_rows_with_the_error(here, zoo_command):
    Path("photos/bar/bad.png").write_bytes(b"not an image")
    outcome = zoo_command("predict", "run", "photos", "gone.jpg", "-o", "out.csv")
    assert outcome.code == 3
    rows = rows_of("out.csv")
    assert len(rows) == 10
    bad = [row for row in rows if row["error"]]
    assert [row["image_id"] for row in bad] == ["photos/bar/bad.png", "gone.jpg"]
    assert all(row["label"] == row["score"] == "" for row in bad)
    assert "2 images without a prediction; the first: photos/bar/bad.png" in outcome.err
    skipped = zoo_command("predict", "run", "photos", "-o", "some.csv", "--on-bad", "skip")
    assert skipped.code == 0
    assert len(rows_of("some.csv")) == 8
    table = zoo_command("predict", "run", "gone.jpg", "photos/bar/bar-0.png")
    assert table.code == 3
    assert "No such file" in table.out


def test_a_hostile_name_survives_and_does_nothing(here, zoo_command):
    if sys.platform == "win32":
        pytest.skip("names there are text")
    names = ["=cmd()", "-x", "+1\n2", '"q",\'', "\U0001f600", "a\x1b[31mb", "caf\udce9", "<b>",
             "\t"]  # fmt: skip
    Path("odd").mkdir()
    for name in names:
        shutil.copy("photos/bar/bar-0.png", f"odd/{name}.png")
        shutil.copy("photos/bar/bar-0.png", f"{name}.png")
    top = [f"{name}.png" for name in names]
    for suffix in ("csv", "jsonl"):
        outcome = zoo_command("predict", "run", "odd", "-o", f"out.{suffix}", "--", *top)
        assert outcome.code == 0, outcome.err
    records = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    found = [os.fsencode(record["image_id"]) for record in records]
    assert found[9:] == [os.fsencode(name) for name in top]
    assert set(found[:9]) == {b"odd/" + os.fsencode(name) for name in top}
    cells = [row["image_id"] for row in rows_of("out.csv")][9:]
    assert cells[:3] == ["'=cmd().png", "'-x.png", "'+1\n2.png"]
    assert cells[6] == "caf\\xe9.png"
    printed = zoo_command("predict", "run", "--", *top)
    assert "\x1b" not in printed.out
    assert "a\\x1b[31mb.png" in printed.out


@pytest.mark.parametrize(("end", "flag"), [(b"\n", []), (b"\0", ["-0"])])
def test_names_on_standard_input(here, zoo_command, monkeypatch, end, flag):
    names = [b"photos/bar/bar-0.png", b"photos/dot", b"gone"]
    stream = io.BytesIO(end.join(names) + end)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, isatty=lambda: False))
    outcome = zoo_command("predict", "run", "-", *flag, "--json")
    assert outcome.code == 3, outcome.err
    found = [row["image_id"] for row in json.loads(outcome.out)]
    assert found[0] == "photos/bar/bar-0.png"
    assert found[1:5] == [f"photos/dot/dot-{n}.png" for n in range(4)]
    assert found[5] == "gone"


def test_a_manifest_a_pattern_and_a_data_set(here, zoo_command, shapes_folder):
    Path("list.tsv").write_text("path\tlabel\nphotos/bar/bar-1.png\tbar\n")
    first = zoo_command("predict", "run", "--manifest", "list.tsv", "--json")
    second = zoo_command("predict", "run", "photos/**/bar-1.png", "--json")
    assert json.loads(first.out) == json.loads(second.out)
    own = zoo_command("predict", "run", "--split", "test", "--json")
    other = zoo_command("predict", "run", "--data", "photos", "--json")
    assert [r["score"] for r in json.loads(own.out)] == [r["score"] for r in json.loads(other.out)]


def test_bad_images_of_a_data_set(here, zoo_command):
    Path("photos/bar/bar-1.png").write_bytes(b"no picture")
    outcome = zoo_command("predict", "run", "--data", "photos", "-o", "rows.csv")
    assert outcome.code == 3, outcome.err
    assert [row["image_id"] for row in rows_of("rows.csv") if row["error"]] == ["bar/bar-1.png"]
    assert len(rows_of("rows.csv")) == 8
    outcome = zoo_command("predict", "run", "--data", "photos", "-o", "7.csv", "--on-bad", "skip")
    assert outcome.code == 0, outcome.err
    assert "1 image without a prediction; the first: bar/bar-1.png" in outcome.err
    assert len(rows_of("7.csv")) == 7
    Path("list.csv").write_text("path,label\n" + "".join(
        f"photos/{label}/{label}-{n}.png,{label}\n" for label in ("bar", "dot") for n in range(4)
    ))  # fmt: skip
    refused = zoo_command("predict", "run", "--data", "list.csv", "--json")
    assert refused.code == 3
    assert "--on-bad skip" in refused.err
    outcome = zoo_command("predict", "run", "--data", "list.csv", "--on-bad", "skip", "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)) == 7
    assert "note: left out 1 image that cannot be read: photos/bar/bar-1.png" in outcome.err


def test_images_of_a_data_set_that_are_in_no_split_are_told(here, zoo_command):
    shutil.copytree("photos", "parted/test")
    shutil.copy("photos/bar/bar-1.png", "parted/loose.png")
    outcome = zoo_command("predict", "run", "--data", "parted", "--json")
    assert len(json.loads(outcome.out)) == 8
    assert "note: left out 1 image in no split: loose.png" in outcome.err


def test_views_and_several_runs(here, zoo_command):
    shutil.copytree("run", "run2")
    alone = json.loads(zoo_command("predict", "run", "photos", "--json").out)
    both = json.loads(zoo_command("predict", "run", "run2", "photos", "--json").out)
    assert [r["score"] for r in alone] == pytest.approx([r["score"] for r in both], abs=1e-5)
    flipped = zoo_command("predict", "run", "photos", "--tta", "flip", "--json")
    drawn = zoo_command(
        "predict", "run", "photos", "--tta", "rotate-20", "--tta-views", 3, "--json"
    )
    scores = {tuple(r["score"] for r in json.loads(o.out)) for o in (flipped, drawn)}
    assert len(scores) == 2


def test_a_grid_marks_what_is_wrong(here, zoo_command):
    shutil.move("photos/bar/bar-0.png", "photos/dot/bar-0.png")  # labelled wrongly
    outcome = zoo_command("predict", "run", "photos", "-o", "out.csv", "--grid", "grid.png")
    assert outcome.code == 0, outcome.err
    wrong = sum(Path(r["image_id"]).parent.name != r["label"] for r in rows_of("out.csv"))
    assert wrong >= 1
    page = Image.open("grid.png").convert("RGB")
    red = sum(count for count, colour in page.getcolors(2**24) if colour == (200, 40, 40))
    frame = 158 * 158 - 150 * 150  # inside the line around every picture
    assert red == wrong * frame
    assert zoo_command("predict", "run", "photos", "--grid", "grid.png").code == 2
    assert zoo_command("predict", "run", "photos", "--grid", "grid.jpg").code == 2


def test_a_grid_counts_the_images_that_were_read(here, zoo_command, monkeypatch):
    from zoo.evaluation.predict import grid

    titles, sheet = [], grid.contact_sheet

    def spied(cells, **options):
        titles.append(options["title"])
        return sheet(cells, **options)

    monkeypatch.setattr(grid, "contact_sheet", spied)
    for name in ("bar-1", "bar-2"):
        Path(f"photos/bar/{name}.png").write_bytes(b"no picture")
    outcome = zoo_command("predict", "run", "photos", "-o", "out.csv", "--grid", "grid.png")
    assert outcome.code == 3, outcome.err
    read = [row for row in rows_of("out.csv") if row["label"]]
    wrong = sum(Path(row["image_id"]).parent.name != row["label"] for row in read)
    known = f"{wrong} of 6 wrong" if wrong else "6 right"
    assert titles == [f"8 of 8 images, {known}, 2 not read"]


WRONG = {
    "nothing at all": ([], 2, ["no run is given"]),
    "no run": (["photos"], 2, ["photos is not a run folder", "zoo predict runs/NAME"]),
    "no images": (["run"], 2, ["no images are given"]),
    "an empty folder": (["run", "empty"], 3, ["no images below empty"]),
    "a pattern without match": (["run", "*.gif"], 3, ["no image matches *.gif"]),
    "an ending": (["run", "photos", "-o", "out.xls"], 2, ["out.xls", ".csv, .json"]),
    "json twice": (["run", "photos", "-o", "x.json", "--json"], 2, ["--json prints"]),
    "a view": (["run", "photos", "--tta", "flop"], 2, ["flop"]),
    "views of nothing": (["run", "photos", "--tta-views", "4"], 2, ["no effect"]),
    "an engine": (["run", "photos", "--engine", "jet"], 2, ["jet"]),
    "paths and data": (["run", "photos", "--split", "test"], 2, ["so do paths"]),
    "a split": (["run", "--split", "best"], 2, ["no split 'best'"]),
    "a run without weights": (["cut", "photos"], 4, ["no best weights yet", "zoo resume cut"]),
    "a run with other classes": (["run", "other", "photos"], 2, ["have other classes", "cat"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_clear_message(here, zoo_command, case):
    args, code, words = WRONG[case]
    Path("empty").mkdir()
    shutil.copytree("run", "cut")
    shutil.rmtree("cut/best")
    described = Path(shutil.copytree("run", "other")) / "best/model.json"
    body = {**json.loads(described.read_text()), "classes": ["bar", "cat"]}
    body.pop("previous", None)
    body["digest"] = digest_of(body)
    described.write_text(json.dumps(body))
    outcome = zoo_command("predict", *args)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.splitlines()) <= 8


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_an_interrupt_leaves_the_old_file(here):
    Path("out.csv").write_text("precious")
    image = Image.effect_noise((1500, 1500), 80)
    image.save("photos/large.png")
    names = "\n".join(["photos/large.png"] * 400)
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins"), *sys.path])
    command = [sys.executable, "-m", "zoo.cli.main", "predict", "run", "-", "-o", "out.csv"]
    with subprocess.Popen(
        [*command, "--force"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        process.stdin.write(names)
        process.stdin.close()
        deadline = time.monotonic() + 60
        while not list(here.glob(".tmp-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(here.glob(".tmp-*")), "it never began to write"
        process.send_signal(signal.SIGINT)
        error = process.stderr.read()
        assert process.wait(60) == 130, error
    assert list(here.glob(".tmp-*")) == []
    assert Path("out.csv").read_text() == "precious"


def test_the_engines_of_the_options_are_those_that_there_are():
    from zoo.cli.evaluate import evaluate
    from zoo.cli.predict import predict
    from zoo.network.inference import ENGINES

    for command in (evaluate, predict):
        (option,) = (param for param in command.params if param.name == "engine")
        assert tuple(option.type.choices) == ENGINES
