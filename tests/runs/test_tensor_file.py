"""Tensor files: byte for byte what the safetensors library makes of the same tensors."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file, save

from zoo.runs.tensor_file import _TYPES, TensorFile, savable

FULL = Path("/dev/full")


def written(tmp_path, tensors):
    file, path = TensorFile.of(tensors), tmp_path / "x.safetensors"
    file.write(path)
    content = path.read_bytes()
    assert file.entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return content


def test_a_networks_weights_are_written_as_by_the_library(tmp_path):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 2)
    ).to(memory_format=torch.channels_last)
    weights = network.state_dict()
    plain = {name: tensor.contiguous() for name, tensor in weights.items()}
    assert written(tmp_path, weights) == save(plain)


@pytest.mark.parametrize("dtype", list(_TYPES), ids=str)
def test_every_type_comes_back(tmp_path, dtype):
    numbers = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    came = load(written(tmp_path, {"a": numbers, "one": numbers[0, 1], "none": numbers[:0]}))
    assert came["a"].dtype == dtype
    assert (came["one"].shape, came["none"].shape) == ((), (0, 3))
    assert bytes(came["a"].flatten().view(torch.uint8)) == bytes(
        numbers.flatten().view(torch.uint8)
    )


@settings(max_examples=60)
@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.lists(st.integers(0, 4), max_size=3),
            st.sampled_from([torch.float32, torch.int64, torch.uint8, torch.bfloat16]),
        ),
        max_size=6,
    )
)
def test_any_names_and_shapes_come_back(tmp_path_factory, shapes):
    try:
        "".join(shapes).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    tensors = {
        name: torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)
        for name, (shape, dtype) in shapes.items()
    }
    path = tmp_path_factory.mktemp("file")
    assert written(path, tensors) == written(path, dict(reversed(tensors.items())))
    came = load_file(path / "x.safetensors")
    assert came.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert came[name].dtype == tensor.dtype
        assert torch.equal(came[name], tensor)


def test_shared_and_strided_tensors_are_saved_apart():
    base = torch.arange(12.0).reshape(3, 4)
    saved = savable({"all": base, "same": base, "part": base[:, 1]})
    assert len({tensor.data_ptr() for tensor in saved.values()}) == 3
    assert torch.equal(saved["part"], base[:, 1])


@pytest.mark.skipif(not FULL.exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_is_heard():
    with pytest.raises(OSError, match="No space") as error:
        TensorFile.of({"a": torch.zeros(100_000)}).write(FULL)
    assert error.value.errno == errno.ENOSPC
