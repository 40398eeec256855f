"""The built web app's files, as answers of a server."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from mobilemod.errors import UserError
from mobilemod.harness.run.http_server import Answer, Request, say

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
}
# Built beside a file, best first: its ending, and the encoding's name.
COMPRESSED = ((".br", "br"), (".gz", "gzip"))
READING = ("GET", "HEAD")
NOT_ALLOWED = say(HTTPStatus.METHOD_NOT_ALLOWED, "not in this way")


def built_app(app: Path) -> dict[str, Path]:
    """The built web app's files by their path below the page's address.

    Raises `UserError` where it hasn't been built. Its own model isn't handed out: a job has one.
    """
    if not (app / "index.html").is_file():
        raise UserError(f"the web app isn't built ({app} has no index.html); run 'make web'")
    files = {p.relative_to(app).as_posix(): p for p in app.rglob("*") if p.is_file()}
    # A link out of the app's folder would hand out a file of this machine.
    root = app.resolve()
    kept = {
        name: p
        for name, p in files.items()
        if not name.startswith("model/") and p.resolve().is_relative_to(root)
    }
    return {**kept, "": kept["index.html"]}


def default_app() -> Path:
    """Where `make web` builds the app."""
    return Path(__file__).parents[3] / "apps" / "web" / "dist"


def variants_of(app: dict[str, Path], path: str) -> dict[str, Path]:
    """Of a file of `built_app`, what was compressed at the build, by the encoding, best first."""
    return {name: found for end, name in COMPRESSED if (found := app.get(path + end))}


def file_answer(
    request: Request, path: Path, keep: str, variants: dict[str, Path] | None = None
) -> Answer:
    """A file for who reads. variants: the same by the encodings that it is there in, best first."""
    if request.method not in READING:
        return NOT_ALLOWED
    kind = TYPES.get(path.suffix, "application/octet-stream")
    if not variants:
        return Answer(HTTPStatus.OK, path, kind, keep)
    headers = (("Vary", "Accept-Encoding"),)
    for encoding, variant in variants.items():
        if encoding in request.encodings:
            headers = (*headers, ("Content-Encoding", encoding))
            path = variant
            break
    return Answer(HTTPStatus.OK, path, kind, keep, headers)
