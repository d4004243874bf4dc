"""One pass of the frozen part: an image's features do not hang on those computed with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.engine.feature_runs import FROZEN, Watch, assert_same
from zoo.data.pixels.store import Store
from zoo.engine.features.compute import computed
from zoo.engine.feeds import ImageFeed, Labels
from zoo.network.inference import engine_missing, fast_forward
from zoo.network.inference.forwards import InParts, images_at_once
from zoo.protocols import Preprocessing, Split


class Pixels:
    """Images that are decoded already."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)


NUM, SIDE = 700, 64
SAMPLES = np.arange(NUM)


def feed_of(pixels, side):
    labels_N = np.zeros(len(pixels), dtype=np.int64)
    preprocessing = Preprocessing(image_size=side)
    return ImageFeed(
        Store.open(pixels, preprocessing=preprocessing, channels=3, budget_bytes=0, num_threads=0),
        labels=Labels(
            Split(images=pixels, labels_N=labels_N), num_classes=2, device=torch.device("cpu")
        ),
        preprocessing=preprocessing,
    )


@pytest.fixture(scope="module")
def feed():
    generator = np.random.default_rng(0)
    return feed_of(Pixels(generator.integers(0, 256, (NUM, SIDE, SIDE, 3), dtype=np.uint8)), SIDE)


@pytest.fixture(scope="module", params=["folded", "onnx", "openvino"])
def engine(request, feed):
    if missing := engine_missing(request.param):
        pytest.skip(f"needs {', '.join(missing)}")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()  # fmt: skip
    forward = fast_forward(
        network, example=feed.example(count=8), num_images=NUM, engine=request.param
    )
    assert forward.name == request.param
    yield forward
    forward.close()


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


class Given(InParts):
    """An engine that says how many images it was given each time, and what has come of them."""

    def __init__(self, engine):
        self.engine, self.given, self.begun = engine, [], []

    def begin(self, images_BCSS):
        self.given.append(len(images_BCSS))
        self.begun.append(self.engine.begin(images_BCSS))
        return self.begun[-1]


def rows(engine, feed, samples, groups):
    """Returns the features, and how many images the engine was given each time."""
    forward = Given(engine)
    made = computed(
        forward, feed, samples, epoch=None, progress=lambda done, total: None, groups=groups
    )
    return torch.cat(list(made)), forward.given


@pytest.mark.usefixtures("threads")
def test_bits_are_the_same_in_any_company(engine, feed):
    group = images_at_once(feed.example(count=1), torch.device("cpu"))
    alone, given = rows(engine, feed, SAMPLES, 1)
    assert set(given) == {group}
    together, given = rows(engine, feed, SAMPLES, 4)
    assert max(given) == 4 * group
    assert all(count % group == 0 for count in given)
    assert sum(given) < NUM + group
    assert torch.equal(alone, together)
    some = SAMPLES[5::3]
    assert torch.equal(rows(engine, feed, some, 4)[0], alone[torch.from_numpy(some)])


def test_bits_are_the_same_for_any_number_of_threads(engine, feed):
    before, made = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            made.append(rows(engine, feed, SAMPLES, 4)[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


@pytest.mark.usefixtures("threads")
def test_progress_counts_images_and_not_what_fills_a_group(engine, feed):
    told = []
    made = computed(
        engine, feed, SAMPLES[:131], epoch=None, groups=4,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert sum(len(batch) for batch in made) == 131
    assert told[-1] == (131, 131)


def test_an_engine_has_the_next_batch_before_it_is_done_with_one(engine, feed):
    forward = Given(engine)
    made = computed(forward, feed, SAMPLES, epoch=None, groups=1, progress=lambda done, total: None)
    for number, _ in enumerate(made, start=1):
        assert len(forward.given) == min(number + 1, -(-NUM // forward.given[0]))


def test_a_pass_that_is_stopped_leaves_nothing_under_way(engine, feed):
    before = torch.get_num_threads()
    whole = rows(engine, feed, SAMPLES, 1)[0]

    def stop(done, total):
        raise KeyboardInterrupt

    torch.set_num_threads(2)
    try:
        forward = Given(engine)
        with pytest.raises(KeyboardInterrupt):
            list(computed(forward, feed, SAMPLES, epoch=None, groups=1, progress=stop))
        assert len(forward.begun) == 2
        assert not any(begun.futures for begun in forward.begun)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.equal(rows(engine, feed, SAMPLES, 1)[0], whole)  # it goes on
    finally:
        torch.set_num_threads(before)


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from tests.engine.test_features_pass import Pixels, feed_of
from zoo.engine.features.collect import SplitView, collect
from zoo.engine.features.engines import Engine
from zoo.engine.features.identity import image_ids
from zoo.engine.features.rows import Layout
from zoo.engine.features.shelf import Shelf

pixels = Pixels(np.random.default_rng(0).integers(0, 256, (4000, 8, 8, 3), dtype=np.uint8))
layout = Layout(shape=(8000,), channels_last=False, dtype=torch.float32)
shelf = Shelf.open(Path(sys.argv[1]), about={"what": "numbers"}, layout=layout)
ids_N = image_ids(pixels, num_threads=0)
with shelf.write(ids_N[:1], layout, keep=True) as writing:
    writing.add(torch.ones(1, 8000))
    writing.finish()
engine = Engine("torch", shelf, lambda images: images.mean((1, 2, 3))[:, None].repeat(1, 8000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = collect(
    SplitView(name="train", images=feed_of(pixels, 8), view=None, ids_N=ids_N), engine,
    layout=layout, in_memory=True, device=torch.device("cpu"), noted=print,
    progress=lambda done, total: None,
)
assert len(rows) == 4000 and torch.equal(rows.take(np.array([0])).copied(), torch.ones(1, 8000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / rows.rows_N.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_features_that_are_found_in_part_take_their_room_once(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert float(told.stdout) < 1.5, told.stdout


@pytest.mark.parametrize("ram", [4096, 0], ids=["held", "mapped"])
def test_what_is_written_over_meanwhile_is_not_kept_as_what_it_was(
    train, passes, cache, shapes_folder, tmp_path, ram
):
    data = Path(shutil.copytree(shapes_folder, tmp_path / "data"))
    file = sorted((data / "train" / "bar").iterdir())[0]
    content = file.read_bytes()

    class Exchanging(Watch):
        def preparing(self, what, done, total):
            if what == "looking for kept features, val" and file.read_bytes() == content:
                Image.fromarray(255 - np.asarray(Image.open(file))).save(file)

    watch = Exchanging()
    clean = train(data=str(data), **FROZEN)
    shutil.rmtree(cache)
    exchanged = train(data=str(data), observer=watch, ram=ram, **FROZEN)
    assert exchanged.rows[0].train_loss != clean.rows[0].train_loss
    assert any("files of images (train) were written meanwhile" in note for note in watch.notes)
    file.write_bytes(content)
    passes.clear()
    assert_same(clean, train(data=str(data), **FROZEN))
    assert passes == [24]
