"""What a phone's installer needs of an APK, beside its signature."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

# Mapped by the installed app, so stored as they are and at multiples of four bytes.
STORED = ("resources.arsc", ".tflite", ".pte")
ALIGNMENT = 4
DEX_MAGIC = b"dex\n"
CLASS_DEFS = 0x60


def apk_problems(path: Path, components: Iterable[str]) -> list[str]:
    """What is wrong with an APK. components: classes that its manifest names, dotted."""
    found = []
    with zipfile.ZipFile(path) as apk, path.open("rb") as file:
        names = apk.namelist()
        found += [
            f"{name} is missing"
            for name in ("AndroidManifest.xml", "classes.dex", "resources.arsc")
            if name not in names
        ]
        classes = set()
        for entry in apk.infolist():
            if entry.filename.endswith(STORED):
                if entry.compress_type != zipfile.ZIP_STORED:
                    found.append(f"{entry.filename} is compressed")
                elif _data_at(file, entry) % ALIGNMENT:
                    found.append(f"{entry.filename} isn't aligned to {ALIGNMENT} bytes")
            elif entry.filename.endswith(".dex"):
                classes |= dex_classes(apk.read(entry))
    return found + [f"no dex file has {name}" for name in components if name not in classes]


def _data_at(file, entry: zipfile.ZipInfo) -> int:
    """Offset of an entry's data: after its own header, whose extra field the directory lacks."""
    file.seek(entry.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + name + extra


def dex_classes(data: bytes) -> set[str]:
    """Dotted names of the classes that a dex file defines (dex format, `class_defs`)."""
    if data[:4] != DEX_MAGIC:
        raise ValueError("no dex file")

    def table(at: int) -> tuple[int, int]:
        return struct.unpack_from("<II", data, at)

    strings, types = table(0x38)[1], table(0x40)[1]
    count, at = table(CLASS_DEFS)
    found = set()
    for i in range(count):
        kind = struct.unpack_from("<I", data, at + 32 * i)[0]
        text = struct.unpack_from("<I", data, types + 4 * kind)[0]
        start = struct.unpack_from("<I", data, strings + 4 * text)[0]
        # The length, in one to five bytes, stands before the text.
        while data[start] & 0x80:
            start += 1
        name = data[start + 1 : data.index(b"\0", start + 1)].decode("utf-8", "replace")
        found.add(name[1:-1].replace("/", "."))
    return found
