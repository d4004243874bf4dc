"""The index: what is unchanged is not read again, what is damaged or foreign counts for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.plugin import Component, Param
from zoo.registry import PluginRecord, Registry, discover
from zoo.registry.child import read_apart
from zoo.registry.index import Index, decoded, encoded, index_file
from zoo.registry.records import check_component, component_from, plain
from zoo.registry.settings import Settings

COUNTED = """
with open({trace!r}, "a") as file:
    file.write("read\\n")
from zoo.plugin import Component, hookimpl

@hookimpl
def zoo_components():
    yield Component(kind="scheduler", name={name!r}, target="fractions:Fraction")
"""


@pytest.fixture
def counted(make_plugin, tmp_path):
    """A plugin that leaves a line behind each time it is imported, and how often that was."""
    trace = tmp_path / "trace"
    package = make_plugin("acme", COUNTED.format(trace=str(trace), name="triangle"))

    def times() -> int:
        return len(trace.read_text().splitlines()) if trace.exists() else 0

    times.package = tmp_path / "site" / package
    times.trace = trace
    return times


def names() -> set[str]:
    return {e.component.name for e in Registry.installed().entries("scheduler")}


def test_a_plugin_is_read_once_and_never_in_this_process(counted, zoo_command):
    before = set(sys.modules)
    for _ in range(3):
        assert "triangle" in names()
    assert zoo_command("list", "schedulers").code == 0
    assert zoo_command("show", "scheduler", "triangle").code == 0
    assert counted() == 1
    assert counted.package.name not in set(sys.modules) - before
    assert index_file().stat().st_mode & 0o777 == 0o600


def test_what_is_read_here_is_what_a_new_process_finds_in_the_index(counted):
    assert names()
    code = (
        "from zoo.registry import Registry; import sys\n"
        "print(Registry.installed().find('scheduler', 'triangle').origin)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.stdout.strip() == "zoo-acme 1.0"
    assert counted() == 1


def test_a_changed_file_is_read_again(counted):
    assert "triangle" in names()
    init = counted.package / "__init__.py"
    init.write_text(COUNTED.format(trace=str(counted.trace), name="zigzag"))
    assert "zigzag" in names()
    assert counted() == 2
    (counted.package / "deeper").mkdir()
    (counted.package / "deeper" / "more.py").write_text("x = 1\n")
    assert "zigzag" in names()
    assert counted() == 3, "another file of its package may be what it declares from"


def test_an_installation_may_change_what_others_declare(counted, make_plugin):
    assert names()
    make_plugin("other", "raise RuntimeError")
    assert names()
    assert counted() == 2
    assert names()
    assert counted() == 2


def test_a_broken_plugin_is_not_run_again_until_it_changes(make_plugin, tmp_path):
    trace = tmp_path / "trace"
    code = f"open({str(trace)!r}, 'a').write('read\\n')\nraise SystemExit('no')"
    package = make_plugin("hostile", code)
    for _ in range(3):
        (record,) = [r for r in Registry.installed().plugins if r.namespace == "hostile"]
        assert (record.status, record.cause) == ("broken", "SystemExit: no")
        assert record.origin.endswith("__init__.py:2")
    assert trace.read_text() == "read\n"
    mended = COUNTED.format(trace=str(trace), name="mended")
    (tmp_path / "site" / package / "__init__.py").write_text(mended)
    assert "mended" in names()


def test_what_was_missing_and_is_there_now_mends_a_plugin(make_plugin, tmp_path):
    good = COUNTED.format(trace=str(tmp_path / "trace"), name="late")
    make_plugin("acme", "import helper_that_comes_later\n" + good)
    assert "late" not in names()
    (tmp_path / "site" / "helper_that_comes_later.py").write_text("")
    assert "late" in names()


def test_times_and_heavy_imports_are_each_plugins_own(make_plugin):
    heavy = COUNTED.format(trace=os.devnull, name="heavy")
    make_plugin("first", "import numpy, time\ntime.sleep(0.05)\n" + heavy)
    make_plugin("second", "import numpy\n" + heavy.replace("'heavy'", "'heavier'"))
    make_plugin("third", heavy.replace("'heavy'", "'light'"))
    for _ in range(2):  # as read, and as kept
        found = {r.namespace: r for r in Registry.installed().plugins if not r.builtin}
        assert {name: r.heavy_imports for name, r in found.items()} == {
            "first": ("numpy",), "second": ("numpy",), "third": ()
        }  # fmt: skip
        assert found["first"].load_milliseconds > 50
        assert found["third"].load_milliseconds < 50


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00" * 100,
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: text.replace('"format":1', '"format":99'),
        lambda text: text.replace('"fractions:Fraction"', '"not a target"'),
        lambda text: text.replace('"kind"', '"sort"'),
        lambda text: text.replace('"status":"ok"', '"status":"fine"'),
        lambda text: text.replace('"triangle"', "7"),
    ],
)
def test_a_damaged_index_is_made_again(counted, spoil):
    assert names()
    whole = index_file().read_text()
    index_file().write_text(spoil(whole))
    assert index_file().read_text() != whole
    assert "triangle" in names()
    assert counted() == 2
    assert json.loads(index_file().read_text())["entries"]
    assert "triangle" in names()
    assert counted() == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="rights are kept otherwise there")
def test_an_index_that_others_may_write_counts_for_nothing(counted):
    assert names()
    table = index_file().read_text().replace("fractions:Fraction", "os:system")
    index_file().write_text(table)
    index_file().chmod(0o666)
    entry = Registry.installed().find("scheduler", "triangle")
    assert entry.component.target == "fractions:Fraction"
    assert counted() == 2


def test_a_cache_that_cannot_be_written_is_no_error(counted, monkeypatch, tmp_path, zoo_command):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    monkeypatch.setenv("ZOO_CACHE", str(blocked))
    for number in (1, 2):
        assert "triangle" in names()
        assert counted() == number
    assert zoo_command("plugins", "list").code == 0
    assert "not read yet" in zoo_command("plugins", "list").out


def test_many_at_once_leave_a_whole_index(counted, make_plugin):
    for number in range(3):
        make_plugin(f"p{number}", COUNTED.format(trace=os.devnull, name=f"name{number}"))
    found: list[set[str]] = []
    threads = [threading.Thread(target=lambda: found.append(names())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all({"triangle", "name0", "name1", "name2"} <= each for each in found)
    assert len(json.loads(index_file().read_text())["entries"]) == 4
    assert [path.name for path in index_file().parent.iterdir()] == [index_file().name]


def test_plugins_that_are_gone_are_forgotten(counted, make_plugin, tmp_path):
    make_plugin("other", COUNTED.format(trace=os.devnull, name="zigzag"))
    assert names()
    (tmp_path / "site" / "zoo_other-1.0.dist-info" / "entry_points.txt").unlink()
    (counted.package / "more.py").write_text("")
    assert "zigzag" not in names()
    assert [json.loads(key)[2] for key in json.loads(index_file().read_text())["entries"]] == [
        "acme"
    ]


def test_what_lies_in_the_current_folder_is_not_imported_for_reading(
    counted, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "json.py").write_text("raise RuntimeError('a stranger')")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "triangle" in names()


def test_a_plugin_that_never_ends_is_left_alone(make_plugin, tmp_path):
    make_plugin("endless", "while True: pass")
    make_plugin("acme", COUNTED.format(trace=os.devnull, name="triangle"))
    points = [p for p in entry_points(group="zoo.v1") if p.name in ("endless", "acme")]
    unread = discover(Settings(), points=points, read=False)
    assert [record.status for record in unread] == ["unread", "unread"]
    (good, _), (endless, _) = read_apart(unread, seconds=0.4)
    assert good.status == "ok"
    assert endless.status == "broken"
    assert endless.cause.startswith("took longer than 0.4 s")


def test_nothing_is_kept_of_files_that_change_while_they_are_read(make_plugin, tmp_path):
    """A plugin that writes into its own package is read again, not taken for what it was."""
    code = COUNTED.format(trace=str(tmp_path / "trace"), name="triangle")
    make_plugin("acme", f"open(__file__[:-11] + 'made.py', 'w').write('')\n{code}")
    assert names()
    assert names()
    assert (tmp_path / "trace").read_text() == "read\n" * 2


def test_every_component_of_zoo_survives_the_index_and_passes_its_checks(registry):
    count = 0
    for plugin in registry.plugins:
        for component in plugin.components:
            check_component(component)
            assert component_from(json.loads(json.dumps(plain(component)))) == component
            count += 1
    assert count > 1500


values = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text()
values |= st.lists(values, max_size=3).map(lambda items: tuple(i for i in items if i != ()))
plain_values = values.filter(
    lambda v: not isinstance(v, tuple) or not any(isinstance(i, tuple) for i in v)
)


@given(
    default=plain_values,
    bound=st.none() | st.floats(allow_nan=False),
    summary=st.text(),
    preset=st.dictionaries(st.text().filter(lambda name: name != "p"), plain_values, max_size=3),
    word=st.none() | st.text(),
)
@settings(max_examples=60)
def test_any_legal_component_comes_back_as_it_was(default, bound, summary, preset, word):
    component = Component(
        kind="loss", name="made", target="a.b:c", summary=summary, aliases=("other",),
        params=(Param(name="p", default=default, minimum=bound, choices=(1, "a")),), preset=preset,
        replaced_by=word,
    )  # fmt: skip
    assert component_from(json.loads(json.dumps(plain(component)))) == component


things = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "name", "target", "params", "preset", "aliases", "type", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(table=things)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_any_other_table_is_refused_and_never_more(table):
    record = PluginRecord(namespace="a", module="m", distribution="d", version="1")
    whole = {**encoded(record), "components": [table]}
    try:
        for component in decoded(whole, record).components:
            check_component(component)
    except (TypeError, ValueError):
        pass


def test_an_index_of_another_folder_is_not_found_here(counted, monkeypatch, tmp_path):
    assert names()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "another"))
    (record,) = [r for r in discover(Settings(), read=False) if r.namespace == "acme"]
    assert record.status == "unread"
    assert Index(Path(tmp_path / "nowhere.json")).get(record) is None
