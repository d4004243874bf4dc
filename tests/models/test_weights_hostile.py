"""Weights files that are broken or hostile: no code is run, and each says what it is."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zoo.errors import CheckpointError
from zoo.network.weights import read_state

# ---- broken and hostile files -----------------------------------------------------------------


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain-pickle", "inside"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, form):
    canary, path = tmp_path / "canary", tmp_path / "model.pth"
    content = Canary(canary)
    if form == "plain-pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        held = (
            {"state_dict": {"fc.weight": torch.zeros(1), "x": content}}
            if form == "inside"
            else content
        )
        torch.save(held, path, _use_new_zipfile_serialization=form != "legacy")
    with pytest.raises(CheckpointError) as error:
        read_state(path)
    assert not canary.exists()
    assert error.value.exit_code == 4
    if form == "plain-pickle":  # of a newer protocol: refused before its code is looked at
        assert "cannot be read as weights" in error.value.what
    else:
        assert "could run code" in error.value.what
        assert "mkdir" in error.value.found


def test_the_canary_would_sing(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(Canary(tmp_path / "canary"), path)
    torch.load(path, weights_only=False)
    assert (tmp_path / "canary").exists()


def test_a_whole_pickled_network_is_refused_with_advice(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="could run code") as error:
        read_state(tmp_path / "model.pth")
    assert "state_dict()" in error.value.hint


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named_as_such(tmp_path, suffix, share):
    path = tmp_path / f"weights{suffix}"
    state = {"fc.weight": torch.rand(40, 40), "fc.bias": torch.rand(40)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"weights\.(pth|safetensors)"):
        read_state(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"not a model", b"PK\x03\x04rubbish", b"\x80\x02."]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_rubbish_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_state(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(3), {1: torch.zeros(1)}, {}])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="no named tensors"):
        read_state(tmp_path / "model.pth")


def test_sparse_tensors_are_refused(tmp_path):
    torch.save({"fc.weight": torch.eye(3).to_sparse()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="sparse"):
        read_state(tmp_path / "model.pth")
