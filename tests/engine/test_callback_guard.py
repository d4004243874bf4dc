"""A callback that fails is named and switched off; an essential one stops a run that is saved."""

from __future__ import annotations

import signal

import pytest
import torch

import zoo
from zoo.engine.assembly.choices import check_callbacks
from zoo.engine.callbacks import guarded, listening
from zoo.engine.events import EVENTS, Observer, Observers
from zoo.engine.interrupts import Interrupted
from zoo.errors import PluginError, UsageError
from zoo.registry import Registry, discover, parse_choices
from zoo.registry.settings import Settings
from zoo.runs import checkpoint


class Everything:
    """Writes down every event. Not an Observer: a plugin cannot import that."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        if name not in EVENTS:
            raise AttributeError(name)
        return lambda *args, **facts: self.told.append((name, args, facts))


class Fails:
    """Raises at one event, from its n-th time on."""

    def __init__(self, event, error, *, time=1):
        self.calls = 0

        def fail(*args, **facts):
            self.calls += 1
            if self.calls >= time:
                raise error

        setattr(self, event, fail)


def test_every_event_has_a_name_and_does_nothing_by_default():
    assert set(EVENTS) == {
        "run_started", "resumed", "preparing", "phase_started", "sampled", "step_ended",
        "step_measured", "epoch_ended", "weights_shown", "noted", "run_ended", "closed",
    }  # fmt: skip
    assert Observer().noted("nothing happens") is None


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_reaches_every_observer_in_order_and_unchanged(event):
    seen = []

    def observer(name):
        one = Observer()
        setattr(one, event, lambda *args, **facts: seen.append((name, args, facts)))
        return one

    getattr(Observers([observer("a"), Observer(), observer("b")]), event)("x", 1, step=2)
    assert seen == [("a", ("x", 1), {"step": 2}), ("b", ("x", 1), {"step": 2})]


def test_an_event_that_nobody_hears_costs_nothing():
    callback = guarded(Fails("noted", ValueError()), name="c", noted=print)
    nested = Observers([Observers([callback]), Observer()])
    assert nested.step_ended.__func__ is Observer.step_ended
    assert getattr(nested.noted, "__func__", None) is not Observer.noted


@pytest.mark.parametrize(
    "error", [ValueError("no\nway\x1b[31m"), KeyError("k"), SystemExit(3), UsageError("mine")]
)
def test_a_callback_that_raises_is_named_once_and_told_nothing_more(error):
    notes, other = [], Everything()
    bad = Fails("step_ended", error, time=2)
    observer = Observers(
        [
            guarded(bad, name="acme/bad", noted=notes.append),
            guarded(other, name="acme/other", noted=notes.append),
        ]
    )
    for step in range(5):
        observer.step_ended("phase", epoch=1, step=step, num_steps=5, loss=None)
    assert bad.calls == 2
    assert len(other.told) == 5
    assert observer.failure is None
    [note] = notes
    assert "acme/bad" in note
    assert "step_ended" in note
    assert type(error).__name__ in note
    assert note.isprintable()


def test_a_note_about_itself_does_not_come_back():
    bad = Fails("noted", ValueError("no"))
    both = Observers([guarded(bad, name="bad", noted=lambda text: both.noted(text))])
    both.noted("first")
    assert bad.calls == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(signal.SIGTERM, folder=".",
                                                                    steps_done=3)])  # fmt: skip
def test_interruptions_pass(error):
    notes = []
    callback = guarded(Fails("epoch_ended", error), name="c", essential=True, noted=notes.append)
    with pytest.raises(type(error)):
        callback.epoch_ended("row")
    assert notes == []
    assert callback.failure is None


def test_an_essential_one_stops_at_once_where_the_state_is_saved():
    cause = OSError("no route to host")
    callback = guarded(Fails("epoch_ended", cause), name="acme/log", essential=True, noted=print)
    with pytest.raises(PluginError) as caught:
        callback.epoch_ended("row")
    assert caught.value.exit_code == 5
    assert caught.value.__cause__ is cause
    assert "acme/log" in str(caught.value)
    assert "no route to host" in str(caught.value)
    assert "zoo resume" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_an_essential_one_that_fails_in_a_step_waits_for_the_save():
    class Steps(Fails):
        def epoch_ended(self, row):
            raise AssertionError("told after it failed")

    callback = guarded(Steps("step_ended", ValueError("no")), name="c", essential=True, noted=print)
    together = Observers([Observer(), callback])
    assert together.failure is None
    together.step_ended("phase", epoch=1, step=1, num_steps=2, loss=None)  # not raised here
    assert isinstance(together.failure, PluginError)
    with pytest.raises(PluginError, match="step_ended"):
        together.epoch_ended("row")


def test_what_listens_to_nothing_is_refused():
    with pytest.raises(PluginError, match="a dict, which listens to nothing"):
        guarded({}, name="acme/nothing", noted=print)


def test_a_failing_callback_does_not_lose_a_run(train):
    class Notes(Observer):
        heard: tuple = ()

        def noted(self, text):
            self.heard += (text,)

    straight, notes = train(name="straight", epochs=2), Notes()
    bad = guarded(Fails("epoch_ended", RuntimeError("gone")), name="acme/bad", noted=notes.noted)
    result = train(name="bad", epochs=2, observer=Observers([notes, bad]))
    assert len(result.rows) == 2
    assert result.best_score == straight.best_score
    assert [text for text in notes.heard if "acme/bad" in text] == [
        "the callback acme/bad failed at epoch_ended and is switched off: RuntimeError: gone"
    ]


def test_a_run_that_an_essential_callback_stopped_resumes_to_the_same_bits(train, registry):
    straight = train(name="straight", epochs=3)
    bad = Fails("epoch_ended", RuntimeError("gone"), time=2)
    with pytest.raises(PluginError) as caught:
        train(name="stopped", epochs=3,
              observer=guarded(bad, name="acme/bad", essential=True, noted=print))  # fmt: skip
    assert caught.value.exit_code == 5
    path = straight.path.parent / "stopped"
    found, _ = checkpoint.latest(path / "checkpoints")
    assert len(checkpoint.load(found).state["rows"]) == 2
    resumed = zoo.resume(path, registry=registry)
    weights = [zoo.load(r.path, registry=registry).model.state_dict() for r in (straight, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


PLUGIN = """
from zoo.plugin import Component, Param, hookimpl

class Keeps:
    told = []
    def __init__(self, *, run_path, essential=False):
        self.path = run_path
    def noted(self, text):
        self.told.append((self.path, text))
    def closed(self, error):
        self.told.append((self.path, error))
        if "twice" in str(error):
            raise RuntimeError("while closing")

def refuses(*, essential=False):
    raise ValueError("no host")

@hookimpl
def zoo_components():
    flag = Param(name="essential", type="bool", default=False)
    yield Component(kind="callback", name="keeps", target=f"{__name__}:Keeps", params=(flag,))
    yield Component(kind="callback", name="refuses", target=f"{__name__}:refuses", params=(flag,))
    yield Component(kind="callback", name="lacks", target=f"{__name__}:Keeps",
                    requires=("no_such_module_here",))
    yield Component(kind="callback", name="broken", target=f"{__name__}:absent")
"""


@pytest.fixture
def chosen(make_plugin):
    make_plugin("acme", PLUGIN)
    found = Registry(discover(Settings()))
    return lambda text: parse_choices(found, "callback", text)


def test_chosen_callbacks_hear_and_are_closed_however_the_run_ends(chosen, tmp_path):
    [choice] = chosen("keeps")
    with listening(Observer(), [choice], run_path=tmp_path) as observer:
        observer.noted("hello")
    error = PluginError("failed twice")
    with (
        pytest.raises(PluginError, match="failed twice"),
        listening(Observer(), chosen("keeps:essential=true"), run_path=tmp_path),
    ):
        raise error
    from zoo_acme_plugin import Keeps

    assert Keeps.told == [(tmp_path, "hello"), (tmp_path, None), (tmp_path, error)]


def test_a_callback_that_cannot_be_built_is_an_error_before_the_run(chosen, tmp_path):
    with (
        pytest.raises(PluginError, match="acme/refuses failed") as caught,
        listening(Observer(), chosen("refuses"), run_path=tmp_path),
    ):
        pass
    assert "no host" in str(caught.value)


def test_everything_wrong_with_the_choice_is_told_together(chosen):
    assert check_callbacks(chosen("keeps+csv")) == []
    problems = [str(error) for error in check_callbacks(chosen("lacks+keeps+broken+keeps"))]
    assert len(problems) == 3
    assert "pip install no_such_module_here" in problems[0]
    assert "cannot import zoo_acme_plugin:absent" in problems[1]
    assert "acme/keeps is named 2 times" in problems[2]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_names_the_extra_that_brings_it(registry, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [error] = check_callbacks(parse_choices(registry, "callback", name))
    assert isinstance(error, PluginError)
    assert f"pip install 'classifier-zoo[{name}]'" in str(error)
