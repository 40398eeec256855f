"""Fetching the data, against a real server on this machine that misbehaves on demand."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import resource
import socketserver
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from mobilemod.data import fetch
from mobilemod.data.fetch import Archive, fetch_archive, fetch_imagenette
from mobilemod.errors import UserError

FILE, FOLDER = "tiny.tgz", "tiny"
IMAGES = {
    f"{FOLDER}/{split}/n0144076{i}/{i}.JPEG": os.urandom(40_000)
    for split in ("train", "val")
    for i in (4, 5)
}


@dataclass
class Server:
    """What the server has and how it behaves; `requests` are the Range headers that came."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    send_at_most: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    shift: int = 0
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch):
    """A `Server` listening on 127.0.0.1, one thread per request."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.requests.append(wanted)
            data = state.files.get(self.path.lstrip("/"))
            status = state.statuses.pop(0) if state.statuses else 404 if data is None else 200
            if status != 200:
                return self.send_error(status)
            start = 0
            if wanted and state.ranges:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                if start >= len(data):
                    return self.send_error(416)
                start += state.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            body = data[start:]
            self.wfile.write(body[: state.send_at_most.pop(0)] if state.send_at_most else body)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(fetch, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        state.url = f"http://127.0.0.1:{listening.server_address[1]}/"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


def pack(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """A gzipped tar of these files; `extra` members have no content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra or []:
            tar.addfile(info)
    return buffer.getvalue()


def archive_of(data: bytes) -> Archive:
    return Archive(FILE, hashlib.md5(data).hexdigest(), FOLDER)


@pytest.fixture
def archive(server):
    """The archive as it should be, on the server."""
    server.files[FILE] = pack(IMAGES)
    return archive_of(server.files[FILE])


def content(folder) -> dict[str, bytes]:
    return {
        p.relative_to(folder.parent).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def refusal(archive, out, url, attempts=1) -> str:
    """The one-line message of the `UserError` that fetching must raise."""
    with pytest.raises(UserError) as caught:
        fetch_archive(archive, out, url, attempts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetch_and_run_again(server, archive, tmp_path):
    out = tmp_path / "deep" / "data"
    target = fetch_archive(archive, out, server.url)
    assert target == out / FOLDER
    assert content(target) == IMAGES
    assert os.listdir(out) == [FOLDER]
    assert server.requests == [None]
    assert fetch_archive(archive, out, server.url) == target
    assert server.requests == [None]  # the second run asked for nothing


def test_a_broken_connection_goes_on(server, archive, tmp_path):
    server.send_at_most = [50_000, 30_000]
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES
    assert server.requests == [None, "bytes=50000-", "bytes=80000-"]


def test_the_next_run_goes_on(server, archive, tmp_path):
    server.send_at_most = [50_000]
    message = refusal(archive, tmp_path, server.url)
    assert f"ended at 50000 of {len(server.files[FILE])} bytes" in message
    assert os.listdir(tmp_path) == [f"{FILE}.part"]
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES
    assert server.requests == [None, "bytes=50000-"]
    assert os.listdir(tmp_path) == [FOLDER]


def test_a_server_without_ranges(server, archive, tmp_path):
    server.ranges = False
    server.send_at_most = [50_000]
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES
    assert server.requests == [None, "bytes=50000-"]


def test_a_server_that_sends_another_part(server, archive, tmp_path):
    server.send_at_most, server.shift = [50_000], 7
    assert "another part" in refusal(archive, tmp_path, server.url, attempts=2)
    assert (tmp_path / f"{FILE}.part").stat().st_size == 50_000


def test_a_complete_part_and_a_complete_archive(server, archive, tmp_path):
    for name in (f"{FILE}.part", FILE):
        (tmp_path / name).write_bytes(server.files[FILE])
        assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES
        assert os.listdir(tmp_path) == [FOLDER]
        (tmp_path / FOLDER).rename(tmp_path.with_name(f"{tmp_path.name}-{name}"))
    assert len(server.requests) == 1  # 416 for the part, nothing for the archive


def test_wrong_md5(server, archive, tmp_path):
    good = server.files[FILE]
    server.files[FILE] = good[:1000] + bytes([good[1000] ^ 1]) + good[1001:]
    message = refusal(archive, tmp_path, server.url)
    assert archive.md5 in message and "MD5" in message
    assert not os.listdir(tmp_path)
    server.files[FILE] = good  # negative control: the one bit is what was wrong
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES


def test_a_part_of_something_else(server, archive, tmp_path):
    (tmp_path / f"{FILE}.part").write_bytes(b"x" * 1000)
    assert "MD5" in refusal(archive, tmp_path, server.url)
    assert not os.listdir(tmp_path)


def test_server_errors(server, archive, tmp_path):
    server.statuses = [503, 429, 500]
    assert content(fetch_archive(archive, tmp_path / "a", server.url)) == IMAGES
    server.statuses = [503, 503]
    assert "503" in refusal(archive, tmp_path / "b", server.url, attempts=2)
    server.requests.clear()
    server.statuses = [403]
    message = refusal(archive, tmp_path / "b", server.url, attempts=4)
    assert "403" in message and "DATA=" in message
    assert len(server.requests) == 1  # a refusal is final
    assert not os.listdir(tmp_path / "b")


def test_nobody_there(tmp_path, archive, monkeypatch):
    # A port that was free a moment ago.
    with socketserver.TCPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        url = f"http://127.0.0.1:{closed.server_address[1]}/"
    message = refusal(archive, tmp_path, url, attempts=2)
    assert "check the network" in message and "DATA=" in message


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "parent": ({f"{FOLDER}/../../evil": b"x"}, [], "leads outside"),
    "absolute": ({"/tmp/evil-member": b"x"}, [], "leads outside"),
    "backslash": ({f"{FOLDER}/..\\..\\evil": b"x"}, [], "leads outside"),
    "beside": ({"other/evil": b"x"}, [], f"not in {FOLDER}/"),
    "folder is a file": ({FOLDER: b"x"}, [], f"not in {FOLDER}/"),
    "symlink": ({}, [special(f"{FOLDER}/a", tarfile.SYMTYPE, "/etc")], "link or device"),
    "hard link": ({}, [special(f"{FOLDER}/a", tarfile.LNKTYPE, "/etc/passwd")], "link or device"),
    "device": ({}, [special(f"{FOLDER}/a", tarfile.CHRTYPE)], "link or device"),
    "pipe": ({}, [special(f"{FOLDER}/a", tarfile.FIFOTYPE)], "link or device"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archive(server, tmp_path, kind):
    members, extra, reason = HOSTILE[kind]
    out = tmp_path / "deep" / "data"
    server.files[FILE] = pack({**IMAGES, **members}, extra)
    assert reason in refusal(archive_of(server.files[FILE]), out, server.url)
    assert [p for p in tmp_path.rglob("*") if p.is_file() or p.is_symlink()] == []
    assert not os.listdir(out)
    assert not os.path.exists("/tmp/evil-member")


def test_not_the_data_set(server, tmp_path):
    server.files[FILE] = pack({k: v for k, v in IMAGES.items() if "/val/" not in k})
    assert "lacks val" in refusal(archive_of(server.files[FILE]), tmp_path, server.url)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_damaged_archive_with_the_right_sum(server, tmp_path, keep):
    whole = pack(IMAGES)
    server.files[FILE] = whole[: int(keep * len(whole))] or b"no archive at all"
    assert "is damaged" in refusal(archive_of(server.files[FILE]), tmp_path, server.url)
    assert not os.listdir(tmp_path)


def test_incomplete_folder(archive, server, tmp_path):
    (tmp_path / FOLDER / "train").mkdir(parents=True)
    assert "lacks val; delete" in refusal(archive, tmp_path, server.url)


def test_two_at_once(archive, server, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert "another process" in refusal(archive, tmp_path, server.url)
    finally:
        os.close(handle)
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES


def test_out_is_a_file(archive, server, tmp_path):
    (tmp_path / "file").touch()
    assert "can't write the data" in refusal(archive, tmp_path / "file" / "data", server.url)


def test_a_full_disk_and_the_run_after(archive, server, tmp_path):
    """A file size limit stands in for a full disk; both fail inside the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        message = refusal(archive, tmp_path, server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"can't write the data to {tmp_path}: File too large; make room")
    assert os.listdir(tmp_path) == [f"{FILE}.part"]
    assert content(fetch_archive(archive, tmp_path, server.url)) == IMAGES
    assert server.requests == [None, "bytes=50000-"]


@pytest.mark.parametrize("size,name", [("160", "imagenette2-160"), ("full", "imagenette2")])
def test_imagenette_by_name(server, tmp_path, size, name):
    """The published sum guards the published name: other bytes under it are refused."""
    server.files[f"{name}.tgz"] = pack(IMAGES)
    with pytest.raises(UserError, match=f"{name}.tgz came with MD5"):
        fetch_imagenette(tmp_path, size, server.url)
    assert not os.listdir(tmp_path)


def test_unknown_size(tmp_path):
    with pytest.raises(UserError, match="'64'; known: 160, 320, full"):
        fetch_imagenette(tmp_path, "64")
