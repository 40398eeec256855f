"""What an `image` line says of logits."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def top(logits: np.ndarray) -> list[list[Any]]:
    """Up to five [class, logit], best first, of equal logits the lower class; what isn't finite is
    left out."""
    finite = np.flatnonzero(np.isfinite(logits))
    order = finite[np.argsort(-logits[finite], kind="stable")[:5]]
    return [[int(i), float(logits[i])] for i in order]


def logits_sha256(logits: np.ndarray) -> str:
    """Hex sha256 of the float32 logits, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(logits, "<f4").tobytes()).hexdigest()
