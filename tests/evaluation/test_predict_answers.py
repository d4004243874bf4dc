"""What runs say about images: views of one image, several runs, batches, order, the Python API."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import zoo
from zoo.data.pixels.resize import to_bytes
from zoo.errors import DataError, PluginError, UsageError
from zoo.evaluation.predict.pictures import BATCH, Geometry, pictures_of
from zoo.evaluation.predict.predictor import Predictor, probabilities_of
from zoo.protocols import Preprocessing

TINY = {"model": "lenet", "img_size": 16, "batch_size": 8, "threads": 1, "lr": 5e-3, "workers": 1}


@pytest.fixture(scope="module")
def runs(shapes_folder, tmp_path_factory, registry):
    """Two runs on the same classes, of different input sizes."""
    place = str(tmp_path_factory.mktemp("runs"))
    options = {**TINY, "data": str(shapes_folder), "runs": place, "registry": registry}
    first = zoo.run(name="first", epochs=3, **options)
    second = zoo.run(name="second", epochs=2, **{**options, "img_size": 20, "seed": 1})
    return first.path, second.path


@pytest.fixture(scope="module")
def trained(runs, registry):
    return [zoo.load(path, registry=registry) for path in runs]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """150 small images, more than two batches, each of them different."""
    folder = tmp_path_factory.mktemp("many")
    generator = np.random.default_rng(0)
    for number in range(150):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def by_hand(trained, image):
    """Probabilities of one image in the plainest way."""
    bytes_CSS = to_bytes(image, trained.preprocessing, trained.channels)
    mean, std = (torch.tensor(v) for v in (trained.preprocessing.mean, trained.preprocessing.std))
    images_1CSS = ((bytes_CSS / 255 - mean[:, None, None]) / std[:, None, None]).unsqueeze(0)
    with torch.inference_mode():
        return trained.model(images_1CSS).softmax(1)[0]


def test_many_images_in_order_equal_one_at_a_time(runs, trained, many, registry):
    said = zoo.predict(runs[0], many, probabilities=True, top_k=9, registry=registry)
    assert [p.image for p in said] == [str(many / f"{n}.png") for n in range(150)]
    for number in (0, BATCH - 1, BATCH, 149):
        expected_K = by_hand(trained[0], Image.open(many / f"{number}.png"))
        np.testing.assert_allclose(said[number].probabilities, expected_K, atol=1e-5)
        assert said[number].label == trained[0].classes[int(expected_K.argmax())]
        assert said[number].score == pytest.approx(float(expected_K.max()), abs=1e-5)
        assert [label for label, _ in said[number].top] == [
            trained[0].classes[i] for i in expected_K.argsort(descending=True)
        ]


def test_a_flipped_view_is_of_the_same_image(runs, trained, many, registry):
    """Not of its neighbour in the batch, which is what an average over reshaped batches takes."""
    said = zoo.predict(runs[0], many, probabilities=True, tta="flip", registry=registry)
    for number in (0, 1, 77, 149):
        image = Image.open(many / f"{number}.png")
        both = [by_hand(trained[0], view) for view in (image, ImageOps.mirror(image))]
        np.testing.assert_allclose(said[number].probabilities, sum(both) / 2, atol=1e-5)
    plain = zoo.predict(runs[0], many, probabilities=True, registry=registry)
    assert np.abs(plain[0].probabilities - said[0].probabilities).max() > 1e-4


def test_an_image_and_its_mirror_image_get_the_same_answer(trained, many):
    images = [Image.open(many / f"{number}.png").convert("RGB") for number in range(9)]
    mirrored = [ImageOps.mirror(image) for image in images]
    answers = [trained[0].probabilities(each, tta="flip") for each in (images, mirrored)]
    torch.testing.assert_close(*answers, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("tta", "fraction"), [("five-crop", 1.0), ("ten-crop", 0.8)])
def test_crops_are_the_corners_and_the_centre(trained, tta, fraction):
    one = replace(
        trained[0], preprocessing=replace(trained[0].preprocessing, crop_fraction=fraction)
    )
    side, larger = 16, 18 if fraction == 1 else 20  # 16 * 8 / 7, 16 / 0.8
    pixels = np.random.default_rng(1).integers(0, 256, (larger, larger, 3), dtype=np.uint8)
    ends = (0, larger - side)
    corners = [(top, left) for top in ends for left in ends]
    views = [
        Image.fromarray(pixels[top : top + side, left : left + side])
        for top, left in [*corners, ((larger - side) // 2,) * 2]
    ]
    views += [ImageOps.mirror(view) for view in views] if tta == "ten-crop" else []
    whole = replace(one, preprocessing=replace(one.preprocessing, crop_fraction=1.0))
    expected_K = torch.stack([by_hand(whole, view) for view in views]).mean(0)
    found_1K = one.probabilities([Image.fromarray(pixels)], tta=tta)
    torch.testing.assert_close(found_1K[0], expected_K, atol=1e-5, rtol=0)


def test_drawn_views_do_not_depend_on_the_other_images(runs, many, registry):
    paths = [many / f"{number}.png" for number in range(70)]
    options = {"tta": "rotate-30", "tta_views": 3, "probabilities": True, "registry": registry}
    alone = zoo.predict(runs[0], paths[66], **options)[0]
    among = zoo.predict(runs[0], paths, **options)[66]
    np.testing.assert_allclose(alone.probabilities, among.probabilities, atol=1e-6)
    plain = zoo.predict(runs[0], paths[66], probabilities=True, registry=registry)[0]
    assert np.abs(plain.probabilities - alone.probabilities).max() > 1e-6


@pytest.mark.parametrize(
    ("tta", "views", "error", "words"),
    [
        ("mixup", None, UsageError, "mixes images"),
        ("none+none", None, UsageError, "draws nothing"),
        ("flop", None, UsageError, "no transform is named"),
        ("flip", 4, UsageError, "own number of views"), (None, 4, UsageError, "no effect"),
    ],
)  # fmt: skip
def test_what_is_no_view(runs, many, registry, tta, views, error, words):
    with pytest.raises(error) as caught:
        zoo.predict(runs[0], many, tta=tta, tta_views=views, registry=registry)
    assert words in str(caught.value)


def test_several_runs_give_the_mean_of_their_probabilities(runs, many, registry):
    paths = [many / f"{number}.png" for number in (3, 5, 7)]
    options = {"probabilities": True, "registry": registry}
    first, second, both = (zoo.predict(given, paths, **options) for given in (*runs, runs))
    for one, two, mean in zip(first, second, both, strict=True):
        wanted_K = (one.probabilities + two.probabilities) / 2  # each at its own input size
        np.testing.assert_allclose(mean.probabilities, wanted_K, atol=1e-6)


class _Permuted(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images).flip(1)


def test_classes_of_several_runs_are_matched_by_name(trained, many):
    one = trained[0]
    other = replace(one, model=_Permuted(one.model).eval(), classes=one.classes[::-1])
    square = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    predictor = Predictor.of([one, other])
    assert predictor.classes == one.classes
    assert len(predictor.geometries) == 1  # the same squares serve both
    torch.testing.assert_close(
        predictor.logits([square]).softmax(1), Predictor.of([one]).logits([square]).softmax(1)
    )
    for wrong in (replace(one, classes=("bar", "cat")), replace(one, multi_label=True)):
        with pytest.raises(UsageError) as caught:
            Predictor.of([one, wrong])
        assert "second" not in str(caught.value)
    with pytest.raises(UsageError, match=r"only .* has cat"):
        Predictor.of([one, replace(one, classes=("bar", "cat"))])


def test_several_labels_average_as_probabilities(trained):
    one = replace(trained[0], multi_label=True)
    other = replace(one, model=nn.Sequential(one.model, nn.Threshold(0.1, -3.0)).eval())
    square = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    both_BK = Predictor.of([one, other]).logits([square])
    alone = [Predictor.of([each]).logits([square]).sigmoid() for each in (one, other)]
    wanted_BK = (alone[0] + alone[1]) / 2
    torch.testing.assert_close(probabilities_of(both_BK, multi_label=True), wanted_BK)
    assert not torch.allclose(wanted_BK.sum(1), torch.ones(4))


def test_bad_images_have_their_place(runs, many, registry, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    (tmp_path / "empty.jpg").touch()
    paths = [tmp_path / "broken.png", many / "0.png", tmp_path / "empty.jpg", tmp_path / "gone.png"]
    said = zoo.predict(runs[0], [str(path) for path in paths], registry=registry)
    assert [bool(p.error) for p in said] == [True, False, True, True]
    assert "empty file" in said[2].error
    assert "No such file" in said[3].error
    good = zoo.predict(runs[0], [str(path) for path in paths], on_bad="skip", registry=registry)
    assert [p.image for p in good] == [str(paths[1])]
    with pytest.raises(DataError, match=r"no prediction for the image .*broken\.png"):
        zoo.predict(runs[0], paths, on_bad="fail", registry=registry)
    assert all(p.error for p in zoo.predict(runs[0], paths[2:], registry=registry))


def test_predictions_of_a_data_set_split(runs, shapes_folder, registry):
    own = zoo.predict(runs[0], split="test", registry=registry)
    assert [p.image for p in own][:2] == ["test/bar/bar-0.png", "test/bar/bar-1.png"]
    files = zoo.predict(runs[0], shapes_folder / "test", registry=registry)
    assert [p.score for p in own] == pytest.approx([p.score for p in files], abs=1e-6)
    with pytest.raises(UsageError, match="so do paths"):
        zoo.predict(runs[0], shapes_folder, split="test", registry=registry)


def test_a_trained_run_takes_pictures_of_any_kind(trained, many):
    files = [many / "1.png", str(many / "2.png"), Image.open(many / "3.png")]
    rows_NK = trained[0].probabilities(files)
    for row_K, number in zip(rows_NK, (1, 2, 3), strict=True):
        expected_K = by_hand(trained[0], Image.open(many / f"{number}.png"))
        torch.testing.assert_close(row_K, expected_K, atol=1e-5, rtol=0)
    assert trained[0].probabilities([]).shape == (0, 2)
    assert trained[0].predict([]) == []
    with pytest.raises(DataError, match=r"gone\.png"):
        trained[0].predict([many / "1.png", "gone.png"])


def test_a_picture_is_read_as_its_file(trained, many, tmp_path):
    grey_HW = np.asarray(Image.open(many / "1.png").convert("L")).astype(np.uint16)
    Image.fromarray(grey_HW * 257).save(tmp_path / "deep.png")
    clear = Image.open(many / "2.png").convert("RGBA")
    clear.putalpha(Image.open(many / "3.png").convert("L"))
    clear.save(tmp_path / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(many / "4.png").save(tmp_path / "turned.png", exif=turned)
    files = [tmp_path / f"{name}.png" for name in ("deep", "clear", "turned")]
    opened_NK = trained[0].probabilities([Image.open(file) for file in files])
    torch.testing.assert_close(opened_NK, trained[0].probabilities(files))
    wide = Image.fromarray(np.full((4, 4), 300.0, np.float32))
    with pytest.raises(DataError, match="picture 1"):
        trained[0].predict([wide])


def test_a_threshold_is_for_several_labels(runs, many, registry):
    with pytest.raises(UsageError, match="--threshold has no effect"):
        zoo.predict(runs[0], many, threshold=0.9, registry=registry)


def test_squares_of_one_decoded_image_for_several_networks(many, tmp_path):
    Image.new("RGB", (600, 300), (9, 99, 199)).save(tmp_path / "a.jpg")

    class Files:
        names = (tmp_path / "a.jpg", many / "0.png")

        def __len__(self):
            return 2

        def name(self, index):
            return str(self.names[index])

        def source(self, index):
            return self.names[index]

        def read(self, index):
            raise AssertionError("the source is enough")

    kinds = [
        Geometry.of(Preprocessing(image_size=32), 3),
        Geometry.of(Preprocessing(image_size=32, mean=(0.1,), std=(0.2,)), 3),
        Geometry.of(Preprocessing(image_size=24, fit="pad", mean=(0.1,)), 1),
    ]
    assert kinds[0] == kinds[1] != kinds[2]
    (pictures,) = pictures_of(Files(), kinds, num_threads=2)
    assert [tuple(square.shape) for square in pictures.squares] == [
        (2, 3, 32, 32), (2, 3, 32, 32), (2, 1, 24, 24),
    ]  # fmt: skip
    image = Image.open(many / "0.png")
    for kind, squares in zip(kinds, pictures.squares, strict=True):
        assert torch.equal(squares[1], to_bytes(image, kind.preprocessing, kind.channels))


def test_pixels_that_must_not_be_written_to_are_read_without_a_warning():
    class Held:
        pixels = np.arange(70 * 64, dtype=np.uint8).reshape(70, 8, 8)

        def __len__(self):
            return len(self.pixels)

    Held.pixels.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        kind = Geometry.of(Preprocessing(image_size=8), 1)
        found = [part.squares[0] for part in pictures_of(Held(), [kind], num_threads=1)]
    finally:
        torch.set_warn_always(before)
    assert torch.equal(torch.cat(found)[:, 0], torch.tensor(Held.pixels))


def test_a_model_whose_plugin_is_gone(runs, registry, tmp_path):
    import json
    import shutil

    from zoo.runs.checkpoint import digest_of

    copy = shutil.copytree(runs[0], tmp_path / "run")
    described = json.loads((copy / "best/model.json").read_text())
    described.pop("previous", None)
    described["components"]["model"] = {"spec": "gone/net", "package": "zoo-gone 1.2"}
    described["digest"] = digest_of(described)
    (copy / "best/model.json").write_text(json.dumps(described))
    with pytest.raises(PluginError) as caught:
        zoo.load(copy, registry=registry)
    assert "pip install 'zoo-gone==1.2'" in str(caught.value)
    assert caught.value.exit_code == 5


def test_one_picture_needs_no_list(runs, trained, many, registry):
    file = many / "7.png"
    expected = trained[0].predict([file])
    for one in (file, str(file), Image.open(file)):
        assert trained[0].predict(one) == expected
    assert trained[0].predict(path for path in [file]) == expected
    pixels = np.asarray(Image.open(file))
    for arrays in (pixels, [pixels]):
        with pytest.raises(UsageError, match=r"picture 1 is neither .*\n.*numpy\.ndarray"):
            trained[0].predict(arrays)
    assert len(zoo.embed(runs[0], str(file), registry=registry)) == 1
    assert len(zoo.heatmap(runs[0], file, registry=registry).explained) == 1
    with pytest.raises(UsageError, match="one run alone"):
        zoo.compare(str(runs[0]), registry=registry)
