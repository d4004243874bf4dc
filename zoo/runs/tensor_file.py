"""Named tensors as the content of a safetensors file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes
from torch import Tensor

__all__ = ["TensorFile", "savable"]


@dataclass(frozen=True, slots=True, eq=False)
class TensorFile:
    """A file's content, which may be written to several places.

    Args:
        content: Its bytes.
        sha256: Their digest, in hex.
    """

    content: bytes
    sha256: str

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> TensorFile:
        """Returns the file of these tensors, as they are now."""
        content = to_bytes(savable(tensors))
        return cls(content, hashlib.sha256(content).hexdigest())

    @property
    def entry(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {"bytes": len(self.content), "sha256": self.sha256}

    def write(self, path: Path) -> None:
        """Writes it. A full disk raises OSError, which safetensors' own writer hides."""
        path.write_bytes(self.content)


def savable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies on the CPU, contiguous and sharing no memory, as safetensors wants them."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.data_ptr() in seen or plain.untyped_storage().nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.data_ptr())
        result[name] = plain
    return result
