"""Embeddings are what the head is given; planes, plots and files of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.data.pixels.resize import to_bytes
from zoo.errors import DataError, PluginError, UsageError
from zoo.evaluation.interpretation.embeddings import Embeddings, write_embeddings
from zoo.evaluation.interpretation.embeddings import embed as embedded
from zoo.evaluation.interpretation.plane import draw_plane, project, save_plane
from zoo.evaluation.interpretation.subjects import Subjects
from zoo.evaluation.report.plots import drawing
from zoo.network.head import head_input
from zoo.protocols import Preprocessing
from zoo.registry import build, parse_choice


@pytest.fixture(scope="module")
def run(shapes_folder, tmp_path_factory, registry):
    return zoo.run(
        model="lenet", img_size=28, batch_size=8, threads=1, epochs=2, freeze_epochs=0, lr=5e-3,
        data=str(shapes_folder), runs=str(tmp_path_factory.mktemp("runs")), registry=registry,
    ).path  # fmt: skip


def made_up(count, *, classes=("a", "b"), size=6, names=None, labels=None):
    random = np.random.default_rng(0)
    predicted = tuple(classes[i % len(classes)] for i in range(count))
    return Embeddings(
        embeddings_ND=random.normal(size=(count, size)).astype(np.float32),
        names=tuple(names or (f"{i}.png" for i in range(count))),
        labels=tuple(labels if labels is not None else predicted), predicted=predicted,
        probability_N=random.uniform(size=count).astype(np.float32), classes=tuple(classes),
    )  # fmt: skip


# ---- what they are ----------------------------------------------------------------------------


def test_they_are_the_input_of_the_head(run, shapes_folder, registry):
    from zoo.api import embed

    files = sorted((shapes_folder / "test").rglob("*.png"))
    found = embed(run, [shapes_folder / "test"], registry=registry)
    trained = zoo.load(run, registry=registry)
    squares = [to_bytes(Image.open(f), trained.preprocessing, 3) for f in map(str, found.names)]
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in
                 (trained.preprocessing.mean, trained.preprocessing.std))  # fmt: skip
    images = (torch.stack(squares) / 255 - mean) / std
    with torch.inference_mode():
        expected_ND = head_input(trained.model, "head", images)
        logits_NK = trained.model.head(torch.from_numpy(found.embeddings_ND))
    assert sorted(found.names) == [str(file) for file in files]
    assert found.embeddings_ND.dtype == np.float32
    assert torch.allclose(torch.from_numpy(found.embeddings_ND), expected_ND, atol=1e-5)
    assert found.labels == tuple(name.split("/")[-2] for name in found.names)
    assert found.predicted == tuple(trained.classes[i] for i in logits_NK.argmax(1).tolist())
    assert np.allclose(found.probability_N, logits_NK.softmax(1).amax(1).numpy(), atol=1e-5)


def test_a_split_and_its_files_say_the_same(run, shapes_folder, registry):
    from zoo.api import embed

    split, files = embed(run, registry=registry), embed(run, [shapes_folder / "test"])
    order = {name.rpartition("test/")[2]: i for i, name in enumerate(files.names)}
    rows = [order[name.removeprefix("test/")] for name in split.names]
    assert np.allclose(split.embeddings_ND, files.embeddings_ND[rows], atol=1e-5)
    assert split.labels == tuple(files.labels[row] for row in rows)
    assert len(embed(run, split="all", registry=registry)) == 40


def test_images_that_cannot_be_read_are_named_and_left_out(run, shapes_folder, tmp_path, registry):
    from zoo.api import embed

    good = sorted((shapes_folder / "test").rglob("*.png"))[:2]
    (tmp_path / "bad.png").write_bytes(b"no image")
    found = embed(run, [good[0], tmp_path / "bad.png", good[1]], registry=registry)
    assert found.names == tuple(map(str, good))
    assert list(found.bad) == [str(tmp_path / "bad.png")]
    with pytest.raises(DataError, match="none of 1 images can be read"):
        embed(run, [tmp_path / "bad.png"], registry=registry)
    with pytest.raises(UsageError, match="by their paths and by"):
        embed(run, good, split="test", registry=registry)


@pytest.mark.parametrize(
    ("spec", "head", "size"),
    [("torchvision/squeezenet1-1", "classifier.1", 512), ("timm/resnet18", "fc", 512),
     ("timm/vit-tiny-patch16-224", "head", 192)],
)  # fmt: skip
def test_maps_are_averaged_over_their_places(run, registry, spec, head, size):
    torch.manual_seed(0)
    model = build(parse_choice(registry, "model", spec), num_classes=2, channels=3, image_size=64)
    trained = replace(
        zoo.load(run, registry=registry), model=model.eval(),
        preprocessing=Preprocessing(image_size=64),
    )  # fmt: skip
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))

    class One:
        def __len__(self):
            return 1

        def read(self, index):
            return image

        def name(self, index):
            return "one"

    found = embedded(Subjects(trained=trained, images=One(), labels=("",), title="one"))
    assert found.embeddings_ND.shape == (1, size)
    if spec.startswith("torchvision"):
        squares = to_bytes(image, trained.preprocessing, 3).unsqueeze(0)
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in
                     (trained.preprocessing.mean, trained.preprocessing.std))  # fmt: skip
        with torch.inference_mode():
            map_1Chw = head_input(model, head, (squares / 255 - mean) / std)
        assert map_1Chw.ndim == 4
        expected = map_1Chw.mean((2, 3)).numpy()
        assert np.allclose(found.embeddings_ND, expected, atol=1e-5)


# ---- planes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(50, 8), (8, 50), (20, 20), (300, 2), (3, 1)])
def test_pca_equals_scikit_learn(registry, rows, columns):
    from sklearn.decomposition import PCA

    random = np.random.default_rng(rows)
    data = (random.normal(size=(rows, columns)) * random.uniform(0.2, 5, columns)).astype("float32")
    points = project(replace(made_up(rows), embeddings_ND=data), registry=registry)
    expected = np.zeros((rows, 2))
    count = min(2, rows, columns)
    expected[:, :count] = PCA(count, svd_solver="full").fit_transform(data.astype(np.float64))
    assert points.dtype == np.float32
    assert np.abs(points - expected).max() <= 1e-4


@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_that_are_all_the_same_are_one_point(registry, count):
    same = replace(made_up(count), embeddings_ND=np.ones((count, 4), dtype=np.float32))
    assert np.abs(project(same, registry=registry)).max() <= 1e-6
    if count >= 4:
        assert np.abs(project(same, projector="tsne", registry=registry)).max() == 0


def test_tsne_keeps_groups_together_and_depends_on_its_seed_alone(registry):
    data = made_up(60)
    groups = np.arange(60) % 3
    centres = np.random.default_rng(1).normal(size=(3, 6)) * 12
    data = replace(data, embeddings_ND=(data.embeddings_ND + centres[groups]).astype(np.float32))
    one, again = (project(data, projector="tsne-10", seed=3, registry=registry) for _ in range(2))
    assert np.array_equal(one, again)
    distances = np.linalg.norm(one[:, None] - one[None], axis=2) + 1e9 * np.eye(60)
    assert (groups[distances.argmin(1)] == groups).all()


def test_few_images_and_absent_packages_have_a_clear_word(registry, monkeypatch):
    with pytest.raises(UsageError, match="cannot arrange 3 images"):
        project(made_up(3), projector="tsne", registry=registry)
    assert project(made_up(4), projector="tsne", registry=registry).shape == (4, 2)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(PluginError, match="scikit-learn") as caught:
        project(made_up(9), projector="tsne", registry=registry)
    assert "classifier-zoo[interpret]" in caught.value.hint


def legend_of(figure):
    legend = figure.axes[0].get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_the_legend_has_up_to_twenty_classes_and_any_names():
    odd = ["_hidden", "$x^2$", "a\nb", "<b>", "\u202eevil", "\U0001f600", "日本語", "x" * 80]
    names = odd + [f"class {i}" for i in range(12)]
    with drawing():
        data = made_up(40, classes=names)
        figure = draw_plane(np.zeros((40, 2), dtype=np.float32), data, title="$\\frac{$ \n t")
        shown = legend_of(figure)
        assert len(shown) == 20
        assert shown[:3] == ["_hidden", "$x^2$", "a\\nb"]
        assert shown[4] == "\\u202eevil"
        assert len(shown[7]) == 32
        figure.savefig("/dev/null", format="png", dpi=20)
        data = made_up(42, classes=[*names, "one more"])
        figure = draw_plane(np.zeros((42, 2), dtype=np.float32), data, title="many")
        assert legend_of(figure) == []
        colours = {tuple(c) for c in figure.axes[0].collections[0].get_facecolors()}
        assert len(colours) == 21


def test_wrong_predictions_are_crosses_and_unknown_labels_show_predictions(tmp_path):
    points = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    right = made_up(9)
    wrong = replace(right, labels=("b", *right.labels[1:]))
    unknown = replace(right, labels=("",) * 9)
    with drawing():
        drawn = draw_plane(points, wrong, title="t")
        assert [len(c.get_offsets()) for c in drawn.axes[0].collections] == [8, 1]
        assert legend_of(drawn) == ["a", "b", "predicted wrongly (1)"]
        plain = draw_plane(points, unknown, title="t")
        assert [len(c.get_offsets()) for c in plain.axes[0].collections] == [9, 0]
        assert plain.axes[0].get_legend().get_title().get_text() == "predicted"
    save_plane(tmp_path / "plane.png", points, wrong, title="t")
    with Image.open(tmp_path / "plane.png") as image:
        assert image.size[0] > 1000
    assert list(tmp_path.iterdir()) == [tmp_path / "plane.png"]


def test_of_several_labels_the_most_probable_class_has_to_be_one():
    data = replace(
        made_up(4, classes=("a", "b", "c", "c|a"), labels=["a|b", "a|b", "a|b", "c|a"]),
        predicted=("a", "b", "c", "c"),
    )
    with drawing():
        figure = draw_plane(np.zeros((4, 2), dtype=np.float32), data, title="t")
        assert legend_of(figure)[-1] == "predicted wrongly (2)"


# ---- files ------------------------------------------------------------------------------------

ODD = ("=1+1", 'a,b\n"c"', "caf\udce9.png", "\U0001f600", "日本.png", "")


def test_an_npz_needs_no_pickle(tmp_path):
    data = made_up(6, names=ODD, labels=("a", "", "b", "a|b", "=x", "a"))
    write_embeddings(tmp_path / "out.npz", data)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {
            "embeddings", "names", "labels", "predicted", "probability", "classes",
        }  # fmt: skip
        assert all(arrays[name].dtype.kind in "fU" for name in arrays)
        assert np.array_equal(arrays["embeddings"], data.embeddings_ND)
        assert arrays["names"].tolist() == [*ODD[:2], "caf\\xe9.png", *ODD[3:]]
        assert tuple(arrays["labels"]) == data.labels
        assert tuple(arrays["predicted"]) == data.predicted
    assert list(tmp_path.iterdir()) == [tmp_path / "out.npz"]


def test_a_parquet_file_has_a_row_an_image(tmp_path):
    from pyarrow import parquet

    data = made_up(6, names=ODD)
    write_embeddings(tmp_path / "out.parquet", data)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table["names"].to_pylist() == [*ODD[:2], "caf\\xe9.png", *ODD[3:]]
    assert np.array_equal(
        np.asarray(table["embeddings"].to_pylist(), "float32"), data.embeddings_ND
    )
    assert tuple(table["predicted"].to_pylist()) == data.predicted
    assert np.array_equal(table["probability"].to_numpy(), data.probability_N)


@pytest.mark.parametrize("command", [["list", "explainers"], ["list", "projectors", "--json"],
                                     ["list", "reviewers"], ["show", "explainer", "gradcam"],
                                     ["embed", "--help"], ["review", "--help"],
                                     ["heatmap", "--help"]])  # fmt: skip
def test_lists_and_help_import_nothing_heavy(command):
    code = (
        f"import sys\nfrom zoo.cli.main import main\nassert main({command!r}) == 0\n"
        "print('HEAVY', sorted({'torch', 'numpy', 'PIL', 'sklearn', 'matplotlib',"
        " 'pytorch_grad_cam'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
