"""Mean and deviation: exact, whatever the order, the threads and the kind of images."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from zoo.data.reading.folder import FileImages
from zoo.data.reading.packed import StackedImages
from zoo.data.statistics import channel_statistics, statistics_of_counts
from zoo.data.threads import in_blocks
from zoo.errors import DataError


def reference(arrays):
    """Mean and deviation by numpy, all pixels at once in double precision."""
    pixels = np.concatenate([a.reshape(-1, 3) for a in arrays]).astype(np.float64) / 255
    return pixels.mean(0), pixels.std(0)


def stacked(pixels):
    return StackedImages(pixels=pixels, names=[str(index) for index in range(len(pixels))])


def written(folder, arrays):
    names = []
    for index, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{index}.png")
        names.append(f"{index}.png")
    return FileImages(root=folder, names=tuple(names))


def test_files_of_any_size_agree_with_numpy(tmp_path):
    photos = load_sample_images().images
    generator = np.random.default_rng(0)
    arrays = [photos[0][:120, :77], photos[1][:31, :200]] + [
        generator.integers(0, 256, (*generator.integers(1, 40, 2), 3), dtype=np.uint8)
        for _ in range(70)
    ]
    found = channel_statistics(written(tmp_path, arrays), num_threads=3)
    mean, std = reference(arrays)
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.std, std, rtol=0, atol=1e-12)
    assert found.num_pixels == sum(a.shape[0] * a.shape[1] for a in arrays)


@pytest.mark.parametrize("shape", [(70, 5, 9, 3), (70, 5, 9), (1, 1, 1)])
def test_decoded_pixels_agree_with_numpy(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    found = channel_statistics(stacked(pixels), num_threads=2)
    colour = pixels if pixels.ndim == 4 else np.repeat(pixels[..., None], 3, axis=-1)
    mean, std = reference([colour])
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.std, std, rtol=0, atol=1e-12)
    assert found.num_pixels == shape[0] * shape[1] * shape[2]


def test_threads_and_order_change_no_bit():
    pixels = np.random.default_rng(2).integers(0, 256, (200, 7, 7, 3), dtype=np.uint8)
    one = channel_statistics(stacked(pixels), num_threads=1)
    assert channel_statistics(stacked(pixels[::-1].copy()), num_threads=4) == one


def test_a_tiny_deviation_around_a_large_mean_is_not_lost():
    # The textbook formula in floats loses this one: 1e6 pixels of 255, a single one of 254.
    counts = [0] * 254 + [1, 999_999]
    found = statistics_of_counts([counts] * 3)
    share = 1e-6
    expected = np.sqrt(share * (1 - share)) / 255
    np.testing.assert_allclose(found.std, expected, rtol=1e-13)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**15), min_size=256, max_size=256).filter(any))
def test_counts_of_any_size_stay_in_range(counts):
    found = statistics_of_counts([counts] * 3)
    assert 0 <= found.mean[0] <= 1
    assert 0 <= found.std[0] <= 0.5
    values = np.arange(256, dtype=np.longdouble) / 255
    weights = np.array(counts, dtype=np.longdouble) / sum(counts)
    assert found.mean[0] == pytest.approx(float((values * weights).sum()), abs=1e-12)


def test_no_pixels_and_bad_images_are_errors(tmp_path):
    with pytest.raises(DataError):
        channel_statistics(stacked(np.zeros((0, 4, 4), dtype=np.uint8)), num_threads=1)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        channel_statistics(FileImages(root=tmp_path, names=("bad.png",)), num_threads=2)


def test_blocks_cover_every_index_once_and_progress_ends_at_the_total():
    told = []
    blocks = list(
        in_blocks(list, 100, num_threads=3, size=7, progress=lambda *now: told.append(now))
    )
    assert sorted(index for _, indices in blocks for index in indices) == list(range(100))
    assert all(list(block) == indices for block, indices in blocks)
    assert told[-1] == (100, 100)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_an_error_in_a_thread_comes_out():
    def work(block):
        time.sleep(0.001)  # slow, so threads take over after the first block
        if block.start:
            raise ValueError(f"block {block.start}")

    with pytest.raises(ValueError, match="block"):
        list(in_blocks(work, 10, num_threads=2, size=1))


def test_threads_take_over_from_the_callers_when_a_block_is_slow():
    def work(block):
        if block.start == 20_000:
            time.sleep(0.001 * len(block))
        return threading.current_thread() is threading.main_thread()

    mine = {block.start: own for block, own in in_blocks(work, 4000, num_threads=2, size=1000)}
    assert all(mine.values())
    mine = {block.start: own for block, own in in_blocks(work, 24_000, num_threads=2, size=1000)}
    assert [start for start, own in sorted(mine.items()) if not own] == [21_000, 22_000, 23_000]
