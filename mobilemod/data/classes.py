"""Which output of a model a class folder's name stands for: by name, never by count or order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mobilemod.errors import UserError

SHOWN = 3


def name_key(name: str) -> str:
    """A label name without case, underscores and repeated spaces: "Tench_fish" -> "tench fish"."""
    return " ".join(name.replace("_", " ").casefold().split())


def class_index(
    root: Path, folders: Iterable[str], ids: Sequence[str], labels: Sequence[str]
) -> dict[str, int]:
    """Folder name -> output index of a model with these label ids and names, in output order.

    A folder is known by its id, by its index as an integer ("7", "007"), or by its label: whole or
    one of the synonyms between commas, where that names one class alone. Raises `UserError` with
    the first names that don't fit, and for two folders of one class.
    """
    exact = {name: i for i, name in enumerate(ids)}
    named: dict[str, set[int]] = {}
    for i, label in enumerate(labels):
        for part in {label, *label.split(",")}:
            named.setdefault(name_key(part), set()).add(i)
    found: dict[str, int] = {}
    unknown = []
    for name in folders:
        index = exact.get(name)
        if index is None and name.isascii() and name.isdigit() and len(name) < 10:
            index = int(name) if int(name) < len(ids) else None
        elif index is None and len(some := named.get(name_key(name), set())) == 1:
            (index,) = some
        if index is None:
            unknown.append(name)
        else:
            found[name] = index
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise UserError(
            f"{root}: {', '.join(map(repr, unknown[:SHOWN]))}{more} name no class of the model, or "
            f"more than one; name the folders by label id ({ids[0]}), index (0 to {len(ids) - 1}) "
            "or label"
        )
    owner: dict[int, str] = {}
    for name, index in found.items():
        if index in owner:
            raise UserError(
                f"{root}: the folders {owner[index]!r} and {name!r} are the same class "
                f"({index}); join them"
            )
        owner[index] = name
    return found
