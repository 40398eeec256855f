"""Imagenette (fast.ai's ten-class subset of ImageNet): fetched, checked, unpacked safely.

A download that breaks off goes on where it stopped; the data folder appears whole or not at all.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mobilemod.errors import UserError
from mobilemod.files import atomic_folder, only_one
from mobilemod.progress import progress

BASE_URL = "https://s3.amazonaws.com/fast-ai-imageclas/"
SPLITS = ("train", "val")
BLOCK = 1 << 20
TIMEOUT_SECONDS = 30
ATTEMPTS = 4
FIRST_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Archive:
    """A gzipped tar whose members all stand under `folder`, which holds `train` and `val`."""

    file: str
    md5: str
    folder: str


# Sums as published with the set (github.com/fastai/imagenette).
ARCHIVES = {
    "160": Archive("imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", "imagenette2-160"),
    "320": Archive("imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3", "imagenette2-320"),
    "full": Archive("imagenette2.tgz", "fe2fc210e6bb7c5664d602c3cd71e612", "imagenette2"),
}


def fetch_imagenette(out: Path, size: str = "320", base_url: str = BASE_URL) -> Path:
    """The folder `out/imagenette2-SIZE` with `train` and `val`, fetched where it isn't there.

    `size`: shorter side of the images in pixels, "160", "320" or "full" (as in ImageNet).
    Raises `UserError` as `fetch_archive` does, and for an unknown size.
    """
    if size not in ARCHIVES:
        raise UserError(f"no Imagenette of size {size!r}; known: {', '.join(ARCHIVES)}")
    return fetch_archive(ARCHIVES[size], out, base_url)


def fetch_archive(archive: Archive, out: Path, base_url: str, attempts: int = ATTEMPTS) -> Path:
    """`out/FOLDER`, from the archive under `base_url`; nothing is done where it is complete.

    While it runs, and after it broke off, `out/FILE.part` holds what has come so far. A broken
    connection is tried `attempts` times. Raises `UserError` when the server can't be reached or
    lacks the file, the MD5 sum is wrong, the archive holds what it shouldn't, the disk is full, or
    another process is fetching into `out`.
    """
    target = out / archive.folder
    if target.exists():
        _check_splits(target, f"delete {target} and run again")
        return target
    try:
        out.mkdir(parents=True, exist_ok=True)
        with only_one(out, "fetching data into"):
            whole = out / archive.file
            if not (whole.exists() and _md5(whole) == archive.md5):
                _download(base_url.rstrip("/") + "/" + archive.file, whole, archive.md5, attempts)
            _unpack(whole, archive, target)
    except OSError as error:  # a full disk, a folder that can't be written
        raise UserError(
            f"can't write the data to {out}: {error.strerror or error}; make room or give another "
            "folder, and run again (a download goes on where it stopped)"
        ) from error
    return target


def _check_splits(folder: Path, fix: str) -> None:
    missing = [name for name in SPLITS if not (folder / name).is_dir()]
    if missing:
        raise UserError(f"{folder} lacks {' and '.join(missing)}; {fix}")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(url: str, whole: Path, md5: str, attempts: int) -> None:
    """`url` to `whole` by way of `whole.part`, which keeps what came before a break."""
    part = whole.with_name(whole.name + ".part")
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part)
            break
        except _Broken as error:
            after = part.stat().st_size if part.exists() else 0
            failed = 1 if after > before else failed + 1
            if failed >= attempts:
                raise UserError(
                    f"can't fetch {url}: {error}; check the network and run again, or give the "
                    "data by DATA=/path (or MOBILEMOD_DATA)"
                ) from error
            time.sleep(FIRST_WAIT_SECONDS * 2 ** (failed - 1))
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise UserError(
            f"{url} came with MD5 {found}, expected {md5}; removed, run again to fetch it anew"
        )
    os.replace(part, whole)


class _Broken(Exception):
    """The server can't be reached or the connection broke: worth another attempt."""


def _receive(url: str, part: Path) -> None:
    """One request, for what `part` doesn't hold yet; returns when the file is complete."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # nothing after `have`: complete, or the MD5 tells
                return
            if error.code >= 500 or error.code == 429:
                raise _Broken(f"the server answers {error.code} {error.reason}") from error
            raise UserError(
                f"can't fetch {url}: the server answers {error.code} {error.reason}; give the data "
                "by DATA=/path (or MOBILEMOD_DATA)"
            ) from error
    except urllib.error.URLError as error:
        raise _Broken(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(error) or type(error).__name__) from error
    with response:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        goes_on = response.status == 206
        if goes_on and (start is None or int(start[1]) != have):
            raise _Broken("the server sent another part than was asked for")
        have = have if goes_on else 0  # a server that knows no Range sends all of it
        length = response.headers.get("Content-Length")
        expected = have + int(length) if length and length.isdigit() else None
        total = None if expected is None else -(-(expected - have) // BLOCK)
        with part.open("ab" if goes_on else "wb") as file:
            for block in progress(_blocks(response), f"fetch {part.stem}", total, "MiB"):
                file.write(block)
        if expected is not None and part.stat().st_size < expected:
            raise _Broken(f"the connection ended at {part.stat().st_size} of {expected} bytes")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(BLOCK)
        except http.client.IncompleteRead as error:
            yield error.partial
            raise _Broken("the connection ended early") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(str(error) or type(error).__name__) from error
        if not block:
            return
        yield block


def _unpack(whole: Path, archive: Archive, target: Path) -> None:
    """The members of `whole` to `target`, which appears at the end; `whole` is removed."""
    try:
        with atomic_folder(target) as folder, tarfile.open(whole, "r:gz") as tar:
            for member in progress(tar, f"unpack {archive.file}", None, "file"):
                path = folder / _safe_name(member, archive)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None  # regular files only, by `_safe_name`
                with source, path.open("wb") as file:
                    shutil.copyfileobj(source, file)
            _check_splits(folder, f"{archive.file} is not the data set that is meant")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        whole.unlink()
        raise UserError(f"{whole} is damaged ({error}); removed, run again") from error
    except UserError:
        whole.unlink()
        raise
    whole.unlink()


def _safe_name(member: tarfile.TarInfo, archive: Archive) -> PurePosixPath:
    """The path under the archive's folder; only plain files and folders in there may pass."""
    path = PurePosixPath(member.name)
    parts = path.parts
    reason = None
    if not (member.isfile() or member.isdir()):
        reason = "a link or device"
    elif path.is_absolute() or ".." in parts or "\\" in member.name or "\0" in member.name:
        reason = "a path that leads outside"
    elif parts[:1] != (archive.folder,) or (len(parts) == 1 and not member.isdir()):
        reason = f"not in {archive.folder}/"
    if reason:
        raise UserError(
            f"{archive.file} holds {member.name!r}, {reason}; nothing was unpacked, "
            "fetch the archive from its own server"
        )
    return PurePosixPath(*parts[1:])
