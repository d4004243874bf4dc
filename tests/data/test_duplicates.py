"""Pictures that are equal or alike: all found, few that are not, and fast when there are many."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from zoo.data.inspection.duplicates import joined
from zoo.data.inspection.likeness import alike_pairs, hashes, near_hashes, thumbnail, unpacked


def crops(count, side=160):
    """Real pictures: crops of two photographs, none over another."""
    boxes = [
        photo[top : top + side, left : left + side]
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - side + 1, side)
        for left in range(0, photo.shape[1] - side + 1, side)
    ]
    return [Image.fromarray(box) for box in boxes[:count]]


def jpeg(image, quality):
    content = BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def pairs_of(images, bits=6):
    thumbs = unpacked([thumbnail(image) for image in images])
    return {
        tuple(sorted(pair))
        for first, second in alike_pairs(thumbs, bits=bits)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    }


CHANGES = {
    "jpeg": (lambda image: jpeg(image, 60), 11),  # one crop is of the sky, without contrast
    # These two clip the bright sky of some crops, so that it is not the same picture any more.
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.1), 10),
    "contrast": (lambda image: ImageEnhance.Contrast(image).enhance(1.2), 9),
    "smaller": (lambda image: image.resize((100, 100), Image.Resampling.BILINEAR), 11),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_found_and_other_pictures_are_not(name):
    change, at_least = CHANGES[name]
    originals = crops(12)
    found = pairs_of([*originals, *(change(image) for image in originals)])
    assert found <= {(index, index + 12) for index in range(12)}
    assert len(found) >= at_least


def test_colour_tells_pictures_apart_that_differ_in_nothing_else():
    red = Image.new("RGB", (40, 40), (220, 30, 30))
    red.paste((250, 250, 250), (10, 10, 30, 30))
    red.paste((20, 20, 20), (12, 25, 20, 38))
    blue = Image.merge("RGB", red.split()[::-1])
    thumbs = unpacked([thumbnail(red), thumbnail(blue)])
    assert int(hashes(thumbs)[0] ^ hashes(thumbs)[1]).bit_count() <= 20
    assert pairs_of([red, blue], bits=10) == set()


def test_blank_pages_are_like_no_other():
    grey = [Image.new("RGB", (30, 30), (level, level, level)) for level in (250, 251, 255)]
    assert pairs_of(grey) == set()


def test_the_hash_is_the_one_of_the_definition():
    images = crops(6)
    thumbs = unpacked([thumbnail(image) for image in images])
    for image, found in zip(images, hashes(thumbs), strict=True):
        small = image.resize((18, 16), Image.Resampling.BOX)
        array = np.asarray(small, dtype=np.float64) @ [0.299, 0.587, 0.114]
        cells = array.reshape(8, 2, 9, 2).mean((1, 3))
        bits = (np.diff(cells, axis=1) > 2.0).ravel()
        assert (
            np.unpackbits(np.array([found]).view(np.uint8)).astype(bool).tolist() == bits.tolist()
        )


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=10)), max_size=40),
    st.integers(0, 10),
)
def test_every_near_pair_is_found_once_and_no_other(seeds, flips, bits):
    values = list(seeds)
    for index, flipped in flips:
        values.append(seeds[index % len(seeds)] ^ sum(1 << bit for bit in flipped))
    found = [
        tuple(sorted(pair))
        for first, second in near_hashes(np.array(values, dtype=np.uint64), bits=bits)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    ]
    expected = {
        (i, j)
        for i, j in combinations(range(len(values)), 2)
        if (values[i] ^ values[j]).bit_count() <= bits
    }
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_brute_force_in_double_precision_finds_the_same():
    generator = np.random.default_rng(0)
    base = unpacked([thumbnail(image) for image in crops(12)]).astype(np.float64)
    strengths = generator.uniform(0, 6, (12, 8, 1, 1, 1))
    noisy = base[:, None] + strengths * generator.standard_normal((12, 8, 16, 18, 3))
    thumbs = noisy.round().clip(0, 255).astype(np.uint8).reshape(-1, 16, 18, 3)
    flat = thumbs - thumbs.mean((1, 2), keepdims=True)
    correlation = np.corrcoef(flat.reshape(len(flat), -1))
    hash_list = hashes(thumbs).tolist()
    close = {
        (i, j) for i, j in combinations(range(len(thumbs)), 2)
        if (hash_list[i] ^ hash_list[j]).bit_count() <= 6
    }  # fmt: skip
    surely = {pair for pair in close if correlation[pair] > 0.99501}
    perhaps = {pair for pair in close if correlation[pair] > 0.99499}
    found = {
        tuple(sorted(pair))
        for first, second in alike_pairs(thumbs, bits=6)
        for pair in zip(first.tolist(), second.tolist(), strict=True)
    }
    assert 20 < len(surely) < len(close)  # noise that is too strong for some
    assert found <= perhaps
    groups = [set(group) for group in joined(len(thumbs), found)]
    assert sum(any({i, j} <= group for group in groups) for i, j in surely) >= 0.98 * len(surely)


def test_ten_thousand_copies_are_one_group_and_ten_thousand_pairs():
    base = np.frombuffer(thumbnail(crops(1)[0]), dtype=np.uint8).reshape(1, 16, 18, 3)
    copies = np.repeat(base, 10_000, axis=0)
    num_pairs, pairs = 0, []
    for first, second in alike_pairs(copies, bits=6):
        num_pairs += len(first)
        pairs += zip(first.tolist(), second.tolist(), strict=True)
    assert num_pairs == 9_999
    assert len(joined(10_000, pairs)) == 1


def test_ten_thousand_hashes_that_share_most_bits_do_not_blow_up():
    low = np.random.default_rng(0).permutation(2**14)[:10_000].astype(np.uint64)
    compared = sum(len(first) for first, _ in near_hashes(low, bits=2))
    assert compared > 0  # it ends, and finds neighbours, although all agree in most bands


@settings(max_examples=40)
@given(st.integers(1, 30), st.data())
def test_groups_are_the_connected_components(count, data):
    index = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(index, index), max_size=40))
    labels = list(range(count))
    for _ in range(count):  # the reference: spread the smallest label until nothing changes
        for a, b in pairs:
            labels[a] = labels[b] = min(labels[a], labels[b])
    expected = [
        [i for i in range(count) if labels[i] == label]
        for label in sorted(set(labels))
        if labels.count(label) > 1
    ]
    assert joined(count, pairs) == expected
