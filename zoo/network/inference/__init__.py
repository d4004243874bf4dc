"""What a finished network, or its frozen part, is run with: an inference engine.

A network that does not train need not run as it trains. :func:`fast_forward` turns one into a
function from images to outputs, by the fastest engine that gives the same outputs:

    torch    the module itself, as it trains
    folded   a copy in channels_last, each batch norm folded into the convolution before it
    onnx     ONNX Runtime on the CPU (the packages of the extra ``onnx``)
    openvino OpenVINO on the CPU (the packages of the extra ``openvino``)

    choosing.py    fast_forward: what is proved, measured and taken
    forwards.py    the engines as functions
    openvino_forward.py  the one that OpenVINO computes
    candidates.py  the engines that one network can have
    folding.py     the folded copy
    leavings.py    what a pass leaves in a network, which threads must not share
    exporting.py   the network as an ONNX model
    proof.py       whether two forward functions give the same
    prefix.py      the part of a network before its head, as a module
"""

from zoo.network.inference.choosing import ENGINES, fast_forward
from zoo.network.inference.exporting import engine_missing, onnx_missing, to_onnx
from zoo.network.inference.forwards import Forward
from zoo.network.inference.prefix import prefix_of

__all__ = [
    "ENGINES", "Forward", "engine_missing", "fast_forward", "onnx_missing", "prefix_of", "to_onnx",
]  # fmt: skip
