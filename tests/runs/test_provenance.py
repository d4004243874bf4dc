"""What refuses a resume, what is only noted, and that every difference is named."""

from __future__ import annotations

import copy
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.engine.records.environment import environment
from zoo.runs.provenance import code_digests, differences, drifts

SAVED = {
    **environment(),
    "components": {
        "model": {"spec": "classics/lenet", "package": "classifier-zoo 0.1.0"},
        "optimizer": {"spec": "acme/sgd:momentum=0.9", "package": "zoo-acme 1.0"},
        "callback-0": {"spec": "acme/post", "package": "zoo-acme 1.0"},
    },
    "code": {"zoo": "aa", "zoo_acme": "bb"},
    "options": {"lr": 0.1, "mean": None},
    "teacher": "dd",
    "data": {"name": "shapes", "fingerprint": "f1", "classes": ["bar", "dot"]},
}


def changed(*path_and_value):
    *path, last, value = path_and_value
    record = copy.deepcopy(SAVED)
    section = record
    for key in path:
        section = section[key]
    section[last] = value
    return record


REFUSED = {
    "torch": (("packages", "torch", "9.9"), "torch was"),
    "zoo": (("packages", "classifier-zoo", "9.9"), "classifier-zoo was"),
    "plugin version": (
        ("components", "optimizer", "package", "zoo-acme 2.0"),
        "optimizer comes from: package was zoo-acme 1.0 and is zoo-acme 2.0",
    ),
    "component": (
        ("components", "optimizer", "spec", "acme/sgd:momentum=0.8"),
        "optimizer: spec was acme/sgd:momentum=0.9 and is acme/sgd:momentum=0.8",
    ),
    "component gone": (
        ("components", {k: v for k, v in SAVED["components"].items() if k != "optimizer"}),
        "there is no optimizer any more",
    ),
    "code": (("code", "zoo_acme", "cc"), "the code of zoo_acme was changed"),
    "option": (("options", "lr", 0.5), "--lr was 0.1 and is 0.5"),
    "option that was open": (("options", "mean", [0.5]), "--mean was none and is 0.5"),
    "teacher": (("teacher", "ee"), "the teacher is another one, or has other weights"),
    "data": (("data", "fingerprint", "f2"), "the data has changed"),
    "classes": (
        ("data", "classes", ["bar", "star"]),
        "the classes have changed: gone dot, new star",
    ),
    "class order": (
        ("data", "classes", ["dot", "bar"]),
        "the classes have changed: another order",
    ),
}
NOTED = {
    "python": ("python", "3.99.0"),
    "cores": ("processor_count", 999),
    "capability": ("cpu_capability", "NONE"),
    "threads": ("threads", 999),
    "numpy": ("packages", "numpy", "0.1"),
    "callback": ("components", "callback-0", "package", "zoo-acme 2.0"),
}


def test_the_same_record_has_no_differences():
    assert differences(SAVED, copy.deepcopy(SAVED)) == []
    assert drifts(SAVED, copy.deepcopy(SAVED)) == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_decides_bits_refuses(case):
    change, expected = REFUSED[case]
    (line,) = differences(SAVED, changed(*change))
    assert line.startswith(expected)
    assert drifts(SAVED, changed(*change)) == []


def test_a_wrapped_library_decides_bits_where_it_is_used():
    now = changed("packages", "timm", "0.0")
    assert differences(SAVED, now) == []
    saved = changed("components", "model", "spec", "timm/test_vit")
    now["components"]["model"]["spec"] = "timm/test_vit"
    assert differences(saved, now) == [f"timm was {SAVED['packages']['timm']} and is 0.0"]
    assert drifts(saved, now) == []


@pytest.mark.parametrize("case", NOTED)
def test_what_may_decide_bits_is_noted(case):
    assert differences(SAVED, changed(*NOTED[case])) == []
    (line,) = drifts(SAVED, changed(*NOTED[case]))
    assert NOTED[case][-2] in line


def test_all_differences_are_listed_together():
    now = changed("packages", "torch", "9.9")
    now["data"] = {"name": "shapes", "fingerprint": "f2", "classes": ["bar"]}
    assert len(differences(SAVED, now)) == 3


def test_an_older_record_is_compared_as_far_as_it_goes():
    assert differences({"packages": {"torch": "2.0"}}, SAVED) == [
        f"torch was 2.0 and is {SAVED['packages']['torch']}"
    ]
    assert differences({}, SAVED) == differences(SAVED, {}) == drifts({}, SAVED) == []


@given(st.text(max_size=200))
def test_names_from_data_cannot_act_on_a_terminal(name):
    lines = differences(SAVED, changed("data", "classes", ["bar", name]))
    assert all(line.isprintable() for line in lines)


def test_the_digest_of_code_follows_its_bytes(tmp_path, monkeypatch):
    package = tmp_path / "some_methods"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    (package / "inner" / "deep.py").write_text("b = 2\n")
    (tmp_path / "single_module.py").write_text("c = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["some_methods", "single_module", "not_there_at_all"]
    first = code_digests(names)
    assert sorted(first) == ["single_module", "some_methods"]
    parts = [("__init__.py", b"a = 1\n"), ("inner/deep.py", b"b = 2\n")]
    listed = "".join(f"{n}\0{hashlib.sha256(body).hexdigest()}\n" for n, body in parts)
    assert first["some_methods"] == hashlib.sha256(listed.encode()).hexdigest()
    (package / "inner" / "deep.py").write_text("b = 3\n")
    second = code_digests(names)
    assert second["some_methods"] != first["some_methods"]
    assert second["single_module"] == first["single_module"]
    (package / "inner" / "deep.py").rename(package / "inner" / "other.py")
    assert code_digests(names)["some_methods"] != second["some_methods"]
