"""A line of the protocol as text, made without the codec that is tested by it."""

from __future__ import annotations

import json
import zlib
from typing import Any


def line(values: dict[str, Any]) -> str:
    """A line of the protocol, without its line feed."""
    body = json.dumps(values, ensure_ascii=False, separators=(",", ":"))[:-1]
    return f'{body},"crc":"{zlib.crc32(body.encode()):08x}"}}'
