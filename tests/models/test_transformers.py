"""Hugging Face's classifiers: what is declared, and every family against the library itself."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

import zoo
import zoo_transformers
from zoo.errors import PluginError
from zoo.network.freeze import frozen_tensors, set_modes, set_trainable
from zoo.network.head import find_head, proves_out
from zoo.network.weights import load, resolve
from zoo.plugin import fold
from zoo.registry import PluginRecord, Registry, parse_choice
from zoo.testing import Example, cases
from zoo_transformers._catalogue import FAMILIES
from zoo_transformers._small import SMALL

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
from hugging import BY_TYPE, K, images, reference, side, small  # noqa: E402  # after the skip
from transformers.models.auto import modeling_auto  # noqa: E402

from zoo_transformers.models import build  # noqa: E402

SEVERAL_HEADS = {"swiftformer"}
BY_NAME = {family.name: family for family in FAMILIES}
OWN_WAY_OF_CHANNELS = {"vit", "clip", "textnet", "pp_lcnet", "hgnet_v2", "levit", "resnet", "swin"}
every_family = pytest.mark.parametrize("model_type", BY_TYPE)


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


# ---- what is declared ---------------------------------------------------------------------------


def test_the_table_is_what_the_library_calls_image_classifiers():
    known = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    doc = zoo_transformers.__doc__.partition("====")[2]
    left_out = {line.split()[0] for line in doc.splitlines() if line[:1].islower()}
    assert left_out == {
        "dinat", "imagegpt", "perceiver", "shieldgemma2", "siglip2", "timm_wrapper",
    }  # fmt: skip
    assert set(BY_TYPE) | left_out == set(known)
    assert set(BY_TYPE) & left_out == set()
    for model_type, family in BY_TYPE.items():
        names = known[model_type]
        assert family.class_name == (names if isinstance(names, str) else names[0])
    assert set(SMALL) == set(BY_TYPE)
    assert [family.model_type for family in FAMILIES] == sorted(BY_TYPE)


def test_declaring_imports_neither_the_library_nor_torch():
    code = (
        "import sys, zoo_transformers as p\n"
        "assert len(list(p.zoo_components())) > 30\n"
        "sys.exit(str({'torch', 'numpy', 'transformers'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_no_bare_name_of_before_means_one_of_these(registry: Registry):
    others = Registry([plugin for plugin in registry.plugins if plugin.namespace != "hf"])
    for component in zoo_transformers.zoo_components():
        for name in (component.name, *component.aliases):
            meant = others.get("model", name)
            expected = f"hf/{component.name}" if meant is None else meant.id
            assert registry.find("model", name).id == expected
            assert registry.find("model", f"hf/{name}").id == f"hf/{component.name}"
    for name, model in (("convnext", "timm/convnext_tiny"), ("regnet", "timm/regnety_032")):
        assert registry.find("model", name).id == model


def test_without_the_library_the_extra_is_named(registry: Registry, monkeypatch):
    from zoo.registry import loading

    real = loading.importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "transformers" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(loading.importlib.util, "find_spec", hidden)
    with pytest.raises(PluginError) as caught:
        zoo.registry.build(parse_choice(registry, "model", "hf/vit"), num_classes=2)
    assert caught.value.hint == "pip install 'classifier-zoo[transformers]'"


def test_every_name_folds_to_one():
    names = [fold(component.name) for component in zoo_transformers.zoo_components()]
    assert len(set(names)) == len(names)


# ---- every family -------------------------------------------------------------------------------


@every_family
def test_a_network_of_each_family_is_frozen_trained_copied_and_proved(model_type):
    model, images_BCHW = small(model_type), images(model_type)
    head = find_head(model, num_classes=K)
    assert (len(head) == 2) == (model_type in SEVERAL_HEADS)
    # A network of several heads trains without the feature cache.
    assert proves_out(model, head[0], images_BCHW) == (model_type not in SEVERAL_HEADS)
    with torch.no_grad():
        logits_BK = model(images_BCHW)
        assert logits_BK.shape == (2, K)
        assert not torch.allclose(logits_BK[0], logits_BK[1], rtol=1e-3, atol=0)
        copied = pickle.loads(pickle.dumps(copy.deepcopy(model)))
        assert torch.equal(copied(images_BCHW), logits_BK)
        assert copied.forward.args[0] is copied

    set_trainable(model, head)
    set_modes(model, head, hold_statistics=True)
    frozen = {name: tensor.clone() for name, tensor in frozen_tensors(model, head).items()}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    F.cross_entropy(model(images_BCHW), torch.tensor([0, K - 1])).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    after = dict(model.named_parameters())
    assert all(any(name.startswith(f"{part}.") for part in head) for name in before)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in frozen.items())


@pytest.mark.parametrize(
    "model_type",
    [pytest.param(t, marks=() if t in OWN_WAY_OF_CHANNELS else pytest.mark.slow) for t in BY_TYPE],
)
def test_grey_images_and_other_classes(model_type):
    model = small(model_type, channels=1, num_classes=3)
    with torch.no_grad():
        assert model(images(model_type, channels=1)).shape == (2, 3)
    assert proves_out(model, find_head(model, num_classes=3)[0], images(model_type, 1)) == (
        model_type not in SEVERAL_HEADS
    )


@every_family
def test_what_the_library_saved_computes_the_same_here(model_type, tmp_path):
    theirs = reference(model_type)
    theirs.save_pretrained(tmp_path)
    offered = build.weights("auto", source=str(tmp_path))
    assert [(w.num_classes, w.path) for w in offered] == [(K, str(tmp_path / "model.safetensors"))]
    ours = build(
        "auto", num_classes=K, channels=3, image_size=side(model_type), source=str(tmp_path)
    ).eval()
    report = load(ours, resolve("auto", offered), head=find_head(ours, num_classes=K))
    assert (report.matched, report.missing, report.mismatched) == (report.total, (), ())
    with torch.no_grad():
        output = theirs(images(model_type))
        expected = output[0] if "logits" not in output else output.logits
        assert not torch.allclose(expected[0], expected[1], rtol=1e-3, atol=0)
        torch.testing.assert_close(ours(images(model_type)), expected, rtol=0, atol=0)


def test_biases_that_levit_keeps_for_evaluation_are_never_old():
    model = small("levit")
    images_BCHW = images("levit")
    with torch.no_grad():
        before = model(images_BCHW)
        for name, parameter in model.named_parameters():
            if "attention_biases" in name:
                parameter.normal_(0, 5)
        after = model(images_BCHW)  # still in evaluation mode
        model.train()
        assert torch.equal(model.eval()(images_BCHW), after)
    assert not torch.allclose(before, after, rtol=1e-3, atol=0)


# ---- the kit that third parties run -------------------------------------------------------------

_DIES_OUT = "with the library's initial weights the small network's features are all but 0"
_DECIDES = "decides by a size that its trace takes for a tensor"
EXPECTED = {
    **{f"{name}::head-only-step-changes-the-head": _DIES_OUT for name in (
        "efficientnet", "mobilevit", "mobilevitv2",
    )},
    "swin::exports-to-onnx": _DECIDES,
    "donut-swin::exports-to-onnx": _DECIDES,
    "siglip::unfrozen-trains-everything": "its encoder has a head of its own, which is left out",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what exporters say is the kit's own business
@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_conformance(name):
    record = PluginRecord(
        namespace="hf", module="zoo_transformers", distribution="classifier-zoo", version="0.1.0",
        components=tuple(c for c in zoo_transformers.zoo_components() if c.name == name),
    )  # fmt: skip
    known = {k: v for k, v in EXPECTED.items() if k.startswith(f"{name}::")}
    made = cases(
        record,
        examples={f"model/{name}": Example(arguments={"config": "small"})},
        expected_failures={f"model/hf/{check}": why for check, why in known.items()},
    )
    results = [case.values[0].result() for case in made]
    assert [f"{one.id} {one.status}: {one.message}" for one in results if not one.ok] == []
    (features,) = [one for one in results if one.check == "features-can-be-cached"]
    several = BY_NAME[name].model_type in SEVERAL_HEADS
    assert features.status == ("not applicable" if several else "passed")
