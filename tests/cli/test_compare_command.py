"""`zoo compare` as a person and as a script use it, on real runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import logsumexp
from scipy.stats import permutation_test

EVIL = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, registry):
    """A run that has learnt two easy classes, one that has not, a copy, and one on fewer images."""
    import zoo

    root = tmp_path_factory.mktemp("compare")
    generator = np.random.default_rng(0)
    for split, number in (("train", 24), ("val", 6), ("test", 20)):
        for label in ("bar", EVIL):
            folder = root / "data" / split / label
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(0, 60, (20, 20, 3), dtype=np.uint8)
                at = int(generator.integers(3, 12))
                if label == "bar":
                    pixels[:, at : at + 4] = 230
                else:
                    pixels[at : at + 5, at : at + 5] = 230
                Image.fromarray(pixels).save(folder / f"{index}-=cmd.png")
    common = {"model": "lenet", "data": str(root / "data"), "img_size": 16, "batch_size": 8,
              "threads": 1, "runs": str(root / "runs"), "registry": registry}  # fmt: skip
    zoo.run(name="good", epochs=8, lr=5e-3, **common)
    zoo.run(name="poor", epochs=1, lr=1e-9, **common)
    zoo.run(name="few", epochs=1, limit=10, **common)
    zoo.run(name="part", epochs=1, lr=1e-9, fraction=0.5, **common)
    shutil.copytree(root / "runs" / "good", root / "runs" / "again")
    return root / "runs"


@pytest.fixture
def runs(trained):
    return {path.name: path for path in trained.iterdir()}


def test_a_better_run_a_worse_one_and_an_equal_one(zoo_command, runs):
    outcome = zoo_command("compare", runs["good"], runs["poor"], runs["again"], "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    verdicts = {(v["other"], v["metric"]): v for v in found["verdicts"]}
    poor, again = verdicts["poor", "accuracy"], verdicts["again", "accuracy"]
    values = {run["label"]: run["metrics"]["accuracy"]["value"] for run in found["runs"]}
    for name in ("good", "poor"):
        summary = json.loads((runs[name] / "summary.json").read_text())
        assert values[name] == pytest.approx(summary["test_accuracy"])
    assert poor["outcome"] == "better"
    assert poor["difference"] == pytest.approx(values["good"] - values["poor"])
    assert poor["low"] > 0
    number = poor["first_only"] - poor["other_only"]
    assert number == pytest.approx(40 * poor["difference"])
    assert poor["corrected"] == pytest.approx(min(1, 2 * poor["p_value"]))
    assert (again["outcome"], again["difference"], again["p_value"]) == ("noise", 0, 1)
    assert "no difference between good and again beyond noise" in again["sentence"]
    assert verdicts["poor", "loss"]["outcome"] == "better"
    assert verdicts["poor", "loss"]["difference"] < 0  # less loss is better
    assert ("poor", "f1") in verdicts


def test_the_order_says_who_is_better_than_whom(zoo_command, runs):
    outcome = zoo_command("compare", runs["poor"], runs["good"])
    assert outcome.code == 0, outcome.err
    assert "poor against good" in outcome.out
    assert re.search(r"accuracy +-\d+\.\d points .* poor is worse; only poor is right", outcome.out)
    turned = zoo_command("compare", runs["good"], runs["poor"]).out
    assert re.search(r"accuracy +\+\d+\.\d points .* good is better; only good is", turned)
    assert re.search(r"^lr +1e-09 +0.005$", outcome.out, flags=re.MULTILINE)
    assert not re.search(r"^batch_size", outcome.out, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("names", "metric", "code"),
    [
        (["good", "poor"], "accuracy", 0),
        (["good", "poor"], "loss", 0),
        (["good", "poor"], "f1-micro", 0),
        (["poor", "good"], "accuracy", 10),
        (["good", "again"], "accuracy", 10),
        (["good", "poor", "again"], "accuracy", 10),
        (["good", "few"], "accuracy", 10),
        (["good", "poor"], "f7", 2),
        (["good", "poor"], "f1,mcc", 2),
    ],
)
def test_assert_better(zoo_command, runs, names, metric, code):
    outcome = zoo_command("compare", *(runs[name] for name in names), "--assert-better", metric)
    assert outcome.code == code, outcome.err
    assert ("is not better by" in outcome.err) == (code == 10)
    assert "Traceback" not in outcome.err
    if code == 10:
        assert names[-1] in outcome.err.splitlines()[0]
        assert outcome.out  # the table is there all the same


def test_a_stricter_level_takes_the_verdict_back(zoo_command, runs):
    found = json.loads(zoo_command("compare", runs["good"], runs["poor"], "--json").out)
    (p_value,) = [v["corrected"] for v in found["verdicts"] if v["metric"] == "accuracy"]
    args = ("compare", runs["good"], runs["poor"], "--assert-better", "accuracy", "--alpha")
    assert zoo_command(*args, p_value * 1.01).code == 0
    assert zoo_command(*args, p_value * 0.99).code == 10


def test_other_images_are_not_tested_and_other_training_images_are(zoo_command, runs):
    outcome = zoo_command("compare", runs["good"], runs["few"], runs["part"])
    assert outcome.code == 0, outcome.err
    assert "not tested: they were examined on 40 and 10 images" in outcome.out
    assert "Holm" not in outcome.out  # one test is left
    after = outcome.out[outcome.out.index("good against part") :]
    assert re.search(r"accuracy +\+\d", after)
    found = json.loads(zoo_command("compare", runs["good"], runs["few"], "--json").out)
    assert found["runs"][1]["not_paired"]
    assert found["runs"][1]["metrics"]["accuracy"]["low"] is not None  # an interval of its own
    assert {v["p_value"] for v in found["verdicts"]} == {None}


def test_a_run_of_another_kind_of_labels_is_shown_and_not_tested(
    zoo_command, runs, trained, tmp_path
):
    files = sorted((trained.parent / "data").glob("*/*/*.png"))
    rows = [f"{f},{'a|b' if i % 3 else 'a'},{f.parts[-3]}" for i, f in enumerate(files)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    made = zoo_command("run", "--model", "lenet", "--img-size", 16, "--epochs", 1, "--threads", 1,
                       "--data", f"manifest:path={tmp_path / 'm.csv'},separator=|",
                       "--runs", tmp_path, "--name", "several")  # fmt: skip
    assert made.code == 0, made.err
    outcome = zoo_command("compare", runs["good"], tmp_path / "several", runs["poor"])
    assert outcome.code == 0, outcome.err
    assert "images have several labels in one run and one label in the other" in outcome.out
    assert "good is better" in outcome.out
    outcome = zoo_command("compare", tmp_path / "several", tmp_path / "several")
    assert outcome.code == 0, outcome.err
    assert "40 images, the same for all runs" in outcome.out


def test_on_the_same_data_all_are_tested(zoo_command, runs, trained):
    outcome = zoo_command("compare", runs["good"], runs["few"], "--data", trained.parent / "data",
                          "--split", "val")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "12 images, the same for all runs" in outcome.out
    assert "the numbers are optimistic" in outcome.out


def test_other_data_is_not_said_to_have_been_trained_on(zoo_command, runs, trained, tmp_path):
    other = shutil.copytree(trained.parent / "data", tmp_path / "other")
    for file in other.glob("*/*/0-=cmd.png"):
        file.unlink()
    unsplit = shutil.copytree(other / "test", tmp_path / "unsplit")
    for data in (["--data", other, "--split", "val"], ["--data", unsplit]):
        outcome = zoo_command("compare", runs["good"], runs["poor"], *data)
        assert outcome.code == 0, outcome.err
        assert "optimistic" not in outcome.out
    own = zoo_command("compare", runs["good"], runs["poor"], "--split", "val")
    assert "note  the weights were chosen on these images: the numbers are opt" in own.out
    both = zoo_command("compare", runs["good"], runs["few"], "--split", "train")
    assert "note  these images were trained on: the numbers are optimistic" in both.out


def losses_of(path):
    """The loss of each test image, from what the run keeps of its answers."""
    kept = load_file(path / "predictions" / "test.safetensors")
    logits_NK = kept["logits_NK"].astype(np.float64)
    return logsumexp(logits_NK, axis=1) - logits_NK[np.arange(len(logits_NK)), kept["labels_N"]]


def test_a_small_level_and_many_runs_have_the_resamples_that_they_need(zoo_command, runs):
    first, *others = (runs["good"], *[runs["poor"]] * 6)
    plain = json.loads(zoo_command("compare", first, others[0], "--json").out)
    gaps_N = losses_of(first) - losses_of(others[0])
    reference = permutation_test(
        (gaps_N,), np.mean, permutation_type="samples", n_resamples=20_000, rng=0
    )
    assert reference.pvalue < 0.001
    strict = ("--alpha", 0.001, "--assert-better", "loss", "--json")
    outcome = zoo_command("compare", first, others[0], *strict)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    (verdict,) = [v for v in found["verdicts"] if v["metric"] == "loss"]
    assert verdict["resamples"] == 10_000
    assert verdict["p_value"] == 2 / 10_001
    many = zoo_command("compare", first, *others, "--alpha", 0.01, *strict[2:])
    assert many.code == 0, many.err
    for table in (found, json.loads(many.out)):  # intervals of runs are what they were
        assert table["runs"][0]["metrics"] == plain["runs"][0]["metrics"]
        assert table["runs"][1]["metrics"] == plain["runs"][1]["metrics"]


def test_what_no_number_of_resamples_can_tell_is_not_called_noise(zoo_command, runs, tmp_path):
    level = ("--alpha", 1e-6)
    outcome = zoo_command("compare", runs["good"], runs["poor"], runs["again"], *level,
                          "--assert-better", "loss", "-o", tmp_path / "page.html")  # fmt: skip
    assert outcome.code == 10
    reason = "not tested: too few resamples (1,000) for this alpha and so many runs"
    assert len(re.findall(rf"^  (?:loss|f1) .*{re.escape(reason)}", outcome.out, re.MULTILINE)) == 2
    assert "good and poor were not tested: too few resamples" in outcome.err
    assert reason in (tmp_path / "page.html").read_text()
    after = outcome.out[outcome.out.index("good against again") :]
    assert re.search(r"^  loss .* noise$", after, re.MULTILINE)  # there is no difference at all


def test_a_metric_that_takes_no_weights_is_resampled_more_often_for_many_runs(runs, make_plugin):
    import zoo
    from zoo.registry import Registry, discover
    from zoo.registry.settings import Settings

    make_plugin("acme", PLAIN_METRIC)
    registry = Registry(discover(Settings(only=frozenset({"acme"}))))
    others = [runs["poor"]] * 6
    comparison = zoo.compare([runs["good"], *others], metrics="share", registry=registry)
    found = [v for v in comparison.verdicts if v.metric == "share"]
    assert {v.outcome for v in found} == {"better"}
    assert {v.resamples for v in found} == {1000}
    assert all(v.corrected < 0.05 for v in found)
    alone = zoo.compare([runs["good"], runs["poor"]], metrics="share", registry=registry)
    assert [v.resamples for v in alone.verdicts if v.metric == "share"] == [200]
    assert comparison.runs[0].values == alone.runs[0].values


PLAIN_METRIC = """
from zoo.plugin import Component, hookimpl
class Share:
    greater_is_better = True
    def __call__(self, probabilities_NK, target):
        return (probabilities_NK.argmax(1) == target).float().mean()
def build():
    return Share()
@hookimpl
def zoo_components():
    yield Component(kind="metric", name="share", target=f"{__name__}:build")
"""


WRONG = {
    "one run": (["good"], 2, ["one run alone"]),
    "no run": (["good", "nowhere"], 2, ["nowhere", "not a run folder"]),
    "no split": (["good", "poor", "--split", "dev"], 2, ["no split 'dev'"]),
    "no metric": (["good", "poor", "--metric", "f7"], 2, ["f7"]),
    "a number a class": (["good", "poor", "--metric", "f1:average=none"], 2, ["for each class"]),
    "no level": (["good", "poor", "--alpha", "0"], 2, ["--alpha"]),
    "a folder": (["good", "poor", "-o", "."], 2, [". is a folder"]),
    "no place": (["good", "poor", "-o", "good/config.toml/x.html"], 6, ["writing"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_clear_message(zoo_command, trained, monkeypatch, case):
    args, code, words = WRONG[case]
    monkeypatch.chdir(trained)
    outcome = zoo_command("compare", *args)
    assert outcome.code == code, outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert "Traceback" not in outcome.err


def test_a_run_that_has_no_weights_or_is_newer_has_a_clear_word(zoo_command, runs, tmp_path):
    for name, change, word in (
        ("empty", lambda p: shutil.rmtree(p / "best"), "no best weights"),
        ("newer", lambda p: (p / "best/model.json").write_text('{"format": 9}'), "newer zoo"),
    ):
        path = shutil.copytree(runs["good"], tmp_path / name)
        change(path)
        outcome = zoo_command("compare", runs["good"], path)
        assert outcome.code == 4, outcome.err
        assert word in outcome.err


# ---- the page -----------------------------------------------------------------------------------


class Page(HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def with_python(path, version):
    """Changes what a run says it was made with."""
    table = json.loads((path / "environment.json").read_text())
    (path / "environment.json").write_text(json.dumps({**table, "python": version}))
    return path


def test_the_page_needs_nothing_and_names_stay_text(zoo_command, runs, tmp_path):
    plain = with_python(shutil.copytree(runs["poor"], tmp_path / "plain"), "4.0")
    evil = shutil.copytree(runs["poor"], tmp_path / "<script>alert(1)<" / "b><b>\u202ex")
    with_python(evil, EVIL + "</style>")
    pages = []
    for number, path in enumerate((plain, evil)):
        target = tmp_path / f"{number}.html"
        outcome = zoo_command("compare", runs["good"], path, "-o", target)
        assert outcome.code == 0, outcome.err
        assert "\u202e" not in outcome.out
        pages.append(target.read_text(encoding="utf-8"))
    one, other = (Page(text) for text in pages)
    shapes = [[(tag, sorted(attributes)) for tag, attributes in p.elements] for p in (one, other)]
    assert shapes[0] == shapes[1]  # a name adds no element and no attribute
    tags = [tag for tag, _ in other.elements]
    assert (tags.count("script"), tags.count("style")) == (1, 1)
    assert tags.count("svg") >= 5  # the difference, and four curves
    for tag, attributes in other.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    text, shown = pages[1], "".join(other.text)
    policy = next(a["content"] for _, a in other.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/\S+", "", text)
    assert "\u202e" not in text
    assert EVIL in shown
    assert "b><b>\\u202ex" in shown
    assert "images" in {attributes.get("id") for _, attributes in other.elements}


def test_the_page_says_what_the_terminal_says(zoo_command, runs, tmp_path):
    outcome = zoo_command("compare", runs["good"], runs["poor"], runs["again"], runs["few"],
                          "-o", tmp_path / "new" / "page.html", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    shown = " ".join("".join(Page((tmp_path / "new" / "page.html").read_text()).text).split())
    found = json.loads(outcome.out)
    for run in found["runs"]:
        assert f"{run['metrics']['accuracy']['value']:.1%}" in shown
    assert "good is better than poor" in shown
    assert "No difference between good and again beyond noise: both have the same images" in shown
    assert "Not tested: they were examined on 40 and 10 images" in shown
    assert "corrected by Holm for 2 comparisons" in shown  # the third was not tested
    assert len((tmp_path / "new" / "page.html").read_bytes()) < 1_000_000


def test_the_command_on_the_page_compares_the_same_again(zoo_command, runs, trained, tmp_path):
    given = ["compare", runs["good"], runs["poor"], "--data", trained.parent / "data", "--split",
             "val", "--metric", "f1:average=micro", "--alpha", "0.01"]  # fmt: skip
    outcome = zoo_command(*given, "--json", "-o", tmp_path / "page.html")
    assert outcome.code == 0, outcome.err
    shown = "".join(Page((tmp_path / "page.html").read_text()).text)
    (line,) = (line for line in shown.splitlines() if line.startswith("zoo compare "))
    again = zoo_command(*shlex.split(line)[1:], "--json")
    assert json.loads(again.out) == json.loads(outcome.out)


def test_a_ring_marks_an_epoch_that_was_kept_and_no_average(runs, registry):
    import zoo
    from zoo.evaluation.comparison.charts import curve_figures

    plain = zoo.compare([runs["good"], runs["poor"]], registry=registry).runs[0]
    best = {**plain.facts.best, "average": "soup of epochs 3, 5"}
    soup = replace(plain, facts=replace(plain.facts, best=best))
    rings = [
        sum(line.get_markersize() == 9 for line in figure.axes[0].lines)
        for run in (plain, soup)
        for title, figure in curve_figures([run]).items()
        if title == "Validation loss"
    ]
    assert rings == [1, 0]


def test_the_api_is_the_same_thing(runs, registry):
    import zoo
    from zoo.errors import CheckFailed, UsageError

    comparison = zoo.compare([runs["good"], runs["poor"]], registry=registry, metrics="mcc")
    assert comparison.metrics == ("accuracy", "loss", "mcc")
    comparison.assert_better("mcc")
    with pytest.raises(UsageError, match="was not compared"):
        comparison.assert_better("f1")
    worse = zoo.compare([runs["poor"], runs["good"]], registry=registry)
    with pytest.raises(CheckFailed, match="poor is not better by f1 than good") as caught:
        worse.assert_better("f1")
    assert caught.value.exit_code == 10
