"""What was found out of a file and comes out the same every time, kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mobilemod.closure import code_digest
from mobilemod.files import file_sha256, write_text
from quantization.calibration import cache_path


def remembered(path: Path, function: Callable[..., Any], *args: Any, decided: Any = "") -> Any:
    """`function(path, *args)`, JSON values: kept for the file's content and the function's code.

    decided: what else decides the result. What raises is not kept.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    key = json.dumps([name, code_digest(function.__module__), file_sha256(path), str(decided)])
    place = cache_path("remembered", key, ".json")
    if place.exists():
        return json.loads(place.read_text("utf-8"))
    values = function(path, *args)
    write_text(place, json.dumps(values))
    return values
