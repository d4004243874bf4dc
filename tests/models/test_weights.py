"""Weights files into networks: what fits, what does not, and which are chosen."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VisionTransformer

from zoo.errors import CheckpointError, UnknownName, UsageError
from zoo.network.head import find_head
from zoo.network.loading import load_into, strip_prefixes
from zoo.network.weights import load, read_state, resolve
from zoo.protocols import Weights
from zoo_timm.models import build as timm_build


def network(num_classes=7, channels=3, architecture="test_resnet"):
    return timm_build(architecture, num_classes=num_classes, channels=channels, image_size=64)


def filled(model, value=0.0):
    """The network with other weights than any fresh one has."""
    with torch.no_grad():
        for index, tensor in enumerate(model.state_dict().values()):
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.9)
            else:
                tensor.fill_(index)
    return model


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


HEAD = ("fc",)


# ---- what fits --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_same_architecture_loads_whole(tmp_path, suffix):
    source, target = filled(network()), network()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    report = load(target, resolve(str(path), ()), head=HEAD)
    assert report.matched == report.total == len(source.state_dict())
    assert not report.head_replaced
    assert report.summary == f"{report.total} of {report.total} tensors loaded"
    assert same(copy_of(source), copy_of(target))


def test_another_class_count_loads_all_but_the_head():
    source, target = filled(network(num_classes=1000)), network(num_classes=7)
    before = copy_of(target)
    report = load_into(target, source.state_dict(), head=HEAD)
    after = copy_of(target)
    assert report.head_replaced
    assert report.matched == report.total - 2
    assert report.mismatched == report.missing == report.unexpected == ()
    assert "the head is new" in report.summary
    for name in after:
        origin = before if name.startswith("fc.") else source.state_dict()
        assert torch.equal(after[name], origin[name]), name


def test_half_a_head_is_not_loaded():
    source, target = filled(network()), network()
    state = copy_of(source)
    del state["fc.bias"]
    before = copy_of(target)
    report = load_into(target, state, head=HEAD)
    assert report.head_replaced
    assert torch.equal(target.fc.weight, before["fc.weight"])


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "pretrain_", "_orig_mod.", "backbone.", "module.model._orig_mod."],
)
def test_prefixes_of_wrappers_are_stripped(prefix):
    source, target = filled(network()), network()
    state = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
    report = load_into(target, state, head=HEAD)
    assert report.matched == report.total
    assert same(copy_of(source), copy_of(target))


def test_real_data_parallel_and_compiled_names():
    source, target = filled(network()), network()
    state = nn.DataParallel(source).state_dict()
    assert all(name.startswith("module.") for name in state)
    assert load_into(target, state, head=HEAD).matched == len(state)
    assert same(copy_of(source), copy_of(target))


def test_a_prefix_that_is_part_of_the_networks_own_names_stays():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(4, 3)
            self.head = nn.Linear(3, 2)

    source, target = filled(Wrapped()), Wrapped()
    assert load_into(target, source.state_dict(), head=("head",)).matched == 4
    assert same(copy_of(source), copy_of(target))


def test_an_exact_name_beats_one_that_has_to_be_stripped():
    exact, wrapped = torch.zeros(1), torch.ones(1)
    for state in ({"a": exact, "module.a": wrapped}, {"module.a": wrapped, "a": exact}):
        assert strip_prefixes(state, {"a"})["a"] is exact


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.5},
        lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model_state_dict": state, "args": {"lr": 0.1}},
        lambda state: {"ema": state},
        lambda state: {"state_dict": {"model": state}},
        lambda state: {
            "model": state,
            "model_ema": {n: torch.zeros_like(t) for n, t in state.items()},
        },
    ],
    ids=["state_dict", "model", "model_state_dict", "ema", "nested", "model-before-ema"],
)
def test_weights_wrapped_in_a_checkpoint(tmp_path, wrap):
    source, target = filled(network()), network()
    path = tmp_path / "last.pt"
    torch.save(wrap(source.state_dict()), path)
    assert load_into(target, read_state(path), head=HEAD).matched == len(source.state_dict())
    assert same(copy_of(source), copy_of(target))


def test_missing_counters_of_batches_do_not_count():
    source, target = filled(network()), network()
    state = {n: t for n, t in source.state_dict().items() if not n.endswith("num_batches_tracked")}
    report = load_into(target, state, head=HEAD)
    assert report.matched == report.total == len(state)
    assert report.missing == ()


@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 6)])
def test_the_first_convolution_is_fitted_to_the_channels(before, after):
    source, target = filled(network(channels=before)), network(channels=after)
    report = load_into(target, source.state_dict(), head=HEAD)
    assert len(report.adapted) == 1
    assert report.matched == report.total
    # Grey images, repeated to any number of channels, give the same features before and after.
    grey = torch.rand(2, 1, 64, 64)
    source.eval(), target.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            target.forward_features(grey.expand(-1, after, -1, -1)),
            source.forward_features(grey.expand(-1, before, -1, -1)),
            rtol=1e-3,
            atol=1e-3,
        )


@pytest.mark.parametrize("after", [1, 2, 4, 5, 9])
def test_the_first_convolution_is_fitted_as_timm_does_it(after):
    from timm.models import adapt_input_conv

    kernel = torch.rand(8, 3, 5, 5)
    target = nn.Sequential(nn.Conv2d(after, 8, 5, bias=False))
    load_into(target, {"0.weight": kernel}, head=())
    torch.testing.assert_close(target[0].weight.data, adapt_input_conv(after, kernel))


def test_half_precision_files_load():
    source, target = filled(network()), network()
    state = {n: t.half() if t.is_floating_point() else t for n, t in source.state_dict().items()}
    load_into(target, state, head=HEAD)
    assert target.fc.weight.dtype == torch.float32
    torch.testing.assert_close(target.fc.weight, source.fc.weight, rtol=1e-3, atol=1e-3)


def test_a_vision_transformers_positions_are_resampled_for_another_image_size():
    source = filled(timm_build("test_vit", num_classes=7, channels=3, image_size=160))
    target = timm_build("test_vit", num_classes=7, channels=3, image_size=96)
    assert source.pos_embed.shape != target.pos_embed.shape
    from zoo.network.loading import converted

    state = converted(source.state_dict(), target, ("zoo_timm.models:convert",))
    report = load_into(target, state, head=("head",))
    assert report.matched == report.total
    assert target.pos_embed.min() > 0.0  # a resampling of values in 0.1..0.9, not the random ones


def test_torchvisions_positions_are_resampled_too():
    from zoo.network.loading import converted

    def small(image_size: int) -> VisionTransformer:
        return VisionTransformer(
            image_size=image_size,
            patch_size=16,
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            mlp_dim=16,
            num_classes=7,
        )

    source, target = filled(small(96)), small(64)
    state = converted(source.state_dict(), target, ("zoo_torchvision.models:convert_vit",))
    report = load_into(target, state, head=("heads.head",))
    assert report.matched == report.total


# ---- what does not fit ------------------------------------------------------------------------


def test_weights_of_another_network_are_refused_and_nothing_is_loaded():
    names = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_nfnet"]
    models = {name: network(architecture=name) if "vit" not in name else timm_build(
        name, num_classes=7, channels=3, image_size=160) for name in names}  # fmt: skip
    refused = 0
    for asked, target in models.items():
        for given, source in models.items():
            if asked == given:
                continue
            before = copy_of(target)
            with pytest.raises(CheckpointError, match="not this network's weights") as error:
                load_into(target, source.state_dict(), head=find_head(target, num_classes=7))
            assert error.value.exit_code == 4
            assert "nothing was loaded" in error.value.kept
            assert same(before, copy_of(target))
            refused += 1
    assert refused == 20


def test_a_refusal_counts_and_names():
    target = network()
    with pytest.raises(CheckpointError) as error:
        load_into(target, {"stem.weight": torch.zeros(3)}, head=HEAD)
    wanted = sum(not n.startswith("fc.") and "num_batches" not in n for n in target.state_dict())
    assert f"0 of {wanted} tensors" in error.value.what
    assert "stem.weight" in error.value.found


def test_a_backbone_of_which_half_fits_is_loaded_and_the_rest_is_reported():
    source, target = filled(network()), network()
    state = {n: t for n, t in source.state_dict().items() if not n.startswith("layer4")}
    report = load_into(target, state, head=HEAD)
    assert report.missing
    assert all(name.startswith("layer4") for name in report.missing)
    assert f"{len(report.missing)} not in the file" in report.summary


def test_values_that_are_not_finite_are_refused():
    source, target = filled(network()), network()
    source.layer1[0].conv1.weight.data[0, 0, 0, 0] = float("nan")
    before = copy_of(target)
    with pytest.raises(CheckpointError, match="not finite"):
        load_into(target, source.state_dict(), head=HEAD)
    assert same(before, copy_of(target))


# ---- which weights ----------------------------------------------------------------------------

OFFERED = (
    Weights(name="a1_in1k", url="https://127.0.0.1:9/model-0123abcd.pth"),
    Weights(name="Tiny-V2", package=("no-such-distribution", "weights.pth")),
)


@pytest.mark.parametrize("choice", ["none", "None", " none "])
def test_none_is_random(choice):
    chosen = resolve(choice, OFFERED)
    assert chosen.kind == "random"
    assert chosen.path is None
    assert load(network(), chosen, head=HEAD) is None


def test_a_close_name_is_proposed():
    with pytest.raises(UnknownName) as error:
        resolve("a1-in22k", OFFERED)
    assert error.value.hint == "--weights a1_in1k"
    assert "Tiny-V2" in error.value.found


@pytest.mark.parametrize("choice", ["missing.pth", "./missing", "some/folder/model.safetensors"])
def test_a_path_of_no_file_is_a_usage_error(choice):
    with pytest.raises(UsageError, match="no weights file"):
        resolve(choice, OFFERED)


def test_a_folder_stands_for_the_model_in_it(tmp_path):
    source, target = filled(network()), network()
    with pytest.raises(UsageError, match=r"without a model\.safetensors"):
        resolve(str(tmp_path), ())
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    load(target, resolve(str(tmp_path), ()), head=HEAD)
    assert same(copy_of(source), copy_of(target))


def test_a_file_with_a_terminals_escape_in_its_name_is_printed_safely(tmp_path):
    path = tmp_path / "evil\x1b[31m.pth"
    path.write_bytes(b"x")
    with pytest.raises(CheckpointError) as error:
        read_state(path)
    assert "\x1b" not in str(error.value)
