"""One image file, decoded; whatever is wrong with it is that image's damage, with a reason.

Needs Pillow and `mobilemod.files`: this file also runs on devices.
"""

from __future__ import annotations

import io
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from mobilemod.errors import shown
from mobilemod.files import open_regular

# What it says of single files goes with the damage, not to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())
T = TypeVar("T")

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
# By content, whatever a file is called. Others of Pillow's are left out: one starts Ghostscript.
FORMATS = ("PNG", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "GIF")
JPEG = b"\xff\xd8\xff"
MAX_PIXELS = 1 << 27  # 134 million, above any phone's usual photograph; 0.5 GB decoded
MAX_WEBP_PIXELS = MAX_PIXELS >> 1  # its decoder keeps several copies, for animations
MAX_BYTES = 1 << 29
MAX_SECONDS = 60.0
# A progressive JPEG visits all its pixels with every scan; encoders make about ten.
MAX_SCANS = 100
MAX_DETAIL = 160


class DamagedImage(Exception):
    """A file that gives no image. kind: a few words to count by. detail: more, or ""."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})" if self.detail else self.kind


def read_image(path: Path, take: Callable[[Image.Image], T], loaded: bool = True) -> T:
    """What `take` makes of the decoded image (the first, where a file holds several).

    loaded: decode before `take`, which does it itself otherwise. Raises `DamagedImage` for whatever
    the file or `take` raises: a file that is no image or cut off, that can't be opened, is no
    regular file, has over `MAX_PIXELS` (WebP: half) or `MAX_BYTES`, or takes over `MAX_SECONDS`.
    """
    try:
        with _Timed(open_regular(path, buffering=0)) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on tags that it can't read
            try:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise DamagedImage("too large", f"{size} bytes; at most {MAX_BYTES} are read")
                with _identify(file) as image:
                    if loaded:
                        image.load()
                    return take(image)
            except DamagedImage:
                raise
            except Exception as error:  # decoders and plugins raise anything
                file.end = float("inf")
                raise _damage(file, error) from error
    except OSError as error:
        raise DamagedImage(_system(error)) from error


class _Timed(io.BufferedReader):
    """Ends a decoder that still reads after `MAX_SECONDS`."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(raw)
        self.end = time.monotonic() + MAX_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self.end:
            raise DamagedImage("too slow", f"over {MAX_SECONDS:.0f} s")
        return super().read(size)


def _identify(file: _Timed) -> Image.Image:
    """The image, its header read; of a JPEG with several images the first."""
    start = file.read(len(JPEG))
    file.seek(0)
    if start == JPEG:
        # Without what follows the first image: a damaged index of the others stops no photograph.
        image: Image.Image = JpegImagePlugin.JpegImageFile(file, "")
    else:
        image = Image.open(file, formats=FORMATS)
    width, height = image.size
    most = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
    if width * height > most:
        what = f"{width} x {height} pixels; at most {most} are decoded"
        raise DamagedImage("too large", what)
    if image.info.get("progressive") and (scans := _scans(file)) > MAX_SCANS:
        raise DamagedImage("too slow", f"{scans} scans; at most {MAX_SCANS} are decoded")
    return image


def _scans(file: _Timed) -> int:
    """Scans of a JPEG from where `file` stands, behind its first one's marker."""
    count = 1
    while block := file.read(1 << 20):
        data, end, _ = block.partition(b"\xff\xd9")
        count += data.count(b"\xff\xda")
        if end:
            break
    return count


def _damage(file: _Timed, error: Exception) -> DamagedImage:
    if isinstance(error, OSError) and error.errno:
        return DamagedImage(_system(error))
    if isinstance(error, MemoryError):
        return DamagedImage("not enough memory")
    if isinstance(error, Image.DecompressionBombError):
        return DamagedImage("too large", f"at most {MAX_PIXELS} pixels are decoded")
    head, tail, size = _ends(file)
    if not size:
        return DamagedImage("empty")
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    if _cut_off(file, head, tail, size) or "truncated" in text.lower():
        return DamagedImage("cut off")
    if isinstance(error, UnidentifiedImageError):
        known = head.startswith((b"\x89PNG", b"RIFF", b"BM", b"II", b"MM", b"GIF8", b"P"))
        if not known and head[4:8] != b"ftyp":
            return DamagedImage("no image")
        text = "its header can't be read"
    return DamagedImage("damaged", shown(text)[:MAX_DETAIL])


def _system(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _ends(file: _Timed) -> tuple[bytes, bytes, int]:
    """The first and the last 64 bytes, and how many there are."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64)
    file.seek(max(0, size - 64))
    return head, file.read(64), size


def _cut_off(file: _Timed, head: bytes, tail: bytes, size: int) -> bool:
    """Whether a file lacks its end, by what its format says of its length or writes last."""
    if head.startswith(JPEG):
        return b"\xff\xd9" not in tail
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"GIF8"):
        return b";" not in tail
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    if head.startswith(b"BM"):
        return int.from_bytes(head[2:6], "little") > size
    return head[4:8] == b"ftyp" and _boxes_end(file, size) > size


def _boxes_end(file: _Timed, size: int) -> int:
    """Where the outermost boxes of an ISO media file (AVIF) say that it ends."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: to the end of the file; others mean nothing
            return size
        at += length
    return max(at, size)
