"""What --metric and --monitor may be called, and what is said when there is no such metric."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.engine.assembly.measures import choose_metrics, choose_monitor, split_metrics
from zoo.errors import UsageError


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("f1,auroc", ["f1", "auroc"]),
        ("f1+auroc, kappa", ["f1", "auroc", "kappa"]),
        ("f1:average=micro,auroc", ["f1:average=micro", "auroc"]),
        ("x:a=1,b=2,c=[3,4],f1,y:a=1e+0", ["x:a=1,b=2,c=[3,4]", "f1", "y:a=1e+0"]),
        ("f1,a=1", ["f1", "a=1"]),
        ("", [""]),
    ],
)
def test_what_joins_metrics_and_what_joins_arguments(text, specs):
    assert split_metrics(text) == specs


@given(st.text(alphabet="f1auroc:=,+[]- ", max_size=30))
def test_any_text_names_metrics_or_is_a_usage_error(registry, text):
    for choose in (choose_metrics, choose_monitor):
        try:
            assert choose(text, registry)
        except UsageError as error:
            assert str(error)  # noqa: PT017  # any text may be either
        else:
            assert "".join(split_metrics(text)).strip()


def test_names_of_what_is_monitored(registry):
    def label(text):
        return choose_monitor(text, registry)[0]

    assert [label(t) for t in ("val_loss", "Val-Accuracy", "loss", "accuracy")] == [
        "loss", "accuracy", "loss", "accuracy",
    ]  # fmt: skip
    assert [label(t) for t in ("f1", "val_f1", "VAL_F1_MICRO", "torchmetrics/f1", "f1-none")] == [
        "f1", "f1", "f1-micro", "torchmetrics-f1", "f1-none",
    ]  # fmt: skip
    assert label("ece:bins=10") == "ece-bins-10"
    assert choose_monitor("val_loss", registry)[1] is None


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("val_acuracy", ["'val_acuracy'", "val_accuracy", "zoo list metrics"]),
        ("val_los", ["val_loss"]),
        ("f11", ["close", "f1"]),
        ("val_auroch", ["auroc"]),
        ("f1,auroc", ["several metrics", "--monitor f1"]),
        ("f1:averag=micro", ["no argument 'averag'"]),
    ],
)
def test_a_misspelt_monitor_names_what_is_close(zoo_command, shapes_folder, typed, words):
    done = zoo_command("run", "--data", shapes_folder, "--model", "lenet", "--monitor", typed)
    assert done.code == 2
    for word in words:
        assert word in done.err


def test_all_that_is_wrong_at_once(registry, shapes_folder):
    with pytest.raises(UsageError) as caught:
        zoo.prepare(data=str(shapes_folder), model="lenet", metric="f11,aurocc", monitor="nope",
                    loss="none-such", registry=registry)  # fmt: skip
    for word in ("f11", "aurocc", "nope", "none-such"):
        assert word in str(caught.value)
    with pytest.raises(UsageError, match="a number for each class"):
        zoo.prepare(data=str(shapes_folder), model="lenet", metric="f1-none", registry=registry)
