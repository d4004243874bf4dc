"""zoo data check, stats, preview, import, export: what they print, write, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import zoo.data.sheet
from zoo.data.pixels.decode import open_image
from zoo.data.reading.folder import read_folder


@pytest.fixture
def digits_folder(tmp_path):
    """Three classes of real digits, 8 pixels, already split, no finding of error or warning."""
    digits = load_digits()
    for label in range(3):
        rows = np.flatnonzero(digits.target == label)[:14]
        for place, row in enumerate(rows):
            split = "train" if place < 8 else "val" if place < 11 else "test"
            folder = tmp_path / "digits" / split / f"class {label}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (digits.images[row] * 15).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{row}.png")
    return tmp_path / "digits"


def test_help_lists_the_commands_and_a_typing_error_is_answered(zoo_command):
    text = zoo_command("data", "--help").out
    for name in ("check", "stats", "preview", "import", "export"):
        assert f"  {name} " in text
        assert zoo_command("data", name, "--help").code == 0
    wrong = zoo_command("data", "chek")
    assert wrong.code == 2
    assert "Did you mean 'check'" in wrong.err


@pytest.mark.parametrize("args", [["data", "--help"], ["data", "check", "--help"]])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom zoo.cli.main import main\n"
        f"assert main({args!r}) == 0\n"
        "print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         timeout=120, env=environment)  # fmt: skip
    assert run.stdout.splitlines()[-1] == "[]"


def test_check_of_clean_data_passes_the_strict_mode(zoo_command, digits_folder):
    outcome = zoo_command("data", "check", digits_folder, "--strict")
    assert outcome.code == 0, outcome.out
    assert "train 24, val 9, test 9" in outcome.out
    assert "0 errors, 0 warnings" in outcome.out


def test_check_tells_everything_in_table_and_json(zoo_command, digits_folder):
    bad = digits_folder / "train/class 0/bad\x1b[31m.png"
    bad.write_bytes(b"")
    outcome = zoo_command("data", "check", digits_folder)
    assert outcome.code == 0
    assert "empty-file" in outcome.out
    assert "\x1b" not in outcome.out
    assert "\\x1b[31m" in outcome.out
    assert f"zoo data check {digits_folder} --fix quarantine" in outcome.out
    strict = zoo_command("data", "check", digits_folder, "--strict", "--json")
    assert strict.code == 3
    report = json.loads(strict.out)
    (finding,) = [f for f in report["findings"] if f["kind"] == "empty-file"]
    assert finding == {
        "kind": "empty-file", "severity": "error", "detail": "an empty file (0 bytes)",
        "files": ["train/class 0/bad\x1b[31m.png"], "splits": ["train"], "classes": ["class 0"],
    }  # fmt: skip
    assert (report["num_images"], report["num_readable"]) == (43, 42)


def test_fix_says_each_move_and_restore_takes_all_back(zoo_command, digits_folder):
    names = ("train/class 0/a.png", "val/class 1/b.png")
    for name in names:
        (digits_folder / name).write_bytes(b"text")
    planned = zoo_command("data", "check", digits_folder, "--fix", "quarantine", "--dry-run")
    assert all((digits_folder / name).exists() for name in names)
    done = zoo_command("data", "check", digits_folder, "--fix", "quarantine")
    for name in names:
        assert f"move       {name} to " in planned.out
        assert f"move       {name} to " in done.out
        assert not (digits_folder / name).exists()
    assert "moved      2 files" in done.out
    place = digits_folder.with_name("digits-quarantine")
    waiting = zoo_command("data", "check", "--restore", place, "--dry-run")
    assert "none was moved" in waiting.out
    assert zoo_command("data", "check", "--restore", place).code == 0
    assert all((digits_folder / name).read_bytes() == b"text" for name in names)


def test_fix_as_json_is_json_alone(zoo_command, digits_folder, tmp_path):
    (digits_folder / "train/class 0/a.png").write_bytes(b"")
    place = tmp_path / "elsewhere"
    fixed = zoo_command(
        "data", "check", digits_folder, "--fix", "quarantine", "--to", place, "--json"
    )
    report = json.loads(fixed.out)
    assert [move["source"] for move in report["moves"]] == ["train/class 0/a.png"]
    assert report["quarantine"] == str(place)
    unknown = zoo_command("data", "check", "--restore", place)
    assert unknown.code == 2
    assert "zoo data check PATH --restore" in unknown.err
    back = zoo_command("data", "check", digits_folder, "--restore", place, "--json")
    assert json.loads(back.out) == {"restored": 1, "problems": []}


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["check"], 2, "which data"),
        (["check", "no/such/place"], 3, "no data at"),
        (["check", "DATA", "--near", "11"], 2, "near"),
        (["check", "DATA", "--fix-leaks"], 2, "without a fix"),
        (["check", "fashion-mini", "--fix", "quarantine"], 2, "not a folder of images"),
        (["stats", "no/such/place"], 3, "no data at"),
        (["stats", "fashionmini"], 2, "fashion-mini"),
        (["import", "no/such/place", "x"], 3, "no data at"),
        (["export", "DATA", "DATA/x.zip"], 2, "suffix"),
    ],
)
def test_what_cannot_work_is_told(zoo_command, digits_folder, args, code, message):
    outcome = zoo_command("data", *(arg.replace("DATA", str(digits_folder)) for arg in args))
    assert outcome.code == code
    assert message in outcome.err
    assert "bug" not in outcome.err


def test_a_manifest_is_checked(zoo_command, digits_folder):
    rows = [
        f"{path.relative_to(digits_folder)},{path.parent.name},{path.parts[-3]}"
        for path in sorted(digits_folder.rglob("*.png"))
    ]
    table = digits_folder / "labels.csv"
    table.write_text("path,label,split\n" + "\n".join(rows) + "\n")
    report = json.loads(zoo_command("data", "check", table, "--json").out)
    assert report["num_images"] == 42
    assert report["formats"] == {"PNG": 42}
    assert report["counts"]["val"] == {"class 0": 3, "class 1": 3, "class 2": 3}


def test_stats_agree_with_numpy(zoo_command, digits_folder, tmp_path):
    sheet = tmp_path / "sheet.png"
    found = json.loads(zoo_command("data", "stats", digits_folder, "--sheet", sheet, "--json").out)
    files = sorted((digits_folder / "train").rglob("*.png"))
    images = [open_image(path, name="digit") for path in files]
    pixels = np.stack([np.asarray(image, dtype=np.float64) for image in images]) / 255
    np.testing.assert_allclose(found["channels"]["mean"], [pixels.mean()] * 3, atol=1e-12)
    np.testing.assert_allclose(found["channels"]["std"], [pixels.std()] * 3, atol=1e-12)
    assert found["counts"]["train"] == {"class 0": 8, "class 1": 8, "class 2": 8}
    with Image.open(sheet) as image:
        assert image.format == "PNG"
        assert image.height > 3 * 112
    text = zoo_command("data", "stats", digits_folder).out
    assert f"{pixels.mean():.6f}" in text
    assert "33.3%" in text


def test_check_counts_images_of_several_labels_once_and_advises_what_can_be_done(
    zoo_command, tmp_path
):
    pixels = (load_digits().images[:40] * 15).astype(np.uint8)
    pixels[39] = pixels[38]
    several = np.zeros((40, 3), dtype=np.uint8)
    several[:, 0] = several[:10, 1] = several[10:14, 2] = 1
    np.savez(tmp_path / "several.npz", x_train=pixels, y_train=several)
    outcome = zoo_command("data", "check", tmp_path / "several.npz")
    assert "splits     train 32, val 4, test 4" in outcome.out
    assert "imbalance" in outcome.out
    assert "same pixels" in outcome.out
    assert "--balance" not in outcome.out  # which needs one label an image
    assert "--fix" not in outcome.out  # which moves files of image folders only
    found = json.loads(zoo_command("data", "check", tmp_path / "several.npz", "--json").out)
    assert found["splits"] == {"train": 32, "val": 4, "test": 4}
    assert found["multi_label"]
    np.savez(tmp_path / "one.npz", x_train=pixels, y_train=np.arange(40) // 30)
    outcome = zoo_command("data", "check", tmp_path / "one.npz")
    assert "zoo run --balance sampler" in outcome.out
    assert "--fix" not in outcome.out


def test_a_sheet_of_several_labels_has_all_images_of_a_class(
    zoo_command, digits_folder, tmp_path, monkeypatch
):
    headings = []
    sheet = zoo.data.sheet.contact_sheet

    def spied(cells, **options):
        headings.extend(dict.fromkeys(cell.group for cell in cells))
        return sheet(cells, **options)

    monkeypatch.setattr(zoo.data.sheet, "contact_sheet", spied)
    labels = ["a|b", "a|b|c", "b|c", ""]
    rows = [
        {"path": str(path.relative_to(digits_folder)), "split": path.parts[-3],
         "label": labels[place % 4].split("|") if labels[place % 4] else []}
        for place, path in enumerate(sorted((digits_folder / "train").rglob("*.png")))
    ] + [
        {"path": str(path.relative_to(digits_folder)), "split": "val", "label": ["a", "c"]}
        for path in sorted((digits_folder / "val").rglob("*.png"))
    ]  # fmt: skip
    table = digits_folder / "labels.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)) + "\n")
    outcome = zoo_command("data", "stats", table, "--sheet", tmp_path / "sheet.png", "--json")
    assert outcome.code == 0, outcome.err
    counts = json.loads(outcome.out)["counts"]["train"]
    assert counts == {"a": 12, "b": 18, "c": 12}
    assert headings == [f"{name}  ({count})" for name, count in counts.items()]


def test_stats_leaves_bad_images_out(zoo_command, digits_folder):
    (digits_folder / "train/class 0/bad.png").write_bytes(b"")
    outcome = zoo_command("data", "stats", digits_folder)
    assert outcome.code == 0
    assert "1 cannot be read" in outcome.out


def test_a_sheet_that_cannot_be_written_is_exit_6(zoo_command, digits_folder, tmp_path):
    outcome = zoo_command("data", "stats", digits_folder, "--sheet", tmp_path / "no/where.png")
    assert outcome.code == 6
    assert "cannot be written" in outcome.err


def test_import_and_export_go_round(zoo_command, digits_folder, tmp_path):
    exported = zoo_command("data", "export", digits_folder, tmp_path / "digits.npz", "--size", 8)
    assert exported.code == 0, exported.err
    assert "42 images of 3 classes" in exported.out
    told = json.loads(
        zoo_command("data", "import", tmp_path / "digits.npz", tmp_path / "again", "--json").out
    )
    assert told["splits"] == {"train": 24, "val": 9, "test": 9}
    first, second = (read_folder(p, seed=0) for p in (digits_folder, tmp_path / "again"))
    assert first.classes == second.classes
    for split in first.splits:
        pixels = [
            sorted(
                (int(label), np.asarray(part.images.read(index)).tobytes())
                for index, label in enumerate(part.labels_N)
            )
            for part in (first.splits[split], second.splits[split])
        ]
        assert pixels[0] == pixels[1]
    refused = zoo_command("data", "import", tmp_path / "digits.npz", tmp_path / "again")
    assert refused.code == 2


@pytest.mark.parametrize("command", ["import", "export"])
def test_images_that_are_skipped_are_told(zoo_command, digits_folder, tmp_path, command):
    first, second = sorted((digits_folder / "train" / "class 0").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:-30])  # the header is as it was
    second.write_bytes(b"")
    words = ["data", command, digits_folder, tmp_path / "new", "--size", 8, "--on-bad", "skip"]
    outcome = zoo_command(*words)
    assert outcome.code == 0, outcome.err
    assert "40 images of 3 classes" in outcome.out
    for file in (first, second):
        name = file.relative_to(digits_folder).as_posix()
        assert f"note       left out 1 image that cannot be read: {name}" in outcome.out


def test_preview_draws_what_the_run_would_see(zoo_command, digits_folder, tmp_path):
    flags = ("--data", digits_folder, "--model", "lenet", "--img-size", 32, "--seed", 3,
             "--count", 6)  # fmt: skip
    outcome = zoo_command("data", "preview", *flags, "--aug", "none", "-o", tmp_path / "a.png")
    assert outcome.code == 0, outcome.err
    assert "6 images in" in outcome.out
    augmented = zoo_command(
        "data", "preview", *flags, "--aug", "rotate-30", "--json", "-o", tmp_path / "b.png"
    )
    labels = json.loads(augmented.out)["labels"]
    assert len(labels) == 6
    assert set(labels) <= {"class 0", "class 1", "class 2"}
    first, second = (
        np.asarray(open_image(tmp_path / name, name=name)) for name in ("a.png", "b.png")
    )
    assert first.shape[0] > 32
    assert (first.shape != second.shape) or (first != second).any()
    wrong = zoo_command("data", "preview", "--aug", "nonesuch", "-o", tmp_path / "c.png")
    assert wrong.code == 2
    assert not (tmp_path / "c.png").exists()
