"""How often ``zoo data check`` calls pictures alike that are the same, and that are not.

python benchmarks/likeness.py [--fashion FILE] [--clipart FOLDER]

Found: copies of 300 random crops of the photographs that scikit-image and scikit-learn bring along,
each changed as the line says. Called alike: pairs among the first 20,000 training images of
Fashion-MNIST (``apt-get install dataset-fashion-mnist``; FILE is train-images-idx3-ubyte.gz), which
are all different pictures, and among clip art (``apt-get install openclipart-png``), where many
drawings are variants of another. No duplicates of equal pixels are counted.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import time
from pathlib import Path

import numpy as np
from common import machine
from data_check import photographs
from PIL import Image, ImageEnhance

from zoo.data.inspection.duplicates import joined
from zoo.data.inspection.likeness import alike_pairs, near_hashes, thumbnail, unpacked
from zoo.data.inspection.likeness import hashes as hashes_of
from zoo.data.pixels.decode import open_image
from zoo.data.reading.scan import scan_folder
from zoo.errors import DataError

BITS = (4, 6, 8)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def cut(image: Image.Image, share: float) -> Image.Image:
    width, height = image.size
    left, top = round(width * share), round(height * share / 2)
    return image.crop((left, top, round(width * (1 - 0.7 * share)), height))


CHANGES = {
    "JPEG, quality 80": lambda image: jpeg(image, 80),
    "JPEG, quality 50": lambda image: jpeg(image, 50),
    "half the size": lambda image: image.resize((128, 128), Image.Resampling.BICUBIC),
    "64 x 64 pixels, bilinear": lambda image: image.resize((64, 64), Image.Resampling.BILINEAR),
    "brightness 1.1": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "brightness 0.8": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "contrast 1.2": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "1 % cut off": lambda image: cut(image, 0.01),
    "3 % cut off": lambda image: cut(image, 0.03),
}


def crops(count: int) -> list[Image.Image]:
    random, sources = np.random.default_rng(0), photographs()
    found = []
    for index in range(count):
        photo = sources[index % len(sources)]
        side = int(min(photo.size) * random.uniform(0.4, 1.0))
        left = int(random.integers(0, photo.width - side + 1))
        top = int(random.integers(0, photo.height - side + 1))
        found.append(photo.crop((left, top, left + side, top + side)).resize((256, 256)))
    return found


def fashion(path: Path) -> list[bytes]:
    """Returns the thumbnails of the first 20,000 training images."""
    pixels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16)
    images = np.unique(pixels.reshape(-1, 28 * 28)[:20_000], axis=0).reshape(-1, 28, 28)
    return [thumbnail(Image.fromarray(image)) for image in images]


def clipart(folder: Path) -> list[bytes]:
    """Returns the thumbnails of drawings, those of equal pixels once."""
    found: dict[bytes, bytes] = {}
    for name in scan_folder(folder).sizes:
        try:
            image = open_image(folder / name, name=name)
        except DataError:
            continue
        key = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
        found.setdefault(key, thumbnail(image))
    return list(found.values())


def print_alike(name: str, thumbnails: list[bytes]) -> None:
    thumbs = unpacked(thumbnails)
    for bits in BITS:
        start = time.process_time()
        pairs = [
            pair
            for first, second in alike_pairs(thumbs, bits=bits)
            for pair in zip(first.tolist(), second.tolist(), strict=True)
        ]
        seconds = time.process_time() - start
        by_hash = sum(len(first) for first, _ in near_hashes(hashes_of(thumbs), bits=bits))
        groups = joined(len(thumbs), pairs)
        num_images = sum(map(len, groups))
        print(f"{name:14} {len(thumbs):>7,} images, {bits} bits: {by_hash:>10,} pairs by the hash, "
              f"{len(pairs):>6,} alike, {num_images:>6,} images in {len(groups):,} groups, "
              f"{seconds:.1f} s of processor")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--clipart", type=Path)
    args = parser.parse_args()
    print(machine())
    originals = crops(300)
    print(f"{'found of 300 copies':26} " + " ".join(f"{bits} bits" for bits in BITS))
    for name, change in CHANGES.items():
        both = [[thumbnail(image), thumbnail(change(image))] for image in originals]
        shares = [
            sum(any(len(a) for a, _ in alike_pairs(unpacked(pair), bits=bits)) for pair in both)
            / len(both)
            for bits in BITS
        ]
        print(f"{name:26} " + " ".join(f"{share:>6.1%}" for share in shares))
    if args.fashion:
        print_alike("Fashion-MNIST", fashion(args.fashion))
    if args.clipart:
        print_alike("clip art", clipart(args.clipart))


if __name__ == "__main__":
    main()
