"""Which output of a model a class folder's name stands for: by name, never by count or order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from mobilemod.errors import UserError, shown

SHOWN = 3
SORTED = "sorted"
FORMAT = (
    'a JSON object {"folder": "class"}, a JSON list of the folders in the order of the outputs, or '
    "lines of folder,class"
)


@dataclass(frozen=True)
class ClassNames:
    """What `--classes` says. folders: folder -> class, by id, index or label. order: the folders in
    the order of the model's outputs. sorted: that order is the names' sorted one."""

    folders: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    sorted: bool = False

    @classmethod
    def read(cls, given: str) -> ClassNames:
        """The word "sorted", or a file (`FORMAT`); `UserError` where it is neither."""
        if given == SORTED:
            return cls(sorted=True)
        path = Path(given)
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it isn't UTF-8"
            raise UserError(
                f"--classes {shown(path)}: {why}; give {FORMAT}, or the word {SORTED}"
            ) from None
        return _parse(path, text)


def _parse(path: Path, text: str) -> ClassNames:
    if text.lstrip()[:1] in ("{", "["):
        try:
            values = json.loads(text, object_pairs_hook=lambda pairs: _no_twice(path, pairs))
        except (ValueError, RecursionError) as error:
            raise UserError(f"--classes {shown(path)} is no JSON: {error}") from None
        if isinstance(values, list) and values and all(isinstance(v, str) and v for v in values):
            _no_twice(path, [(name, "") for name in values])
            return ClassNames(order=tuple(values))
        right = isinstance(values, dict) and values
        if not right or not all(
            isinstance(v, str | int) and not isinstance(v, bool) for v in values.values()
        ):
            _wrong(path)
        return ClassNames({k: str(v) for k, v in values.items()})
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        folder, comma, name = line.partition("\t" if "\t" in line else ",")
        if not comma or not folder.strip() or not name.strip():
            _wrong(path, f"line {number}: ")
        pairs.append((folder.strip(), name.strip()))
    if not pairs:
        _wrong(path)
    return ClassNames(_no_twice(path, pairs))


def _no_twice(path: Path, pairs: list[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for i, n in enumerate(names) if n in names[:i])
        raise UserError(f"--classes {shown(path)}: the folder {twice!r} stands there twice")
    return found


def _wrong(path: Path, where: str = "") -> NoReturn:
    raise UserError(f"--classes {shown(path)}: {where}give {FORMAT}")


def name_key(name: str) -> str:
    """A label name without case, underscores and repeated spaces: "Tench_fish" -> "tench fish"."""
    return " ".join(name.replace("_", " ").casefold().split())


def class_index(
    root: Path,
    folders: Sequence[str],
    ids: Sequence[str],
    labels: Sequence[str],
    given: ClassNames | None = None,
) -> dict[str, int]:
    """Folder name -> output index of a model with these label ids and names, in output order.

    A folder is known by its id, by its index as an integer ("7", "007"), or by its label: whole or
    one of the synonyms between commas, where that names one class alone; or by what is `given`.
    Raises `UserError` with the first names that don't fit, and for two folders of one class.
    """
    given = given or ClassNames()
    if given.sorted or given.order:
        order = given.order or tuple(sorted(folders))
        if len(order) != len(ids):
            raise UserError(
                f"--classes names {len(order)} classes in order, the model has {len(ids)}"
            )
        found = {name: order.index(name) for name in folders if name in order}
    else:
        known = _Known(ids, labels)
        numbered = {name: known.find(given.folders.get(name, name)) for name in folders}
        found = {name: index for name, index in numbered.items() if index is not None}
    _refuse_unknown(root, [name for name in folders if name not in found], ids)
    owner: dict[int, str] = {}
    for name, index in found.items():
        if index in owner:
            raise UserError(
                f"{shown(root)}: the folders {owner[index]!r} and {name!r} are the same class "
                f"({index}); join them"
            )
        owner[index] = name
    return found


class _Known:
    """The names that a model's classes go by."""

    def __init__(self, ids: Sequence[str], labels: Sequence[str]) -> None:
        self.ids = {name: i for i, name in enumerate(ids)}
        self.named: dict[str, set[int]] = {}
        for i, label in enumerate(labels):
            for part in {label, *label.split(",")}:
                self.named.setdefault(name_key(part), set()).add(i)

    def find(self, name: str) -> int | None:
        """The output that a name stands for, None where it is none or more than one."""
        if name in self.ids:
            return self.ids[name]
        if name.isascii() and name.isdigit() and len(name) < 10:
            return int(name) if int(name) < len(self.ids) else None
        some = self.named.get(name_key(name), set())
        return next(iter(some)) if len(some) == 1 else None


def _refuse_unknown(root: Path, names: Iterable[str], ids: Sequence[str]) -> None:
    unknown = list(names)
    if not unknown:
        return
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    raise UserError(
        f"{shown(root)}: {', '.join(map(repr, unknown[:SHOWN]))}{more} name no class of the model, "
        f"or more than one; name the folders by label id ({ids[0]}), index (0 to {len(ids) - 1}) "
        "or label, or give --classes FILE (CLASSES=…)"
    )


def output_order(
    root: Path, folders: Sequence[str], count: int, given: ClassNames | None
) -> tuple[str, ...]:
    """The folders in the order of the outputs of a model that doesn't name its classes.

    Integers in their numeric order, or as `given` says. Raises `UserError` where neither does.
    """
    numbers = tuple(map(str, range(count)))
    if given is None and not all(n.isascii() and n.isdigit() for n in folders):
        odd = next(n for n in folders if not (n.isascii() and n.isdigit()))
        raise UserError(
            f"the checkpoint doesn't name its {count} classes, and {shown(root)} has folders such "
            f"as {odd!r}: give --classes FILE (CLASSES=…) with the folder of each output, or "
            f"--classes {SORTED} if the outputs follow the folders' sorted order, as torchvision's "
            "ImageFolder has it"
        )
    index = class_index(root, folders, numbers, numbers, given)
    if len(index) != count:
        raise UserError(
            f"{shown(root)} has {len(index)} class folders, the model {count} classes, which it "
            "doesn't name: give --classes FILE with the folder of each output"
        )
    return tuple(sorted(index, key=index.__getitem__))
