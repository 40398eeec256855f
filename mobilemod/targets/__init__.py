"""The runtimes that files are lowered to: what is known of each without importing it.

A module here is one of them: its name is the target's, its `FACTS` what is known. Imports nothing
but the standard library: the room is taken to devices. What each does is in `export.targets`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

from mobilemod.targets.facts import Facts

_ROWS = (m.name for m in pkgutil.iter_modules(__path__) if m.name != "facts")
_FACTS = (importlib.import_module(f"{__name__}.{name}").FACTS for name in _ROWS)
TARGETS: dict[str, Facts] = {f.name: f for f in sorted(_FACTS, key=lambda f: (f.place, f.name))}
# Those that an export makes files for unasked.
DEFAULTS = tuple(name for name, facts in TARGETS.items() if not facts.installed_by)


def suffixes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The suffixes of the files of these targets."""
    return tuple(TARGETS[name].suffix for name in names)


SUFFIXES = suffixes_of(TARGETS)


def facts_of_file(path: Path) -> Facts | None:
    """The target whose suffix a file has, None where none has it."""
    return next((f for f in TARGETS.values() if f.suffix == path.suffix), None)


def suffixes_in_words() -> str:
    """All suffixes, as a sentence has them: ".a, .b or .c"."""
    return " or ".join(filter(None, (", ".join(SUFFIXES[:-1]), SUFFIXES[-1])))
