"""What `golden` and `image` lines say of a network's outputs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from mobilemod.evaluation.runs import map_of, to_runs

Size = tuple[int, int]


def top(logits: np.ndarray) -> list[list[Any]]:
    """Up to five [class, logit], best first, of equal logits the lower class; what isn't finite is
    left out."""
    finite = np.flatnonzero(np.isfinite(logits))
    order = finite[np.argsort(-logits[finite], kind="stable")[:5]]
    return [[int(i), float(logits[i])] for i in order]


def logits_sha256(logits: np.ndarray) -> str:
    """Hex sha256 of the float32 logits, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(logits, "<f4").tobytes()).hexdigest()


def map_sha256(classes: np.ndarray) -> str:
    """Hex sha256 of a map of classes, uint8, row by row."""
    return hashlib.sha256(np.ascontiguousarray(classes, np.uint8).tobytes()).hexdigest()


def golden_answer(outputs: np.ndarray, size: Size | None) -> dict[str, Any]:
    """Of a `golden` line. outputs: as `Loaded.outputs` has them; size: of maps, (h, w); None: the
    outputs are a number for each class."""
    if size is None:
        return {"logits": outputs.ravel().tolist()}
    return {"runs": to_runs(_map(outputs, size))}


def image_answer(outputs: np.ndarray, size: Size | None, logits: bool) -> dict[str, Any]:
    """Of an `image` line. logits: they are asked for."""
    if size is not None:
        found = _map(outputs, size)
        return {"top": [], "logits_sha256": map_sha256(found), "runs": to_runs(found)}
    flat = outputs.ravel()
    said = {"top": top(flat), "logits_sha256": logits_sha256(flat)}
    return {**said, "logits": flat.tolist()} if logits else said


def _map(outputs: np.ndarray, size: Size) -> np.ndarray:
    # Scores may come flat.
    return map_of(outputs.reshape(size if outputs.dtype == np.uint8 else (-1, *size)))
