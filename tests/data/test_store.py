"""The store: the same bits from memory, disk or decoders, by any number of threads."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.pixels import store as store_module
from zoo.data.pixels.decode import open_image
from zoo.data.pixels.resize import needed_sides, to_bytes
from zoo.data.pixels.store import Store, ahead
from zoo.data.reading.folder import FileImages
from zoo.data.reading.packed import StackedImages
from zoo.errors import DataError
from zoo.protocols import Preprocessing

PREPROCESSING = Preprocessing(image_size=16, crop_fraction=0.875)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Forty noisy images of several formats and sizes."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    names = []
    for index in range(40):
        size = random.integers(8, 120, 2)
        image = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        names.append(f"{index}{('.png', '.jpg', '.webp', '.bmp')[index % 4]}")
        image.save(root / names[-1])
    return FileImages(root=root, names=tuple(names))


class Plain:
    """Images as a plugin may have them: nothing but what the protocol asks for."""

    def __init__(self, images):
        self.read, self.name, self.__len__ = images.read, images.name, images.__len__
        self._images = images

    def __len__(self):
        return len(self._images)


class Unsourced(Plain):
    """Images that could say where they are but do not."""

    def source(self, index):
        return None


def opened(images, *, threads=1, budget=0, preprocessing=PREPROCESSING, channels=3, **more):
    return Store.open(
        images, preprocessing=preprocessing, channels=channels, budget_bytes=budget,
        num_threads=threads, **more,
    )  # fmt: skip


def three_epochs(store):
    """Returns a digest of what three epochs in different orders yield."""
    digest = hashlib.sha256()
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(len(store))
        for samples, images in store.stream(np.array_split(order, 7), lambda item: item):
            digest.update(samples.tobytes())
            digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
def test_any_number_of_threads_and_any_way_gives_the_same_bits(files, tmp_path, channels):
    ways = [
        {"threads": threads, "budget": budget, "keep_decoded": keep}
        for threads in (0, 1, 4)
        for budget in (0, 2**30)
        for keep in (None, tmp_path)
    ]
    digests = {three_epochs(opened(files, channels=channels, **way)) for way in ways}
    assert len(digests) == 1


def test_a_fetch_is_each_image_alone(files):
    samples = np.array([3, 0, 3, 39])
    batch = opened(files, threads=4).fetch(samples)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for row, sample in enumerate(samples):
        # No JPEG here is large enough to be decoded at a fraction.
        assert torch.equal(batch[row], to_bytes(files.read(sample), PREPROCESSING, 3))


@pytest.mark.parametrize("kind", [Plain, Unsourced])
def test_images_that_do_not_say_where_they_are(files, tmp_path, kind):
    expected = three_epochs(opened(files))
    store = opened(kind(files), threads=2, keep_decoded=tmp_path / "cache")
    assert three_epochs(store) == expected
    assert store.kept is None
    assert not (tmp_path / "cache").exists()


def test_large_jpegs_are_reduced_alike_in_memory_on_disk_and_on_the_way(tmp_path):
    # Blocks of one colour: at full size and reduced they come out nearly, but not quite, the same.
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise.repeat(20, 0).repeat(20, 1)).save(tmp_path / "a.jpg", quality=90)
    images = FileImages(root=tmp_path, names=("a.jpg",))
    found = [
        opened(images, budget=budget, keep_decoded=keep).fetch(np.array([0]))
        for budget in (0, 2**30)
        for keep in (None, tmp_path / "cache")
    ]
    assert all(torch.equal(found[0], other) for other in found)
    # What a prediction does with a file.
    reduced = open_image(tmp_path / "a.jpg", name="a", at_least=needed_sides(PREPROCESSING))
    assert torch.equal(found[0][0], to_bytes(reduced, PREPROCESSING, 3))
    whole = to_bytes(images.read(0), PREPROCESSING, 3)
    assert not torch.equal(found[0][0], whole)
    assert (found[0][0].int() - whole.int()).abs().float().mean() < 3


def test_pixels_are_never_held_twice():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    pixels.flags.writeable = False
    images = StackedImages(pixels=pixels, names=[str(index) for index in range(9)])
    store = opened(images, budget=2**30)
    assert store.held is None
    assert not store.decodes
    alone = torch.stack([to_bytes(images.read(index), PREPROCESSING, 3) for index in range(9)])
    assert torch.equal(store.fetch(np.arange(9)), alone)


def test_progress_ends_at_the_total(files, tmp_path):
    for way in ({"budget": 2**30}, {"keep_decoded": tmp_path}):
        told = []
        opened(files, **way, progress=lambda *so_far, told=told: told.append(so_far))
        assert told[-1] == (40, 40)


@pytest.fixture
def decoded(monkeypatch):
    """The images that were decoded, in order."""
    samples = []
    real = Store._decode
    monkeypatch.setattr(
        Store, "_decode", lambda self, asked, *a: samples.extend(asked) or real(self, asked, *a)
    )
    return samples


@pytest.mark.parametrize("threads", [0, 2])
def test_what_fits_is_decoded_when_it_is_first_asked_for_and_never_again(
    files, threads, decoded, monkeypatch
):
    monkeypatch.setattr(store_module, "_CHUNK", 1)
    monkeypatch.setattr(store_module, "QUICK_DECODING_SECONDS", 0.0)
    store = opened(files, threads=threads, budget=2**30)
    assert store.decodes
    assert decoded == [0, 1], "a run begins without waiting for its last image"
    decoded.clear()
    first = store.fetch(np.array([7, 3, 7]))
    assert sorted(decoded) == [3, 7]
    assert torch.equal(store.fetch(np.array([3, 7])), first[[1, 0]])
    assert sorted(decoded) == [3, 7]
    assert store.decodes
    expected = three_epochs(opened(files))
    decoded.clear()
    assert three_epochs(store) == expected
    assert sorted(set(decoded)) == [index for index in range(40) if index not in (0, 1, 3, 7)]
    assert not store.decodes
    decoded.clear()
    assert three_epochs(store) == expected
    assert not decoded


def test_behind_a_pass_nothing_is_decoded_before_it(files, decoded):
    expected = three_epochs(opened(files))
    decoded.clear()
    store = opened(files, threads=2, budget=2**30, behind=True)
    assert not decoded
    assert store.decodes
    assert three_epochs(store) == expected
    assert sorted(decoded) == list(range(40))


def test_threads_that_ask_for_the_same_images_get_them_whole(files, monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK", 1)
    monkeypatch.setattr(store_module, "QUICK_DECODING_SECONDS", 0.0)
    store = opened(files, threads=2, budget=2**30)
    expected = opened(files).fetch(np.arange(40))
    random = np.random.default_rng(0)
    asked = [random.integers(0, 40, 16) for _ in range(64)]
    with ThreadPoolExecutor(8) as pool:
        for samples, found in zip(asked, pool.map(store.fetch, asked), strict=True):
            assert torch.equal(found, expected[samples])


@pytest.fixture
def damaged(tmp_path):
    """Thirty images of which 25 are broken."""
    for index in range(30):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (8, 8)).save(path)
        if index >= 5:
            path.write_bytes(path.read_bytes()[: index + 5])
    return FileImages(root=tmp_path, names=tuple(f"{index}.png" for index in range(30)))


def test_opening_names_all_bad_images(damaged, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK", 7)
    for options in ({"budget": 2**30}, {"keep_decoded": tmp_path / "cache"}):
        with pytest.raises(DataError, match="25 of 30 images cannot be read") as caught:
            opened(damaged, threads=2, **options)
        text = str(caught.value)
        assert "5.png: " in text
        assert "24.png: " in text
        assert "25.png" not in text
        assert "and 5 more" in text
        assert "--on-bad skip" in text


@pytest.mark.parametrize("budget", [0, 2**30])
@pytest.mark.parametrize("threads", [0, 2])
def test_streaming_names_all_bad_images_where_it_meets_the_first(
    damaged, threads, budget, monkeypatch
):
    monkeypatch.setattr(store_module, "_CHUNK", 1)
    monkeypatch.setattr(store_module, "QUICK_DECODING_SECONDS", 0.0)
    store = opened(damaged, threads=threads, budget=budget)
    batches = store.stream(np.array_split(np.arange(30), 10), lambda item: item)
    assert next(batches)[1].shape == (3, 3, 16, 16)
    with pytest.raises(DataError, match="25 of 30"):
        list(batches)


@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_fetch_names_the_bad_images_of_its_batch(damaged, budget, monkeypatch):
    monkeypatch.setattr(store_module, "_CHUNK", 1)
    monkeypatch.setattr(store_module, "QUICK_DECODING_SECONDS", 0.0)
    store = opened(damaged, threads=2, budget=budget)
    for _ in range(2):  # one that cannot be read is not there the next time
        with pytest.raises(DataError, match="2 of 30") as caught:
            store.fetch(np.array([1, 7, 2, 9]))
        assert "7.png" in str(caught.value)
        assert "9.png" in str(caught.value)


def test_ahead_keeps_order_and_fetches_only_a_little_ahead():
    asked, used = [], []

    def fetch(item):
        asked.append(item)
        return torch.tensor(item)

    for item, fetched in ahead(iter(range(20)), fetch, depth=2):
        assert int(fetched) == item
        used.append(item)
        assert max(asked) <= item + 2
    assert used == list(range(20))


def test_ahead_tells_whether_what_is_asked_for_was_there():
    told, asked_for_two = [], threading.Event()

    def fetch(item):
        if item == 2:
            asked_for_two.wait(10)
        return torch.tensor(item)

    def asked(there):
        told.append(there)
        if len(told) == 2:
            asked_for_two.set()

    for item, fetched in ahead(range(4), fetch, asked=asked):
        assert fetched == item
        time.sleep(0.1)
    assert told == [True, False, True]


def test_ahead_hands_on_an_error_in_its_place_and_ends_its_threads():
    def fetch(item):
        if item == 5:
            raise DataError("broken")
        return torch.tensor(item)

    got = []
    with pytest.raises(DataError, match="broken"):
        got.extend(item for item, _ in ahead(range(100), fetch))
    assert got == [0, 1, 2, 3, 4]
    stopped = ahead(range(100), lambda item: torch.tensor(item))
    next(stopped)
    stopped.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("zoo-ahead")]
