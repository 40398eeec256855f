"""Names of a network's outputs: a user's file, or what a configuration says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilemod.data.imagefolder import imagenet_synsets
from mobilemod.errors import UserError

if TYPE_CHECKING:
    from mobilemod.tasks.task import Name


def given_labels(given: Path | Sequence[str], count: int) -> tuple[str, ...]:
    """The `count` names that a user gave, or those in a file: one a line, or a JSON list.

    `UserError` for what can't be read, another number of names, an empty one, one given twice.
    """
    if not isinstance(given, Path):
        return _checked(given, count, "labels")
    return _checked(_names_in(given), count, f"--labels {given}")


def _names_in(path: Path) -> Sequence[Any]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it isn't UTF-8"
        raise UserError(f"--labels {path}: {why}; give a file with a name a line") from None
    names: Any = [line.strip() for line in text.rstrip().splitlines()]
    if text.lstrip().startswith("["):
        try:
            names = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"--labels {path} is no JSON list: {error}") from None
    return names


def _checked(names: Sequence[Any], count: int, where: str) -> tuple[str, ...]:
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}: name {number} is {name!r}; give a text for each")
        if name in names[: number - 1]:
            raise UserError(f"{where}: {name!r} stands there twice; give each its own")
    if len(names) != count:
        raise UserError(f"{where} has {len(names)} names for {count} outputs; give one each")
    return tuple(names)


def labels_of(id2label: Any) -> tuple[Name, ...]:
    """The names in a configuration's `id2label`, {"0": "cat", …}; () where they are placeholders.

    ImageNet's classes, known by their names and order, get its ids, by which folders of images are
    called. Of names that aren't unique the ids are numbers. ValueError where ids aren't 0, 1, ….
    """
    if not isinstance(id2label, Mapping):
        return ()
    by_id = {int(key): str(name) for key, name in id2label.items()}
    names = [by_id[i] for i in sorted(by_id)]
    if sorted(by_id) != list(range(len(names))):
        raise ValueError(f"ids from {min(by_id)} to {max(by_id)} for {len(names)} names")
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return ()
    ids = names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]
    synsets = imagenet_synsets()
    if len(names) == len(synsets):
        parts = ({p.strip().lower() for p in name.split(",")} for name in names)
        known = (label.lower() for _, label in synsets.values())
        if sum(label in part for label, part in zip(known, parts, strict=True)) > len(names) / 2:
            ids = list(synsets)
    return tuple({"id": i, "label": name} for i, name in zip(ids, names, strict=True))
