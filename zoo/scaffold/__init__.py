"""``zoo plugins new``: a plugin as a package that builds, installs and passes its tests at once.

naming.py     the name that was given -> the names that follow from it, or why they will not do
examples.py   what is written for each kind, and the commands that try it
rendering.py  names and examples -> the text of each file, from templates/
writing.py    files -> a folder, whole or not at all
"""

from __future__ import annotations

from zoo.scaffold.examples import EXAMPLES, KindExample, new_commands
from zoo.scaffold.naming import Names, derive, notes_on, problems_with
from zoo.scaffold.rendering import SCAFFOLD, render
from zoo.scaffold.writing import check_target, write_folder

__all__ = [
    "EXAMPLES",
    "SCAFFOLD",
    "KindExample",
    "Names",
    "check_target",
    "derive",
    "new_commands",
    "notes_on",
    "problems_with",
    "render",
    "write_folder",
]
