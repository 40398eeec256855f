"""The runtimes that files are lowered to: what is known of each without importing it.

A module here is one of them: its name is the target's, "_" for ":", its `FACTS` what is known.
Imports nothing but the standard library: the room is taken to devices. What each does is in
`export.targets`.
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
DEFAULTS = tuple(n for n, facts in TARGETS.items() if not (facts.installed_by or facts.on_request))


# What else runs files of theirs on this machine: package -> its environment.
RUNTIMES = {r.package: r for facts in TARGETS.values() for r in facts.runtimes}


def suffixes_of(names: Iterable[str]) -> tuple[str, ...]:
    """The suffixes of the files of these targets."""
    return tuple(TARGETS[name].suffix for name in names)


SUFFIXES = suffixes_of(TARGETS)
# Of the files that Model Explorer shows by the names of their tensors.
EXPLORED = suffixes_of(name for name, facts in TARGETS.items() if facts.explorer)


def suffix_of(path: Path) -> str:
    """The suffix that a file is known by: the longest of a target that its name ends with, else its
    last one. One target's may end as another's does."""
    held = (s for s in SUFFIXES if path.name.endswith(s) and path.name != s)
    return max(held, key=len, default=path.suffix)


def facts_of_file(path: Path) -> Facts | None:
    """The target whose suffix a file has, None where none has it."""
    suffix = suffix_of(path)
    return next((f for f in TARGETS.values() if f.suffix == suffix), None)


def suffixes_in_words() -> str:
    """All suffixes, as a sentence has them: ".a, .b or .c"."""
    return " or ".join(filter(None, (", ".join(SUFFIXES[:-1]), SUFFIXES[-1])))
