"""OpenVINO as an engine: one size of parts, no telemetry, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from zoo.network.inference import engine_missing, fast_forward

if missing := engine_missing("openvino"):
    pytest.skip(f"needs {', '.join(missing)}", allow_module_level=True)

ALONE = """
import os, sys, threading

reached = []

def audit(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        reached.append((event, str(arguments)))

sys.addaudithook(audit)
import torch
from torch import nn
from zoo.network.inference import fast_forward

cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
torch.set_num_threads(2)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()).eval()
x = torch.randn(8, 3, 16, 16)

def pinned():
    return hasattr(os, "sched_getaffinity") and os.sched_getaffinity(0) != cores

found = []
for number in (1, 300):
    forward = fast_forward(model, example=x, num_images=9, engine="openvino")
    assert forward.name == "openvino"
    forward(x.repeat(number, 1, 1, 1))
    found += forward._workers.map(lambda part: pinned(), [1, 2, 3]) + [pinned()]
    forward.close()
assert not any(found), found
left = [thread.name for thread in threading.enumerate() if "zoo" in thread.name]
assert not left, left
import openvino
assert "openvino_telemetry" not in sys.modules
import openvino_telemetry  # whoever wants it has it
assert not reached, reached
"""


def test_it_tells_nobody_writes_nothing_and_leaves_the_cores_alone(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    # In continuous integration the package would be silent by itself.
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JOB_NAME")}
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "APPDATA"):
        environment[name] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment, cwd=tmp_path,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(home.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, stride=2), nn.BatchNorm2d(24), nn.Hardswish(),
        nn.Conv2d(24, 24, 5, groups=24), nn.BatchNorm2d(24), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("last", [False, True])
def test_an_image_has_the_same_bits_in_a_batch_of_any_size(last):
    x = torch.randn(150, 3, 64, 64)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    forward = fast_forward(network(), example=x[:3], num_images=9, engine="openvino")
    whole = forward(x)
    assert forward.name == "openvino"
    assert whole.shape == (150, 24)
    for number in (1, 31, 32, 33, 64, 65, 149):
        assert torch.equal(forward(x[:number]), whole[:number])
    assert torch.equal(forward(x[77:90]), whole[77:90])
    again = fast_forward(network(), example=x[:8], num_images=9, engine="openvino")
    assert torch.equal(again(x), whole)
    with torch.no_grad():
        expected = network()(x)
    assert (whole - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_more_threads_than_it_was_made_for():
    x = torch.randn(40, 3, 64, 64)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        forward = fast_forward(network(), example=x, num_images=9, engine="openvino")
        alone = forward(x)
        torch.set_num_threads(4)
        assert torch.equal(forward(x), alone)
    finally:
        torch.set_num_threads(before)


def test_what_it_does_not_take_is_refused_in_one_line(capfd):
    notes: list[str] = []
    x = torch.randn(4, 3, 8, 8)

    class Determinants(nn.Module):
        def forward(self, images):
            return torch.linalg.det(images)

    forward = fast_forward(
        Determinants(), example=x, num_images=9, engine="openvino", noted=notes.append
    )
    assert forward.name == "folded"
    assert torch.allclose(forward(x), torch.linalg.det(x), rtol=1e-4)
    (note,) = notes
    assert re.fullmatch(r"inference engine folded(; openvino: [^\n/;]*\bDet\b[^\n/;]*)+", note)
    assert capfd.readouterr() == ("", "")


DROPPED = """
import faulthandler, os, signal, threading
import torch
from torch import nn
from zoo.network.inference import fast_forward

faulthandler.enable()  # which gives signals a stack of their own
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
images = torch.rand(4, 3, 16, 16)
held = [fast_forward(model, example=images, num_images=9, engine="openvino")]
assert held[0].name == "openvino"
held[0](images)
dropper = threading.Thread(target=lambda: held.pop().close())
dropper.start()
dropper.join()
received = []
signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
os.kill(os.getpid(), signal.SIGINT)
assert received == [signal.SIGINT]
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_finds_its_stack_after_an_engine_was_closed_in_another_thread():
    subprocess.run([sys.executable, "-c", DROPPED], check=True)
