"""JSON that carries a digest of itself, so that damage, a cut or an edit by hand shows.

The digest is the SHA-256 of the object without its key `digest` as canonical JSON: keys sorted, no
space, UTF-8, numbers as Python writes them. Whoever computes it anew isn't found out: it is no
signature.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError

KEY = "digest"


def digest_of(values: Mapping[str, Any], without: tuple[str, ...] = ()) -> str:
    """Hex SHA-256 of JSON-ready values without `digest` and the keys `without`."""
    kept = {k: v for k, v in values.items() if k != KEY and k not in without}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with their digest, which replaces one that they have."""
    return {**values, KEY: digest_of(values)}


def read_sealed(path: Path, again: str) -> dict[str, Any]:
    """The values in a file that `sealed` made; they keep their digest.

    again: what to do about a bad one, such as "validate again". Raises `UserError` for a file that
    can't be read, is no such JSON, or was changed.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); {again}") from None
    if not isinstance(values, dict) or KEY not in values:
        raise UserError(f"{path} has no digest, as an older mobilemod wrote it; {again}")
    check_seal(path, values, again)
    return values


def check_seal(path: Path, values: Mapping[str, Any], again: str) -> None:
    """Raises `UserError` where the values aren't those that their digest was made of."""
    if digest_of(values) != values[KEY]:
        raise UserError(f"{path} was changed after it was written (its digest differs); {again}")
