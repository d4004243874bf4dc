"""``--head``: any classifier on any backbone, in every phase, wherever a run is opened again."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import zoo
from zoo.config import RunConfig
from zoo.engine.assembly.groups import parameter_groups
from zoo.engine.assembly.job import assemble
from zoo.engine.events import Observer
from zoo.errors import PluginError, UsageError, ZooError
from zoo.evaluation.sameness import compare_runs
from zoo.plugin import Component
from zoo.registry import PluginRecord, Registry
from zoo.runs.checkpoint import digest_of

CONVOLUTIONS = {"model": "timm/mobilenetv3_small_050", "img_size": 32}
FROZEN = {"freeze_epochs": 2, "epochs": 0}
MOVES = ("running_mean", "running_var", "num_batches_tracked")


class Watch(Observer):
    def __init__(self):
        self.notes, self.cached, self.job = [], [], None

    def run_started(self, job, path, *, resumed_epoch):
        self.job = job
        self.begin = {name: t.clone() for name, t in job.model.state_dict().items()}

    def noted(self, text):
        self.notes.append(text)

    def phase_started(self, phase, *, trainable, total, cached):
        self.cached.append(cached)


class Stop(Exception):
    pass


class Stopping(Observer):
    def __init__(self, after):
        self.left = after

    def step_ended(self, phase, *, epoch, step, num_steps, loss):
        self.left -= 1
        if not self.left:
            raise Stop


def best(result):
    return load_file(result.path / "best/model.safetensors")


def stored(result, file="best/model.json"):
    return json.loads((result.path / file).read_text())


# ---- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"freeze_epochs": 1}, {"model": "mlp-cifar"}])
def test_the_head_linear_is_what_networks_end_with(train, options):
    own, linear = train(**options), train(head="linear", **options)
    assert best(own).keys() == best(linear).keys()
    assert all(torch.equal(tensor, best(linear)[name]) for name, tensor in best(own).items())
    assert "head" not in stored(own)["components"]
    assert stored(linear)["components"]["head"]["spec"] == "torch/linear"


def test_all_heads_share_one_pass_of_the_backbone(train, passes):
    train(**CONVOLUTIONS, **FROZEN)
    assert passes == [24, 8, 8], "train, val and test"
    starts = set()
    for head in ("linear", "mlp-16", "mlp-32-0.1", "cosine", "norm-linear", "mlp:norm=layer"):
        watch = Watch()
        result = train(head=head, observer=watch, **CONVOLUTIONS, **FROZEN)
        assert watch.cached == [True]
        assert not any(t.isnan().any() for t in best(result).values())
        starts.add(
            tuple(round(float(t.double().sum()), 9) for name, t in sorted(watch.begin.items())
                  if not name.startswith("classifier"))
        )  # fmt: skip
    assert passes == [24, 8, 8]
    assert len(starts) == 1, "the backbone is the same whichever head is drawn"


def test_a_sweep_over_heads_and_rates_computes_the_backbone_once(
    zoo_command, passes, shapes_folder, tmp_path
):
    outcome = zoo_command(
        "sweep", "--grid", "head=linear,mlp-16,cosine", "--grid", "lr=1e-3,1e-2", "--model",
        "lenet", "--weights", "none", "--img-size", 16, "--freeze-epochs", 2, "--epochs", 0,
        "--threads", 1, "--data", shapes_folder, "--runs", tmp_path, "--name", "s", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    settings = [json.loads(path.read_text())["components"]["head"]["spec"].partition(":")[0]
                for path in tmp_path.glob("s/*/environment.json")]  # fmt: skip
    assert sorted(settings) == sorted(["torch/linear", "torch/mlp", "torch/cosine"] * 2)
    assert passes == [24, 8, 8]


@pytest.mark.parametrize("head", ["norm-linear", "mlp-16-0", "mlp-16", "cosine"])
def test_kept_features_change_no_result(train, head):
    options = {"head": head, "freeze_epochs": 3, "epochs": 0, "lr": 0.05, "optim": "sgd"}
    watch = Watch()
    cached, plain = train(observer=watch, **options), train(cache=False, **options)
    assert watch.cached == [True]
    for one, other in zip(cached.rows, plain.rows, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.val_accuracy == other.val_accuracy
    first, second = best(cached), best(plain)
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)


def test_its_statistics_move_in_every_phase_and_the_backbones_in_none(train):
    watch = Watch()
    result = train(
        head="mlp-16", observer=watch, freeze_epochs=1, epochs=1, norm="hold",
        restore_best=False, **CONVOLUTIONS,
    )  # fmt: skip
    after = best(result)
    for name, before in watch.begin.items():
        if name.endswith(MOVES):
            moved = not torch.equal(before, after[name])
            assert moved == name.startswith("classifier."), name


def test_frozen_is_everything_but_the_head(train):
    watch = Watch()
    after = best(train(head="norm-linear", observer=watch, **FROZEN, **CONVOLUTIONS))
    changed = {name for name, t in watch.begin.items() if not torch.equal(t, after[name])}
    assert changed == {
        "classifier.linear.weight", "classifier.linear.bias",
        *(f"classifier.norm.{name}" for name in MOVES),
    }  # fmt: skip


def prepared(registry, shapes_folder, **options):
    """A job that is ready to run."""
    config = RunConfig.from_mapping({
        "data": str(shapes_folder), "model": "lenet", "weights": "none", "img_size": 16,
        "batch_size": 8, "epochs": 1, "threads": 1, **options,
    })  # fmt: skip
    return assemble(config, registry)


def test_all_of_it_learns_at_the_heads_rate(registry, shapes_folder):
    job = prepared(registry, shapes_folder, head="mlp-16", epochs=1)
    groups = parameter_groups(
        job.model, head=job.head, lr=0.1, backbone_lr=0.1, layer_decay=1.0, weight_decay=0.05
    )
    head = {id(parameter) for parameter in job.model.head.parameters()}
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups
             for p in group["params"]}  # fmt: skip
    assert {rates[one][0] for one in head} == {0.1}
    rest = {round(rate, 9) for one, (rate, _) in rates.items() if one not in head}
    assert rest == {0.01}
    assert rates[id(job.model.head.hidden[0].weight)][1] == 0.0, "a norm"
    assert rates[id(job.model.head.linear.weight)][1] == 0.05


def test_dropout_sets_the_networks_and_leaves_the_heads(registry, shapes_folder):
    job = prepared(registry, shapes_folder, model="mlp-cifar", head="mlp-16-0.4", dropout=0.1)
    rates = {name: module.p for name, module in job.model.named_modules()
             if type(module).__name__ == "Dropout"}  # fmt: skip
    assert {rate for name, rate in rates.items() if name.startswith("head.")} == {0.2, 0.4}
    assert {rate for name, rate in rates.items() if not name.startswith("head.")} == {0.1}


class Halves(nn.Module):
    """Does something after its head, and takes images of 8 pixels alone."""

    def __init__(self, num_classes, channels, image_size):
        super().__init__()
        self.body = nn.Flatten()
        self.head = nn.Linear(channels * image_size**2, num_classes)
        self.fits = image_size == 8

    def forward(self, images):
        if not self.fits:
            raise RuntimeError("8 pixels\x1b[31m alone")
        return self.head(self.body(images)) / 2


class Refuses(nn.Module):
    def forward(self, features):
        raise RuntimeError("no\x1b[31m thanks")


@pytest.fixture
def with_plugin(registry, monkeypatch):
    """A registry with a plugin of one component."""

    def make(kind, target):
        module = ModuleType("acme_heads")
        module.__spec__ = ModuleSpec("acme_heads", None)
        module.target = target
        monkeypatch.setitem(sys.modules, "acme_heads", module)
        component = Component(kind=kind, name="odd", target="acme_heads:target")
        record = PluginRecord(
            namespace="acme", module="acme_heads", distribution="zoo-acme", version="1.0",
            components=(component,),
        )  # fmt: skip
        return Registry((*registry.plugins, record))

    return make


def test_what_a_network_does_after_its_head_stays(with_plugin, shapes_folder, tmp_path):
    watch, registry = Watch(), with_plugin("model", Halves)
    options = {"data": str(shapes_folder), "model": "odd", "head": "mlp-16", "batch_size": 8,
               "threads": 1, "runs": str(tmp_path / "runs")}  # fmt: skip
    zoo.run(**options, img_size=8, observer=watch, registry=registry, **FROZEN)
    assert watch.cached == [False]
    assert watch.begin["head.linear.weight"].any(), "nothing starts at zero that is not proved"
    with pytest.raises(PluginError, match="the model acme/odd failed on images of 16x16") as caught:
        zoo.run(**options, img_size=16, registry=registry)
    assert "\x1b" not in str(caught.value)


# ---- a run opened again -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(registry, shapes_folder, tmp_path_factory):
    """A run with a head of its own, both phases."""
    return zoo.run(
        data=str(shapes_folder), model="lenet", head="mlp-12-0.2", img_size=16, batch_size=8,
        weights="none", freeze_epochs=1, epochs=1, threads=1, registry=registry, name="with head",
        runs=str(tmp_path_factory.mktemp("runs")),
    )  # fmt: skip


SPEC = "torch/mlp:hidden=[12],dropout=0.2,norm=batch"


def test_what_is_stored_says_which_head(trained):
    for file in ("best/model.json", "environment.json"):
        head = stored(trained, file)["components"]["head"]
        assert head["spec"] == SPEC
        assert head["package"].startswith("classifier-zoo ")
    assert 'head = "mlp-12-0.2"' in (trained.path / "config.toml").read_text()


def test_it_is_loaded_evaluated_explained_and_exported(trained, registry, shapes_folder):
    loaded = zoo.load(trained.path)
    assert type(loaded.model.head).__name__ == "MLPHead"
    assert not loaded.model.training
    evaluated = zoo.evaluate(trained.path, resamples=0, registry=registry)
    files = sorted((shapes_folder / "test").rglob("*.png"))
    right = [a == f.parent.name for a, f in zip(loaded.predict(files), files, strict=True)]
    assert sum(right) / len(right) == trained.test_accuracy
    assert evaluated["accuracy"] == trained.test_accuracy
    exported = zoo.export(trained.path, to="safetensors", registry=registry)
    description = json.loads((exported.path / "model.json").read_text())
    assert description["head"]["spec"] == SPEC


@pytest.mark.parametrize("after", [2, 5])
def test_it_is_resumed_to_the_same_bits(train, registry, after):
    options = {"head": "mlp-16", "freeze_epochs": 1, "epochs": 1, "save_steps": 1}
    straight = train(name="straight", **options)
    with pytest.raises(Stop):
        train(name="stopped", observer=Stopping(after), **options)
    path = straight.path.parent / "stopped"
    zoo.resume(path, registry=registry)
    assert compare_runs(straight.path, path).verdict.startswith("bit-identical")


def test_it_teaches(train, trained):
    by_run = train(distill=str(trained.path))
    by_file = train(distill=f"lenet@{trained.path}/best/model.safetensors")
    assert all(torch.equal(t, best(by_file)[name]) for name, t in best(by_run).items())


@pytest.mark.parametrize("file", ["best", "best/model.safetensors", "exported/model.safetensors"])
def test_its_weights_bring_the_head_along(train, trained, registry, file):
    zoo.export(
        trained.path, to="safetensors", output=trained.path / "exported", force=True,
        registry=registry,
    )  # fmt: skip
    watch = Watch()
    result = train(weights=str(trained.path / file), observer=watch)
    assert watch.job.config.head == SPEC
    assert not watch.job.loaded.head_replaced
    assert all(torch.equal(watch.begin[name], t) for name, t in best(trained).items())
    assert any(SPEC in note and "--head linear" in note for note in watch.job.notes)
    assert stored(result)["components"]["head"]["spec"] == SPEC


def test_or_another_one_is_taken(train, trained):
    watch = Watch()
    train(weights=str(trained.path / "best"), head="linear", observer=watch)
    assert watch.job.loaded.head_replaced
    assert watch.job.loaded.unexpected == ()
    assert not watch.begin["head.weight"].any()
    backbone = {k: t for k, t in best(trained).items() if not k.startswith("head.")}
    assert all(torch.equal(watch.begin[name], t) for name, t in backbone.items())


def test_a_run_whose_heads_plugin_is_gone_says_which(trained, tmp_path):
    path = shutil.copytree(trained.path, tmp_path / "gone")
    described = json.loads((path / "best/model.json").read_text())
    described["components"]["head"] = {"spec": "acme/maxout:pieces=2", "package": "zoo-acme 1.2"}
    described.pop("previous", None)
    described["digest"] = digest_of(described)
    (path / "best/model.json").write_text(json.dumps(described))
    with pytest.raises(PluginError, match=r"the head acme/maxout") as caught:
        zoo.load(path)
    assert "zoo-acme==1.2" in caught.value.hint


# ---- what cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head": "norm-linaer"}, "norm-linear"),
        ({"head": "norm-linear", "batch_size": 1}, "computed one at a time"),
        ({"head": "mlp-16", "accumulate": 8}, "in 8 parts: some are computed one at a time"),
        ({"model": "timm/test_resnet", "img_size": 32, "batch_size": 1}, "and one image has none"),
        ({"head": "linear", "model": "torchvision/squeezenet1_1", "img_size": 32}, "pools before"),
        (
            {"head": "linear", "model": "timm/deit_tiny_distilled_patch16_224", "img_size": 32},
            "has 2 heads",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained(
    registry, shapes_folder, options, said
):
    with pytest.raises(ZooError) as caught:
        prepared(registry, shapes_folder, **options)
    assert isinstance(caught.value, UsageError)
    assert said in f"{caught.value} {caught.value.found} {caught.value.hint}"


@pytest.mark.parametrize(
    "options",
    [
        {"head": "norm-linear:norm=layer", "batch_size": 1},
        {"model": "timm/test_resnet", "img_size": 64, "batch_size": 1},  # 2x2 pixels at its end
        {"model": "timm/test_resnet", "img_size": 32, "batch_size": 1, "norm": "hold"},
        {"head": "mlp-16", "accumulate": 4},
        {"head": "mlp-16", "batch_size": 23},  # 24 images: two batches of twelve
        {"head": "mlp-16", "batch_size": 2, "accumulate": 1},
    ],
)
def test_and_what_can_is_not(train, options):
    train(**{**FROZEN, "freeze_epochs": 1, **options})


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (lambda num_features, num_classes: 3, "is int, not a torch.nn.Module"),
        (lambda num_features, num_classes: nn.Linear(num_features, 7), "to (2, 7), not to (2, 2)"),
        (lambda num_features, num_classes: Refuses(), "does not take 2 rows of 500 features"),
        (lambda num_features, num_classes: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_plugins_head_that_is_none_is_named(with_plugin, shapes_folder, head, said):
    with pytest.raises(PluginError) as caught:
        prepared(with_plugin("head", head), shapes_folder, head="odd")
    text = f"{caught.value} {caught.value.found} {caught.value.hint}"
    assert "acme/odd" in text
    assert said in text
    assert "zoo-acme 1.0" in text
    assert "\x1b" not in text
