"""Soft labels, several labels, sample weights, mixing and balance, through whole runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import zoo
import zoo.api
from zoo.data.batches import cut
from zoo.engine.device import Device
from zoo.engine.stage import epoch_draws, image_feed
from zoo.errors import UsageError


@pytest.fixture
def tagged(tmp_path):
    """48 images with any of three bars, listed in a manifest with several labels each."""
    generator = np.random.default_rng(0)
    rows = ["path,labels,split"]
    for number in range(48):
        present = generator.random(3) < 0.5
        pixels = generator.integers(0, 40, (24, 24, 3), dtype=np.uint8)
        for bar in np.flatnonzero(present):
            pixels[:, 8 * bar + 2 : 8 * bar + 6, bar] = 250
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        names = "|".join(name for name, there in zip("abc", present, strict=True) if there)
        split = "train" if number < 32 else "val"
        rows.append(f"{number}.png,{names or 'none'},{split}")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(rows) + "\n")
    return f"manifest:path={path},separator=|"


def test_several_labels_train_with_bce_and_are_scored_as_sets(train, tagged, registry, tmp_path):
    result = train(data=tagged, epochs=12, lr=5e-3)
    trained = zoo.load(result.path, registry=registry)
    assert trained.multi_label
    assert result.rows[-1].val_loss < result.rows[0].val_loss
    job = zoo.prepare(data=tagged, model="lenet", img_size=16, registry=registry)
    assert job.choices.loss.spec.startswith("torch/bce")
    val = job.data.splits["val"]
    scores = trained.probabilities([val.images.read(i) for i in range(len(val.images))])
    assert not torch.allclose(scores.sum(1), torch.ones(len(scores)))
    right = ((scores.numpy() > 0.5) == (val.targets_NK > 0.5)).all(1).mean()
    best = result.rows[result.best_epoch - 1]
    assert best.val_accuracy == pytest.approx(right)


def test_several_labels_refuse_a_softmax_loss_and_balance(tagged, registry):
    with pytest.raises(UsageError) as caught:
        zoo.prepare(data=tagged, model="lenet", loss="ce", balance="sampler", registry=registry)
    assert "have several labels" in str(caught.value)
    assert "--balance sampler" in str(caught.value)


def feed_of(registry, **options):
    job = zoo.prepare(model="lenet", weights="none", registry=registry, **options)
    device = Device.open(job.config)
    return job, image_feed(job, "train", device=device, progress=lambda *_: None)


def test_mixup_mixes_images_and_targets_in_the_same_share(shapes_folder, registry):
    options = {"data": str(shapes_folder), "img_size": 16, "normalize": "weights"}
    _, plain = feed_of(registry, aug="none", **options)
    job, mixed = feed_of(registry, aug="mixup-1.0", **options)
    part = cut(epoch_draws(job)(0)[:8], num_parts=1)[0]
    ((_, images, target),) = mixed.pictures([part], epoch=0)
    ((_, own, labels),) = plain.pictures([part], epoch=0)
    ((_, partners, _),) = plain.pictures([cut(part.partners_B, num_parts=1)[0]], epoch=None)
    assert target.shape == (8, 2)
    assert torch.allclose(target.sum(1), torch.ones(8))
    partner_labels = plain.answers(part.partners_B, epoch=None)[0]
    one_hot = functional.one_hot(labels, 2).float()
    partner_hot = functional.one_hot(partner_labels, 2).float()
    for i in range(8):
        if labels[i] == partner_labels[i]:
            assert torch.allclose(target[i], one_hot[i])
            continue
        share = target[i, labels[i]]
        assert torch.allclose(target[i], share * one_hot[i] + (1 - share) * partner_hot[i])
        expected = share * own[i] + (1 - share) * partners[i]
        assert torch.allclose(images[i], expected, atol=1e-5)


@pytest.mark.parametrize("aug", ["flip+mixup-0.4", "cutmix-1.0", "mixup-cutmix"])
def test_parts_of_a_mixed_batch_add_up_to_the_whole(train, registry, aug):
    common = {"optim": "sgd", "lr": 0.05, "epochs": 2, "aug": aug}
    whole, parts = (train(accumulate=n, **common) for n in (1, 3))
    first, second = (zoo.load(r.path, registry=registry).model.state_dict() for r in (whole, parts))
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-6), name


def test_mixing_needs_a_loss_that_takes_shares(train, make_plugin):
    make_plugin(
        "acme",
        "from zoo.plugin import Component, hookimpl\n@hookimpl\ndef zoo_components():\n"
        "    yield Component(kind='loss', name='hard', tags=('hard labels',),\n"
        "                    target='torch.nn:CrossEntropyLoss')\n",
    )
    from zoo.registry import Registry

    with pytest.raises(UsageError, match="mixes labels") as caught:
        zoo.prepare(model="lenet", loss="hard", aug="mixup", registry=Registry.installed())
    assert "--loss ce" in str(caught.value)


def test_weights_of_samples_act_like_copies(tmp_path, shapes_folder, train, registry):
    """A sample of weight 2 counts as two copies of it, in one full batch without momentum."""
    files = sorted((shapes_folder / "train").glob("*/*.png"))
    val = [f"{p},{p.parent.name},val,1,1" for p in sorted((shapes_folder / "val").glob("*/*.png"))]
    weighted = ["path,label,split,weight,group", *val]
    doubled = list(weighted)
    for number, path in enumerate(files):
        weight = 2 if number % 3 == 0 else 1
        weighted.append(f"{path},{path.parent.name},train,{weight},1")
        for copy in range(weight):
            named = tmp_path / f"{path.stem}-{copy}.png"
            named.write_bytes(path.read_bytes())
            doubled.append(f"{named},{path.parent.name},train,1,1")
    results = []
    for name, rows in (("weighted", weighted), ("doubled", doubled)):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
        results.append(
            train(data=str(tmp_path / f"{name}.csv"), optim="sgd:momentum=0", lr=0.05, epochs=3,
                  batch_size=64, aug="none", weight_decay=0.0)
        )  # fmt: skip
    first, second = (zoo.load(r.path, registry=registry).model.state_dict() for r in results)
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-5), name


def test_balance_sampler_shows_rare_classes_as_often(shapes_folder, tmp_path, registry):
    import shutil

    data = tmp_path / "uneven"
    shutil.copytree(shapes_folder, data)
    for image in sorted((data / "train" / "dot").iterdir())[:9]:
        image.unlink()
    job, feed = feed_of(registry, data=str(data), img_size=16, balance="sampler")
    labels, _ = feed.answers(epoch_draws(job)(0), epoch=None)
    assert abs(int((labels == 0).sum()) - int((labels == 1).sum())) <= 1
    assert len(labels) == 15


def test_results_do_not_depend_on_the_number_of_workers(train, registry):
    """Images are decoded anew in each epoch (no memory for them), by 0, 1 or 4 threads."""
    digests = set()
    for workers in (0, 1, 4):
        result = train(workers=workers, ram=0, epochs=3, aug="flip+shift+mixup-0.4", optim="sgd")
        state = zoo.load(result.path, registry=registry).model.state_dict()
        digests.add(b"".join(t.numpy().tobytes() for t in state.values()))
    assert len(digests) == 1


def test_normalize_data_takes_mean_and_deviation_of_the_training_images(shapes_folder, registry):
    job = zoo.prepare(data=str(shapes_folder), model="lenet", normalize="data", registry=registry)
    pixels = np.stack([
        np.asarray(Image.open(path), dtype=np.float64) / 255
        for path in (shapes_folder / "train").glob("*/*.png")
    ])  # fmt: skip
    assert job.preprocessing.mean == pytest.approx(pixels.mean((0, 1, 2)).tolist(), abs=1e-9)
    assert job.preprocessing.std == pytest.approx(pixels.std((0, 1, 2)).tolist(), abs=1e-9)
    own = zoo.prepare(
        data=str(shapes_folder), model="lenet", mean=[0.25], std=[0.1, 0.2, 0.3],
        interpolation="nearest", fit="pad", crop_fraction=0.9, registry=registry,
    )  # fmt: skip
    assert own.preprocessing.mean == (0.25,) * 3
    assert own.preprocessing.std == (0.1, 0.2, 0.3)
    assert own.preprocessing.interpolation == "nearest"
    assert own.preprocessing.fit == "pad"
    assert own.preprocessing.crop_fraction == 0.9


def test_preview_shows_what_the_network_sees(shapes_folder, registry):
    options = {"data": str(shapes_folder), "model": "lenet", "img_size": 16, "registry": registry}
    shown = zoo.api.preview(count=5, aug="none", **options)
    assert len(shown) == 5
    assert all(image.shape == (16, 16, 3) and image.dtype == np.uint8 for image, _ in shown)
    assert {label for _, label in shown} <= {"bar", "dot"}
    mixed = zoo.api.preview(count=12, aug="mixup-1.0", **options)
    assert any("bar " in label and "dot " in label and "%" in label for _, label in mixed)
    first, other = (zoo.api.preview(count=5, aug="flip", epoch=e, **options) for e in (0, 1))
    assert [label for _, label in first] != [label for _, label in other] or any(
        (a != b).any() for (a, _), (b, _) in zip(first, other, strict=True)
    )
