"""Places where a plugin is installed, and commands run there. None of them touches this one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MODULES = {"zoo": "zoo.cli.main", "pytest": "pytest", "pip": "pip", "ruff": "ruff", "mypy": "mypy"}
"""Commands and the modules that they are: scripts belong to another interpreter."""


_PLAIN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""As an author has it who installed what the plugin asks for, and no more of pytest's plugins."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An interpreter and the variables that its processes get."""

    python: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, words: Sequence[object], *, folder: Path, code: int | None = 0) -> str:
        """Returns what a command printed, run in a folder; fails unless it ends with ``code``."""
        program, *rest = map(str, words)
        module = MODULES.get(program)
        command = [str(self.python), *(["-m", module] if module else [program]), *rest]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **self.variables}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False,
        )  # fmt: skip
        shown = " ".join(map(str, words))
        assert code is None or done.returncode == code, f"$ {shown}\n{done.stdout[-6000:]}"
        return done.stdout


def layered(folder: Path) -> Place:
    """Makes a virtual environment that sees all packages of this one, and installs into itself."""
    python = empty(folder, pip=False)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = next(folder.glob(f"lib/{name}/site-packages"), folder / "Lib" / "site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [f"import site; site.addsitedir({path!r})" for path in sorted(paths)]
    (site / "_layer.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Place(python=python, variables={"PIP_NO_INDEX": "1", **_PLAIN})


def empty(folder: Path, *, pip: bool) -> Path:
    """Makes a virtual environment and returns its interpreter."""
    words = [sys.executable, "-m", "venv", *([] if pip else ["--without-pip"]), str(folder)]
    subprocess.run(words, check=True, timeout=300, capture_output=True)
    return next(
        path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists()
    )


def unpacked(wheel: Path, site: Path) -> Place:
    """Unpacks a wheel into a folder that this interpreter's processes import from."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Place(python=Path(sys.executable), variables={"PYTHONPATH": path, **_PLAIN})
