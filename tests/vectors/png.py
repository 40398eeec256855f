"""Writes PNGs of every kind, and damaged ones, for the vectors: `png.json`."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(
    width: int, height: int, depth: int, kind: int, raw: bytes, *, interlace: int = 0,
    extra: bytes = b"",
) -> bytes:  # fmt: skip
    """A PNG of filtered rows. kind: the header's colour type; extra: chunks before the data."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    packed = zlib.compress(raw)
    data = chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IDAT", packed[len(packed) // 2 :])
    return SIGNATURE + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")
