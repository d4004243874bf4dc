"""What a source is: a folder or a repository with a configuration, a processor, and weights.

Both are strangers' files. Their JSON is read as data, of a limited size, without what would make
the library run or fetch anything; weights are read from safetensors and from nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import CheckpointError, MachineError, UsageError, in_words, printable
from zoo.network.weights import fetch
from zoo.protocols import Preprocessing, Weights

__all__ = ["Source", "plain_config"]

_CONFIG = "config.json"
_PROCESSOR = "preprocessor_config.json"
_WEIGHTS = "model.safetensors"
_SHARDED = "model.safetensors.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_HUB_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_MOST_BYTES = 4 << 20  # 21,000 classes with their names take 1.6 MB

_NEVER_TAKEN = frozenset({
    "attn_implementation", "experts_implementation", "auto_map", "custom_pipelines",
    "quantization_config", "compression_config", "dtype", "torch_dtype", "output_attentions",
    "output_hidden_states", "return_dict", "use_return_dict", "use_kernels", "name_or_path",
    "gradient_checkpointing", "transformers_version", "architectures", "id2label", "label2id",
    "num_labels",
})  # fmt: skip
"""Keys of a configuration that choose code, kernels or number formats, or that zoo itself sets. An
``attn_implementation`` can name a repository whose kernel is then fetched and run."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder, or a repository on the Hugging Face hub.

    Args:
        text: As the user wrote it.
        folder: The folder; None for a repository.
        repository: Its id; empty for a folder.
        revision: Branch, tag or commit; None for the main branch.
    """

    text: str
    folder: Path | None = None
    repository: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Returns what a text means: a folder that exists, else a repository.

        Raises:
            UsageError: Neither.
        """
        path = Path(text).expanduser()
        if path.is_dir():
            return cls(text, folder=path)
        looks_like_a_path = text.startswith((".", "/", "~")) or "\\" in text
        found = None if looks_like_a_path else _HUB_ID.fullmatch(text)
        if found is None or ".." in text:
            raise UsageError(
                f"there is no folder {printable(text)!r}",
                found=f"looked for from {printable(Path.cwd())}"
                if looks_like_a_path
                else "nor is it the id of a repository",
                hint="source=./FOLDER or source=OWNER/NAME; a run is used where it was trained",
            )
        return cls(text, repository=found["name"], revision=found["revision"])

    def config(self) -> dict[str, Any]:
        """Returns the configuration as the file has it.

        Raises:
            CheckpointError: There is none, or it is no JSON object.
            MachineError: It is on the hub and cannot be fetched.
        """
        table = self._json(_CONFIG)
        if table is None:
            raise CheckpointError(
                f"the source {printable(self.text)!r} has no {_CONFIG}",
                hint="give what save_pretrained wrote, or the id of a model on the hub",
            )
        return table

    def processor(self) -> dict[str, Any] | None:
        """Returns the image processor's JSON; None where the source has none."""
        return self._json(_PROCESSOR)

    def weights(self, *, num_classes: int, preprocessing: Preprocessing) -> tuple[Weights, ...]:
        """Returns where its weights are; nothing for a folder with a configuration alone.

        Raises:
            CheckpointError: They are pickles, or in more than one file.
        """
        common: dict[str, Any] = {
            "name": self.text,
            "num_classes": num_classes,
            "preprocessing": preprocessing,
            "convert": "zoo_transformers.models:convert",
        }
        if self.folder is None:
            return (Weights(hub=(self.repository, _WEIGHTS, self.revision), **common),)
        file = self.folder / _WEIGHTS
        if file.is_file():
            return (Weights(path=str(file.absolute()), **common),)
        if (self.folder / _SHARDED).is_file():
            raise CheckpointError(
                f"the weights of {printable(self.text)!r} are in several files, which is not read",
                hint="save_pretrained(FOLDER, max_shard_size='100GB') writes one",
            )
        if pickles := [name for name in _PICKLES if (self.folder / name).exists()]:
            raise CheckpointError(
                f"the weights of {printable(self.text)!r} are refused: a pickle can run code",
                found=f"{pickles[0]}, and no {_WEIGHTS}",
                hint="in a program that trusts it: model.save_pretrained(FOLDER); or take the "
                "pickle out of the folder for random weights",
            )
        return ()

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name if self.folder is not None else self._fetched(name)
        if path is None or not path.is_file():
            return None
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES:,} bytes")
            table = json.loads(content)
            if not isinstance(table, dict):
                raise ValueError(f"a {type(table).__name__}, no object")
        except (OSError, RecursionError, ValueError) as error:
            raise CheckpointError(
                f"{name} of {printable(self.text)!r} cannot be read",
                found=in_words(error, kind=False),
            ) from error
        return table

    def _fetched(self, name: str) -> Path | None:
        """Returns a file of the repository on this machine; None where it has no such file."""
        record = Weights(name=name, hub=(self.repository, name, self.revision))
        try:
            return fetch(record)
        except MachineError as error:
            if "answers 404" in error.what and name != _CONFIG:
                return None
            cause = error.what.rpartition("downloaded: ")[2]
            raise MachineError(
                f"{name} of {printable(self.text)!r} cannot be had: {cause}",
                found=error.found,
                hint="copy the repository here and give source=./FOLDER",
            ) from error


def plain_config(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration without private keys and without what zoo decides, at any depth.

    >>> plain_config({"hidden_size": 8, "_attn_implementation": "x/y", "auto_map": {}})
    {'hidden_size': 8}
    """
    return {
        key: plain_config(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if isinstance(key, str) and not key.startswith("_") and key not in _NEVER_TAKEN
    }
