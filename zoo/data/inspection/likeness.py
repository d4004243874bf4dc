"""What an image looks like in 864 bytes, and which pairs of images look alike.

A picture becomes a thumbnail of 18 x 16 pixels, and that a hash of 64 bits: whether each of 9 x 8
cells is darker than the cell to its right ("dHash", N. Krawetz, "Kind of like that", 2013). Here a
step must be more than two grey levels, so that the noise of JPEG in an even background sets no bit.
Two pictures are alike when

- their hashes differ in at most so many bits, and
- their thumbnails correlate: the distance that is left after brightness and contrast are matched
  is at most a tenth of the contrast (correlation of 0.995), and
- brightness differs by at most 64 levels and contrast by a factor of at most 2.

Pictures without contrast (a blank page) are like no other; only equal pixels make them duplicates.

The hash alone calls far too much alike. With 6 bits, of all pairs of 20,000 different images of
Fashion-MNIST, 1.4 million by the hash and 44 by all three rules, most of them trousers of one cut.
Found of copies of 300 crops of photographs: all saved as JPEG of quality 80, 99.7 % of quality 50,
97 % made a tenth brighter or a fifth more contrasty, 81 % at half the size, 73 % at a quarter, 34 %
made grey, 32 % with 1 % cut off and 2 % with 3 % cut off. So what it finds is the same picture;
what it misses is cropped ones. ``benchmarks/likeness.py`` makes the figures again.

Pairs of hashes within k bits are found without comparing all: 64 bits in k + 2 bands, at most k of
them differ, so at least two bands agree (Manku, Jain and Das Sarma, "Detecting near-duplicates for
web crawling", WWW 2007). Sorting by each pair of bands brings such hashes together.

Suffixes: N images, H x W cells, C channels, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["MAX_BITS", "alike_pairs", "hashes", "near_hashes", "thumbnail", "unpacked"]

MAX_BITS = 10
"""Most bits that hashes may differ in; with more, pairs of bands are too short to sort by."""

_HEIGHT, _WIDTH = 16, 18
_STEP = 2  # grey levels
_LEAST_CONTRAST = 3.0  # levels; standard deviation over the thumbnail
_DISTANCE = 0.1
_BRIGHTNESS, _CONTRAST = 64.0, 2.0
_NEIGHBOURS = 1000
_BLOCK = 16_384  # pairs that are compared at a time: at most 0.2 GB


def thumbnail(image: Image.Image) -> bytes:
    """Returns the picture at 18 x 16 pixels, each the mean of what it covers: uint8 (H, W, C)."""
    small = image.convert("RGB").resize((_WIDTH, _HEIGHT), Image.Resampling.BOX)
    return small.tobytes()


def unpacked(thumbnails: list[bytes]) -> NDArray[np.uint8]:
    """Returns thumbnails as one array, (N, H, W, C)."""
    flat = np.frombuffer(b"".join(thumbnails), dtype=np.uint8)
    return flat.reshape(-1, _HEIGHT, _WIDTH, 3)


def hashes(thumbs_NHWC: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Returns the hash of each thumbnail, by the rule at the top of this file."""
    weights_C = np.array([299, 587, 114], dtype=np.int32)  # ITU-R 601
    hash_N = np.empty(len(thumbs_NHWC), dtype=np.uint64)
    for first in range(0, len(thumbs_NHWC), 4096):
        block = thumbs_NHWC[first : first + 4096].astype(np.int32)
        cells = block.reshape(-1, _HEIGHT // 2, 2, _WIDTH // 2, 2, 3).sum((2, 4)) @ weights_C
        brighter = cells[:, :, 1:] - cells[:, :, :-1] > _STEP * 4 * 1000
        packed = np.packbits(brighter.reshape(-1, 64), axis=1)
        hash_N[first : first + 4096] = packed.view(np.uint64).ravel()
    return hash_N


def alike_pairs(
    thumbs_NHWC: NDArray[np.uint8], *, bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields arrays of the first and the second of pairs that look alike.

    Images of equal hash that also look alike are all paired with one of them, so that a thousand
    copies are a thousand pairs and not half a million.

    Args:
        thumbs_NHWC: What the images look like.
        bits: In how many bits hashes may differ, 0 to ``MAX_BITS``.
    """
    comparison = _Comparison(thumbs_NHWC)
    rows_N = np.flatnonzero(comparison.contrast_N >= _LEAST_CONTRAST)
    hash_N = hashes(thumbs_NHWC)
    order = rows_N[np.argsort(hash_N[rows_N], kind="stable")]
    leaders: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    ends = np.flatnonzero(np.diff(hash_N[order])) + 1
    for same in np.split(order, ends) if len(order) else []:
        rest = same
        for _ in range(_NEIGHBOURS):
            if len(rest) == 0:
                break
            leader, others = rest[:1], rest[1:]
            leaders.append(leader)
            close = comparison.alike(np.broadcast_to(leader, others.shape), others)
            if close.any():
                yield np.broadcast_to(leader, others.shape)[close], others[close]
            rest = others[~close]
    row_L = np.concatenate(leaders)
    for first_P, second_P in near_hashes(hash_N[row_L], bits=bits):
        for start in range(0, len(first_P), _BLOCK):
            a = row_L[first_P[start : start + _BLOCK]]
            b = row_L[second_P[start : start + _BLOCK]]
            close = comparison.alike(a, b)
            if close.any():
                yield a[close], b[close]


def near_hashes(
    hash_N: NDArray[np.uint64], *, bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields arrays of the first and second index of pairs of hashes within ``bits`` of each other.

    Every such pair comes once, unless more than a thousand hashes agree in a pair of
    bands: each is then compared with its thousand followers in order of the hash. That bounds the
    work for any input to a thousand comparisons an image and pair of bands.

    Args:
        hash_N: The hashes.
        bits: Greatest number of bits that differ, 0 to ``MAX_BITS``.
    """
    edges = np.linspace(0, 64, bits + 3).round().astype(int)
    bands = [
        np.uint64(sum(1 << bit for bit in range(low, high)))
        for low, high in pairwise(edges.tolist())
    ]
    for i, j in combinations(range(len(bands)), 2):
        key_N = hash_N & (bands[i] | bands[j])
        order = np.lexsort((hash_N, key_N))
        key_N, sorted_N = key_N[order], hash_N[order]
        at = np.arange(len(order))
        for offset in range(1, _NEIGHBOURS + 1):
            at = at[at + offset < len(order)]
            at = at[key_N[at] == key_N[at + offset]]
            if len(at) == 0:
                break
            difference = sorted_N[at] ^ sorted_N[at + offset]
            near = _num_ones(difference) <= bits
            for earlier in range(j):
                if earlier != i:  # where an earlier band agrees, the pair came with that one
                    near &= (difference & bands[earlier]) != 0
            if near.any():
                yield order[at[near]], order[at[near] + offset]


def _num_ones(number_P: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns how many bits of each number are set, by adding neighbouring fields in parallel."""
    one, two, four = (np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333,
                                                   0x0F0F0F0F0F0F0F0F))  # fmt: skip
    sums = number_P - ((number_P >> np.uint64(1)) & one)
    sums = (sums & two) + ((sums >> np.uint64(2)) & two)
    sums = (sums + (sums >> np.uint64(4))) & four
    ones: NDArray[np.uint64] = (sums * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return ones


class _Comparison:
    """Compares thumbnails pair by pair. Brightness, contrast and a coarse form are made once."""

    def __init__(self, thumbs_NHWC: NDArray[np.uint8]) -> None:
        count = len(thumbs_NHWC)
        self._thumbs = thumbs_NHWC
        self._mean_NC = np.empty((count, 3), dtype=np.float32)
        self._coarse_NF = np.empty((count, 4 * 6 * 3), dtype=np.float32)
        self.contrast_N = np.empty(count, dtype=np.float32)
        for first in range(0, count, 4096):
            rows = slice(first, first + 4096)
            around, self._mean_NC[rows] = self._around_mean(thumbs_NHWC[rows])
            self.contrast_N[rows] = np.sqrt((around**2).mean((1, 2, 3)))
            coarse = around.reshape(-1, 4, 4, 6, 3, 3).mean((2, 4)).reshape(-1, 4 * 6 * 3)
            self._coarse_NF[rows] = coarse / np.maximum(self.contrast_N[rows, None], 1e-6)

    def alike(self, a_P: NDArray[np.int64], b_P: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns whether the two of each pair are alike, by the rules at the top of this file."""
        bright = np.abs(self._mean_NC[a_P] - self._mean_NC[b_P]).max(1, initial=0) <= _BRIGHTNESS
        ratio = self.contrast_N[a_P] / self.contrast_N[b_P]
        alike: NDArray[np.bool_] = bright & (ratio <= _CONTRAST) & (ratio >= 1 / _CONTRAST)
        # Means of blocks are nearer to each other than the blocks: what is far apart here is far
        # apart in full. Spares nearly all full comparisons of data with few kinds of pictures.
        kept = np.flatnonzero(alike)
        apart = ((self._coarse_NF[a_P[kept]] - self._coarse_NF[b_P[kept]]) ** 2).mean(1)
        alike[kept] = apart <= _DISTANCE**2 * 1.001
        kept = np.flatnonzero(alike)
        around_a, _ = self._around_mean(self._thumbs[a_P[kept]])
        around_b, _ = self._around_mean(self._thumbs[b_P[kept]])
        product = (around_a * around_b).mean((1, 2, 3))
        correlation = product / (self.contrast_N[a_P[kept]] * self.contrast_N[b_P[kept]])
        alike[kept] = 2 * (1 - correlation) <= _DISTANCE**2
        return alike

    def _around_mean(
        self, thumbs_PHWC: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns thumbnails less their mean colour, and that colour (P, C)."""
        values = thumbs_PHWC.astype(np.float32)
        mean_PC: NDArray[np.float32] = values.mean((1, 2))
        return values - mean_PC[:, None, None], mean_PC
