"""What a source brings to Hugging Face's classifiers, and what of it is refused.

The library itself is the reference: folders that it saved, processors that it has. No hub is
reached; one that is in the hub's cache is.
"""

from __future__ import annotations

import json
import pickle
import sys

import pytest
import torch
from torch import nn

import zoo
from zoo.engine.events import Observer
from zoo.errors import CheckpointError, MachineError, UsageError
from zoo.network.weights import load, resolve

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
from hugging import K, lively, reference  # noqa: E402  # after the skip

from zoo_transformers.models import build, convert  # noqa: E402
from zoo_transformers.preprocessing import flips_channels, read_preprocessing  # noqa: E402
from zoo_transformers.sources import Source, plain_config  # noqa: E402


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


# ---- sources ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "vit"
    reference("vit").save_pretrained(path)
    transformers.ViTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    ).save_pretrained(path)
    return path


def test_other_classes_channels_and_sizes_take_all_that_fits(folder):
    model = build("vit", num_classes=3, channels=1, image_size=96, source=str(folder)).eval()
    chosen = resolve("auto", build.weights("vit", source=str(folder)))
    report = load(model, chosen, head=("classifier",))
    assert (report.matched, report.missing, report.mismatched) == (report.total - 2, (), ())
    assert report.head_replaced
    assert report.adapted == ("vit.embeddings.patch_embeddings.projection.weight",)
    with torch.no_grad():
        assert model(torch.rand(2, 1, 96, 96)).shape == (2, 3)


def test_positions_are_resampled_as_the_library_resamples_them(folder):
    theirs = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    model = build("vit", num_classes=K, channels=3, image_size=96, source=str(folder)).eval()
    load(model, resolve("auto", build.weights("vit", source=str(folder))), head=("classifier",))
    images_BCHW = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        expected = theirs(images_BCHW, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(model(images_BCHW), expected, rtol=1e-4, atol=1e-5)


def test_the_folder_also_loads_as_weights_of_its_own(folder):
    weights = resolve(str(folder), build.weights("auto", source=str(folder)))
    model = build("auto", num_classes=K, channels=3, image_size=64, source=str(folder))
    assert load(model, weights, head=("classifier",)).matched == len(model.state_dict())


def test_a_converter_is_only_for_networks_of_this_plugin():
    with pytest.raises(UsageError, match="no network of Hugging Face"):
        convert({}, nn.Linear(2, 2))


def test_the_processor_is_the_preprocessing(folder):
    (weights,) = build.weights("auto", source=str(folder))
    assert weights.preprocessing == build.preprocessing("auto", source=str(folder))
    assert weights.preprocessing.mean == pytest.approx((0.1, 0.2, 0.3))
    assert weights.preprocessing.std == pytest.approx((0.4, 0.5, 0.6))
    assert (weights.preprocessing.image_size, weights.preprocessing.fit) == (64, "squash")
    (folder / "preprocessor_config.json").unlink()
    assert build.preprocessing("auto", source=str(folder)).mean == (0.5, 0.5, 0.5)
    assert build.preprocessing("vit").image_size == 224


class Watch(Observer):
    cached = ()

    def phase_started(self, phase, *, trainable, total, cached):
        self.cached = (*self.cached, cached)


def test_a_run_from_a_folder_to_a_prediction(folder, shapes_folder, tmp_path, registry):
    watch = Watch()
    result = zoo.run(
        data=str(shapes_folder), model=f"hf/auto:source={folder}", img_size=32, batch_size=8,
        freeze_epochs=1, epochs=1, threads=1, lr=0.01, registry=registry, observer=watch,
        runs=str(tmp_path / "runs"),
    )  # fmt: skip
    assert watch.cached == (True, False)
    stored = (result.path / "config.toml").read_text()
    assert f"hf/auto:source={folder}" in stored
    trained = zoo.load(result.path, registry=registry)
    assert trained.preprocessing.mean == pytest.approx((0.1, 0.2, 0.3))
    assert type(trained.model).__name__ == "ViTForImageClassification"


# ---- what of a source is refused ----------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (sys.exit, ("a pickle ran",))


def test_pickles_are_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="a pickle can run code") as caught:
        build.weights("auto", source=str(folder))
    assert "pytorch_model.bin" in caught.value.found
    assert caught.value.exit_code == 4
    (folder / "pytorch_model.bin").unlink()
    assert build.weights("auto", source=str(folder)) == ()


def test_weights_in_several_files_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="in several files"):
        build.weights("auto", source=str(folder))


def test_no_code_is_fetched_or_run_because_a_configuration_says_so(folder, monkeypatch):
    table = json.loads((folder / "config.json").read_text())
    table |= {
        "auto_map": {"AutoModelForImageClassification": "evil.Model"},
        "attn_implementation": "stranger/kernel", "_attn_implementation": "stranger/kernel",
        "_attn_implementation_internal": "stranger/kernel", "use_kernels": True,
        "quantization_config": {"quant_method": "bitsandbytes"}, "dtype": "float16",
        "vision_config": {"_attn_implementation": "stranger/kernel"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(table))
    (folder / "evil.py").write_text("raise SystemExit('ran')")

    def no_network(*args, **kwargs):
        raise AssertionError("something was to be fetched")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", no_network)
    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    model = build("auto", num_classes=2, channels=3, image_size=64, source=str(folder))
    assert model.config._attn_implementation in ("sdpa", "eager")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert "evil" not in sys.modules


def test_keys_that_choose_code_are_taken_out_at_any_depth():
    inner = {"_attn_implementation": "a/b", "hidden_size": 8, "auto_map": {}}
    assert plain_config({"vision_config": inner, "id2label": {}, "depths": [1]}) == {
        "vision_config": {"hidden_size": 8}, "depths": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[1]", b"{", b"\xff\xfe", b'{"a": ' + b"[" * 100_000,
        b'{"a": "' + b"b" * (5 << 20) + b'"}',
    ],
    ids=["empty", "list", "cut", "binary", "deep", "long"],
)  # fmt: skip
def test_a_configuration_that_is_none_is_named(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json of .* cannot be read"):
        build("auto", num_classes=2, channels=3, image_size=64, source=str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "no image classifier that zoo knows"),
        ({"model_type": 3}, "no image classifier that zoo knows"),
        ({"hidden_act": "nonsense"}, "transformers"),
        ({"hidden_size": "many"}, "transformers"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_named(folder, change, message):
    table = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises((CheckpointError, UsageError), match=message):
        build("auto", num_classes=2, channels=3, image_size=64, source=str(folder))


def test_arguments_that_do_not_go_together(folder, tmp_path):
    facts = {"num_classes": 2, "channels": 3, "image_size": 64}
    with pytest.raises(UsageError, match="has none") as caught:
        build("auto", **facts)
    assert "source=" in caught.value.hint
    with pytest.raises(UsageError, match="another family than resnet") as caught:
        build("resnet", source=str(folder), **facts)
    assert caught.value.hint == f"hf/auto:source={folder}"
    with pytest.raises(UsageError, match="its own configuration"):
        build("vit", source=str(folder), config="small", **facts)
    for missing in ("./nowhere", "/nowhere", "a/../../b", "C:\\x", "a b", "x/y/z"):
        with pytest.raises(UsageError, match="no folder"):
            build("auto", source=missing, **facts)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        build("auto", source=str(tmp_path / "empty"), **facts)


def test_a_size_that_does_not_fit_is_refused_with_one_that_does():
    with pytest.raises(UsageError, match="does not take images of 9 x 9") as caught:
        build("dinov2", config="small", num_classes=2, channels=3, image_size=9)
    works = int(caught.value.hint.removeprefix("--img-size "))
    build("dinov2", config="small", num_classes=2, channels=3, image_size=works)


# ---- the hub ------------------------------------------------------------------------------------


def test_offline_a_repository_is_an_error_of_the_machine():
    with pytest.raises(MachineError, match="ZOO_OFFLINE") as caught:
        build.weights("auto", source="google/vit-base-patch16-224")
    assert "google/vit-base-patch16-224" in str(caught.value)
    assert "source=./FOLDER" in caught.value.hint


def test_a_repository_in_the_hubs_cache_is_used_offline(folder, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    snapshot = cache / "models--acme--tiny" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (cache / "models--acme--tiny" / "refs").mkdir()
    (cache / "models--acme--tiny" / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    (weights,) = build.weights("auto", source="acme/tiny")
    assert weights.hub == ("acme/tiny", "model.safetensors", None)
    assert weights.preprocessing.mean == pytest.approx((0.1, 0.2, 0.3))
    model = build("auto", num_classes=K, channels=3, image_size=64, source="acme/tiny")
    report = load(model, resolve("auto", [weights]), head=("classifier",))
    assert report.matched == report.total


def test_a_revision_is_part_of_the_source():
    source = Source.parse("acme/tiny@refs/pr/1")
    assert (source.repository, source.revision) == ("acme/tiny", "refs/pr/1")
    assert Source.parse("resnet-50").repository == "resnet-50"


# ---- preprocessing, against the library's own processors ----------------------------------------

PROCESSORS = {
    "BeitImageProcessor": {},
    "BitImageProcessor": {},
    "CLIPImageProcessor": {},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 224}},
    "DeiTImageProcessor": {},
    "EfficientNetImageProcessor": {},
    "LevitImageProcessor": {},
    "MobileNetV1ImageProcessor": {},
    "MobileNetV2ImageProcessor": {},
    "MobileViTImageProcessor": {"size": {"shortest_edge": 288}},
    "PoolFormerImageProcessor": {},
    "PvtImageProcessor": {},
    "SegformerImageProcessor": {},
    "SiglipImageProcessor": {},
    "ViTImageProcessor": {},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_numbers_size_and_crop_are_the_processors(name, tmp_path):
    processor = getattr(transformers, name)(**PROCESSORS[name])
    processor.save_pretrained(tmp_path)
    table = json.loads((tmp_path / "preprocessor_config.json").read_text())
    ours = read_preprocessing(table, image_size=1)

    # One colour: what becomes of the numbers. A ramp: which part of the image is left.
    colour_3 = torch.tensor([200.0, 100.0, 20.0])
    plain = colour_3.byte()[:, None, None].expand(3, 512, 512)
    theirs = processor(plain, return_tensors="pt")["pixel_values"][0]
    assert theirs.shape == (3, ours.image_size, ours.image_size)
    values_3 = (colour_3 / 255 - torch.tensor(ours.mean)) / torch.tensor(ours.std)
    values_3 = values_3.flip(0) if flips_channels(table) else values_3
    torch.testing.assert_close(theirs.mean((1, 2)), values_3, rtol=1e-4, atol=1e-4)

    ramp = (torch.arange(512) // 2).byte().expand(3, 512, 512)
    row = processor(ramp, return_tensors="pt")["pixel_values"][0, 1, 100]
    shares = (row * ours.std[1] + ours.mean[1]) * 255 / 256
    assert (shares[-1] - shares[0]).item() == pytest.approx(ours.crop_fraction, abs=0.012)
    expected = {0: "nearest", 2: "bilinear", 3: "bicubic"}[table["resample"]]
    assert ours.interpolation == expected


def test_an_image_that_is_not_square():
    squashed = read_preprocessing({"size": {"height": 64, "width": 64}}, image_size=1)
    assert squashed.fit == "squash"
    cropped = {"size": 72, "do_center_crop": True, "crop_size": 64, "resample": 3}
    assert read_preprocessing(cropped, image_size=1).fit == "crop"
    assert read_preprocessing(cropped, image_size=1).crop_fraction == pytest.approx(64 / 72)
    large = {"size": {"shortest_edge": 384}, "crop_pct": 0.875}
    assert read_preprocessing(large, image_size=1).fit == "squash"
    assert read_preprocessing({}, image_size=48).image_size == 48


def test_a_shift_after_scaling_is_part_of_mean_and_deviation():
    table = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False}
    shifted = read_preprocessing(table, image_size=8)
    assert shifted.mean == pytest.approx((0.5,) * 3)
    assert shifted.std == pytest.approx((0.5,) * 3)


def test_blue_before_red(tmp_path):
    reference("mobilevit").save_pretrained(tmp_path)
    model = build("auto", num_classes=K, channels=3, image_size=64, source=str(tmp_path)).eval()
    lively(model, torch.rand(2, 3, 64, 64))
    transformers.MobileViTImageProcessor().save_pretrained(tmp_path)
    flipped = build("auto", num_classes=K, channels=3, image_size=64, source=str(tmp_path)).eval()
    flipped.load_state_dict(model.state_dict())
    images_BCHW = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(flipped(images_BCHW), model(images_BCHW.flip(1)))
        assert not torch.equal(flipped(images_BCHW), model(images_BCHW))


@pytest.mark.parametrize(
    "table",
    [
        {"size": "large"}, {"size": {}}, {"size": {"height": 10**9}}, {"size": 0},
        {"image_mean": [1, 2], "image_std": [1, 2]}, {"image_mean": [0.5] * 3},
        {"image_mean": [0.5] * 3, "image_std": [0] * 3},
        {"image_mean": [float("nan")] * 3, "image_std": [1] * 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_processor_that_is_none_is_named(table):
    with pytest.raises(CheckpointError, match="image processor"):
        read_preprocessing(table, image_size=8)
