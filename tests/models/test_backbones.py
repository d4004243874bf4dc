"""Names that stand for an architecture of timm together with certain weights: DINOv2 and CLIP."""

from __future__ import annotations

import pytest
import torch
from timm.models import get_arch_pretrained_cfgs, model_entrypoint

import zoo
import zoo_timm
from zoo.engine.events import Observer
from zoo.errors import UsageError
from zoo.network.head import find_head, proves_out
from zoo.plugin import fold
from zoo.registry import Registry, parse_choice
from zoo.registry import build as build_choice
from zoo_timm.models import build
from zoo_timm.named import NAMED

K = 7
COMPONENTS = {component.name: component for component in zoo_timm.named_components()}
SMALL = {"dinov2-small", "dinov2-small-reg", "clip-vit-b-32", "clip-rn50"}


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.name)
def test_weights_come_first_and_with_what_they_were_trained_with(named, registry: Registry):
    entry = registry.find("model", named.name)
    assert entry.id == f"timm/{named.name}"
    assert named.summary in entry.component.summary
    config = get_arch_pretrained_cfgs(named.architecture)[f"{named.architecture}.{named.tag}"]
    first = build.weights(**entry.component.preset)[0]
    assert (first.name, first.hub[0]) == (named.tag, config.hf_hub_id)
    for told in (first.preprocessing, build.preprocessing(**entry.component.preset)):
        assert told.mean == config.mean
        assert told.std == config.std
        assert told.interpolation == config.interpolation
        assert told.crop_fraction == config.crop_pct
        assert told.image_size == config.input_size[-1]
    patch = int(named.architecture.partition("patch")[2][:2] or 32)
    assert first.preprocessing.image_size % patch == 0


def test_names_are_no_names_of_timm_and_fold_to_one():
    own = [fold(n) for c in COMPONENTS.values() for n in (c.name, *c.aliases)]
    timms = {fold(n) for c in zoo_timm.model_components() for n in (c.name, *c.aliases)}
    assert len(set(own)) == len(own)
    assert not timms & set(own)


def test_openais_weights_get_the_gelu_that_they_were_trained_with():
    for named in NAMED:
        if named.name.startswith("clip-vit"):
            model_entrypoint(named.architecture)
            assert "quickgelu" in named.architecture
    with torch.device("meta"):
        model = build("vit_base_patch32_clip_quickgelu_224", num_classes=2, channels=3,
                      image_size=64)  # fmt: skip
    assert {type(m.act).__name__ for m in model.modules() if hasattr(m, "act")} == {"QuickGELU"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in COMPONENTS],
)
def test_shapes_and_the_proof_at_a_small_size(name):
    size = 28 if name.startswith("dinov2") or name.endswith("-14") else 64
    preset = COMPONENTS[name].preset
    model = build(**preset, num_classes=K, channels=3, image_size=size).eval()
    images_BCHW = torch.rand(2, 3, size, size)
    (head,) = find_head(model, num_classes=K)
    with torch.no_grad():
        assert model(images_BCHW).shape == (2, K)
    # The ResNet pools by attention after its head, so it trains without the feature cache.
    assert proves_out(model, head, images_BCHW) == (name != "clip-rn50")


def test_a_side_below_the_patch_is_refused_with_one_that_works():
    with pytest.raises(UsageError, match="does not take images of 13 x 13") as caught:
        build("vit_small_patch14_dinov2", num_classes=K, channels=3, image_size=13)
    works = int(caught.value.hint.removeprefix("--img-size "))
    build("vit_small_patch14_dinov2", num_classes=K, channels=3, image_size=works)


def test_positions_are_resampled_to_the_size_of_the_images():
    """What a file of 518 pixels brings, at 28: position embeddings of a 2 by 2 grid."""
    from zoo_timm.models import convert

    large = build("vit_small_patch14_dinov2", num_classes=K, channels=3, image_size=56)
    small = build("vit_small_patch14_dinov2", num_classes=K, channels=3, image_size=28)
    state = convert(large.state_dict(), small)
    assert state["pos_embed"].shape == small.pos_embed.shape != large.pos_embed.shape


class Watch(Observer):
    def __init__(self):
        self.cached, self.notes = [], []

    def phase_started(self, phase, *, trainable, total, cached):
        self.cached.append(cached)

    def noted(self, text):
        self.notes.append(text)


def test_the_frozen_phase_trains_on_features_computed_once(shapes_folder, tmp_path, registry):
    watch = Watch()
    result = zoo.run(
        data=str(shapes_folder), model="dinov2-small", weights="none", img_size=28, batch_size=8,
        freeze_epochs=2, epochs=0, threads=1, lr=0.01, registry=registry, observer=watch,
        runs=str(tmp_path / "runs"),
    )  # fmt: skip
    assert watch.cached == [True]
    assert len(result.rows) == 2
    assert "timm/dinov2-small" in (result.path / "environment.json").read_text()


def test_what_is_stored_builds_again(registry: Registry):
    choice = parse_choice(registry, "model", "timm/dinov2-small")
    with torch.device("meta"):
        model = build_choice(choice, num_classes=K, channels=3, image_size=28)
    assert sum(p.numel() for p in model.parameters()) > 21_000_000
