"""A folder that is set up once: its stamp says of what, and is written last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilemod.files import only_one, write_json

STAMP = "stamp.json"


def read_stamp(folder: Path) -> dict[str, Any]:
    """What is in a folder, by its stamp; nothing where there is no stamp or a damaged one."""
    try:
        values = json.loads((folder / STAMP).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def stamped(
    folder: Path,
    recipe: str,
    build: Callable[[Path], dict[str, Any]],
    is_whole: Callable[[Path], bool] = lambda folder: True,
) -> dict[str, Any]:
    """The stamp of `folder`, an absolute path, which `build` fills and gives the stamp of.

    recipe: of what it is made; a folder of the same, which also `is_whole`, is left alone. Raises
    `UserError` where another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder, "setting up"):
        values = read_stamp(folder)
        if values.get("recipe") == recipe and is_whole(folder):
            return values
        (folder / STAMP).unlink(missing_ok=True)
        values = build(folder)
        write_json(folder / STAMP, values)
        return values
