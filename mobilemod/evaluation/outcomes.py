"""What became of each image under each model, as a record keeps it, to be paired later."""

from __future__ import annotations

import base64
import binascii
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_BYTES = 1 << 30  # of one array, unpacked


@dataclass(frozen=True)
class Outcomes:
    """Of N images, by model (N, …) of `Task.scored`.

    names: of the images, each once. targets: uint32 (N,), CRC-32 of what is right for each.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    scored: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, names: Sequence[str], targets: Sequence[Any], scored: Mapping[str, np.ndarray]
    ) -> Outcomes:
        """targets: N numbers or arrays of them."""
        return cls(tuple(names), np.array([*map(_checksum, targets)], np.uint32), dict(scored))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: each part as base64 of zlib's stream of an `.npy`, the names of JSON."""
        return {
            "names": _packed(json.dumps(self.names).encode()),
            "targets": _packed(_npy(self.targets)),
            "scored": {name: _packed(_npy(values)) for name, values in self.scored.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcomes:
        """What `to_dict` gave; ValueError where that can't be read or doesn't fit itself."""
        names = json.loads(_unpacked(values["names"]))
        targets = _array(values["targets"])
        scored = {name: _array(text) for name, text in values["scored"].items()}
        if not isinstance(names, list) or len(set(map(str, names))) != len(names):
            raise ValueError("names must be a list without doubles")
        if any(a.ndim == 0 or len(a) != len(names) for a in (targets, *scored.values())):
            raise ValueError(f"not every part is of {len(names)} images")
        return cls(tuple(map(str, names)), targets, scored)

    def at(self, names: Sequence[str]) -> Outcomes:
        """Those of these images, in this order; KeyError for another one's."""
        rows = {name: row for row, name in enumerate(self.names)}
        at = np.array([rows[name] for name in names], np.int64)
        return Outcomes(
            tuple(names), self.targets[at], {k: values[at] for k, values in self.scored.items()}
        )


def _checksum(target: Any) -> int:
    """Of the numbers, whatever type they come in."""
    values = np.asarray(target)
    whole = values.dtype.kind in "iub"
    return zlib.crc32(values.astype(np.int64 if whole else np.float64).tobytes())


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _array(text: str) -> np.ndarray:
    return np.load(io.BytesIO(_unpacked(text)), allow_pickle=False)


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def _unpacked(text: str) -> bytes:
    try:
        stream = zlib.decompressobj()
        data = stream.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error, TypeError) as error:
        raise ValueError(f"not base64 of a zlib stream ({error})") from None
    if not stream.eof:
        raise ValueError(f"a zlib stream that was cut, or holds more than {MOST_BYTES >> 20} MiB")
    return data
