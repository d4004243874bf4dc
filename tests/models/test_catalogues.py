"""The declared names are those of the installed libraries, which are not imported for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import zoo_classics
import zoo_timm
import zoo_torchvision
from zoo.plugin import fold
from zoo_timm.aliases import ALIASES


def run_python(code: str) -> object:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": ""},
    )
    return json.loads(done.stdout)


def test_timm_components_are_what_timm_lists_in_its_order_with_their_modules():
    listed = run_python(
        "import json, timm\n"
        "module = lambda name: timm.models.model_entrypoint(name).__module__.rpartition('.')[2]\n"
        "print(json.dumps([[name, module(name)] for name in timm.list_models()]))"
    )
    assert [[c.name, c.tags[0]] for c in zoo_timm.model_components()] == listed


def test_torchvision_components_are_what_torchvision_lists():
    listed = run_python(
        "import json, torchvision.models as m; print(json.dumps(m.list_models(module=m)))"
    )
    models = [c.name for c in zoo_torchvision.zoo_components() if c.kind == "model"]
    assert models == listed


def test_a_missing_library_declares_no_models(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert list(zoo_timm.model_components()) == []
    assert [c for c in zoo_torchvision.zoo_components() if c.kind == "model"] == []


@pytest.mark.parametrize(
    "source",
    [
        "@register_model\ndef net(pretrained=False): ...",
        "@register_model()\n@other(a=1)\ndef net(pretrained=False): ...",
        "    @register_model  \n    def net(\n        pretrained=False): ...",
    ],
)
def test_the_scan_reads_every_form_of_registration(source):
    from zoo_timm._catalogue import _REGISTERED

    assert _REGISTERED.findall(source) == ["net"]


def test_the_scan_skips_what_is_not_registered():
    from zoo_timm._catalogue import _REGISTERED

    assert _REGISTERED.findall("# @register_model\n# def net(): ...\ndef other(): ...") == []


def test_every_alias_names_a_model_and_no_alias_is_a_canonical_name():
    names = {fold(component.name) for component in zoo_timm.model_components()}
    assert {alias for alias in ALIASES if fold(alias) in names} == set()
    assert {target for target in ALIASES.values() if fold(target) not in names} == set()


def test_no_name_or_alias_of_these_plugins_is_declared_twice():
    for components in (
        list(zoo_timm.model_components()),
        list(zoo_torchvision.zoo_components()),
        list(zoo_classics.zoo_components()),
    ):
        names = [fold(name) for c in components for name in (c.name, *c.aliases)]
        assert len(names) == len(set(names))


def test_tensorflow_names_of_classics_exist_in_timm_with_weights_that_their_namesakes_lack():
    from timm.models import get_arch_pretrained_cfgs, is_model

    def tags(name: str) -> set[str]:
        return {c.tag for c in get_arch_pretrained_cfgs(name).values() if c.has_weights}

    for component in zoo_classics.zoo_components():
        architecture = component.preset.get("architecture")
        if architecture is None:
            continue
        wanted = component.preset.get("tag")
        assert tags(architecture) if wanted is None else wanted in tags(architecture)
        plain = component.name.replace("-", "_")
        if is_model(plain) and component.name != "efficientnet-lite0":
            assert not tags(plain), f"timm's {plain} has weights: no reason to shadow it"
