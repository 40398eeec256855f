"""Outputs that are whole or absent: written to a temporary name beside, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mobilemod.errors import UserError

# Of a name in a folder, bytes; what is written beside it for a while has a longer one.
MAX_NAME = 200


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path in `target`'s folder, renamed to `target` on success, removed otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    prefix = f".{target.name}.{os.getpid()}."
    handle, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
    os.close(handle)
    path = Path(name)
    try:
        yield path
        path.chmod(0o644)
        os.replace(path, target)
    finally:
        path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, in one rename; what that can't hold as `\\udcXX`, which JSON reads."""
    with atomic_path(target) as path:
        path.write_text(text, "utf-8", "backslashreplace")


def write_json(target: Path, values: Any) -> None:
    """Write JSON-ready values for people to read too, in one rename."""
    write_text(target, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def require_writable(path: Path, option: str, *, folder: bool = False) -> None:
    """Find out before any work whether `path` can be written: a file, or with `folder` a folder.

    Raises `UserError` that names `option` where it can't. Nothing is made.
    """
    wrong = None
    try:
        if path.is_symlink() and not path.exists():
            wrong = f"it is a link to {os.readlink(path)}, which isn't there"
        elif path.exists() and path.is_dir() != folder:
            wrong = "it is a folder" if path.is_dir() else "it is a file"
        else:
            place = path
            while not place.exists():
                place = place.parent
            if place != path and not place.is_dir():
                wrong = f"{place} is no folder"
            elif not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
                wrong = f"{place} may not be written to"
            elif len(os.fsencode(path.name)) > MAX_NAME:
                wrong = f"its name is longer than {MAX_NAME} bytes"
    except OSError as error:
        wrong = error.strerror or str(error)
    if wrong:
        raise UserError(f"{option} {path} can't be written: {wrong}; give another")


def require_replaceable(folder: Path, own: str) -> None:
    """Refuse a folder whose contents `atomic_folder` would throw away and that isn't ours.

    own: the file that every folder of ours holds. Raises `UserError`.
    """
    if folder.is_dir() and not (folder / own).is_file() and any(folder.iterdir()):
        raise UserError(
            f"--out {folder} holds other files and no {own}; what is written there replaces the "
            "whole folder: give one that is new or empty"
        )


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """As `atomic_path` for a folder; a folder already at `target` is replaced at the end.

    Of a link to a folder, the folder is replaced.
    """
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    path = Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}.", dir=target.parent))
    old = path.with_name(path.name + ".old")
    try:
        yield path
        path.chmod(0o755)
        if target.exists():
            os.replace(target, old)
        os.replace(path, target)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    """Remove what a killed run left beside `target`: its name carries the dead process's id."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.*"):
        owner = path.name.removeprefix(f".{target.name}.").partition(".")[0]
        if owner.isdigit() and not _alive(int(owner)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def only_one(folder: Path, doing: str | None = None) -> Iterator[None]:
    """Holds a lock on the folder itself, so that no lock file is left behind.

    doing: what holders do to it, such as "setting up"; then `UserError` says so while another
    process holds it. Without it that is waited for.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if doing else 0))
        except BlockingIOError:
            raise UserError(f"another process is {doing} {folder}; wait for it") from None
        yield
    finally:
        os.close(handle)


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file to read its bytes; `OSError` at once for what is no regular file.

    A named pipe would hang whoever opens it, and opening a device can have effects.
    """
    check_regular(path)
    flags = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    handle = os.open(path, os.O_RDONLY | sum(flags))
    try:
        _check_mode(os.fstat(handle).st_mode, path)
        return open(handle, "rb", buffering)
    except BaseException:
        os.close(handle)
        raise


def check_regular(path: Path) -> None:
    """Raise `OSError` where there is no regular file (links are followed); opens nothing."""
    _check_mode(os.stat(path).st_mode, path)


def irregular(mode: int) -> str | None:
    """What a file of this `st_mode` is, where it is neither a regular file nor a folder."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def _check_mode(mode: int, path: Path) -> None:
    kind = "folder" if stat.S_ISDIR(mode) else irregular(mode)
    if kind is not None:
        raise OSError(errno.EINVAL, f"not a regular file but a {kind}", str(path))


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes, or of a folder's (names and bytes, sorted)."""
    h = hashlib.sha256()
    if path.is_dir():
        for p in sorted(p for p in path.rglob("*") if p.is_file()):
            h.update(os.fsencode(f"{p.relative_to(path).as_posix()}\0{file_sha256(p)}\n"))
        return h.hexdigest()
    with open_regular(path) as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()
