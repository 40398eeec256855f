"""What Core ML's delegate is given in a `.pte`: a folder in one block of bytes.

The contents of its files stand first, then the table of contents as JSON, written backwards: it is
read from the block's end. A node of it is a file (kind 0) or a folder (kind 1) with the indices of
its children by name; the last one is the folder itself. Source of the layout: ExecuTorch's
`executorchcoreml` module, which writes and reads it.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from export.targets.executorch.reader import PteFile, read_pte
from export.targets.flatbuffer import DamagedError, at
from mobilemod.errors import UserError

BACKEND = "CoreMLBackend"
PACKAGE, METADATA = "model.mlpackage", "metadata.json"
FILE, FOLDER = 0, 1
ELSEWHERE = b"CMJR"  # before the name of a block that lies among the file's named data
MOST_CONTENTS = 1 << 20  # bytes of a table of contents


def packed(files: dict[str, bytes]) -> bytes:
    """Files by their paths ("a/b.txt") as one block; the same files give the same bytes."""
    nodes: list[dict[str, Any]] = []
    content = bytearray()

    def add(name: str, kind: int, data: bytes, children: dict[str, int]) -> int:
        region = {"offset": len(content) if kind == FILE else 0, "size": len(data)}
        content.extend(data)
        nodes.append({"children": children, "dataRegion": region, "kind": kind, "name": name})
        return len(nodes) - 1

    def add_folder(name: str, held: dict[tuple[str, ...], bytes]) -> int:
        children = {}
        for first in sorted({parts[0] for parts in held}):
            below = {parts[1:]: data for parts, data in held.items() if parts[0] == first}
            whole = below.get(())
            children[first] = add_folder(first, below) if whole is None else add(
                first, FILE, whole, {}
            )  # fmt: skip
        return add(name, FOLDER, b"", children)

    add_folder("lowered_module", {PurePosixPath(p).parts: data for p, data in files.items()})
    table = json.dumps({"nodes": nodes}, separators=(",", ":"), sort_keys=True)
    return bytes(content) + table.encode()[::-1]


def unpacked(block: bytes | memoryview) -> dict[str, memoryview]:
    """The files of a block by their paths; `DamagedError` where it contradicts itself."""
    view = memoryview(block)
    tail = bytes(view[-MOST_CONTENTS:])[::-1].decode("latin-1")
    try:
        table, length = json.JSONDecoder().raw_decode(tail)
        nodes = table["nodes"]
        # Latin-1 has a character for each byte: where the table ends, the contents do.
        found = dict(_files(nodes, nodes[-1], view[: len(view) - length], PurePosixPath()))
    except DamagedError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise DamagedError("its table of contents can't be read") from None
    if sum(map(len, found.values())) > len(view):
        raise DamagedError("its files lie in one another")
    return found


def _files(
    nodes: list[Any], folder: Any, content: memoryview, place: PurePosixPath
) -> Iterator[tuple[str, memoryview]]:
    if len(place.parts) > len(nodes):
        raise DamagedError("a folder lies in itself")
    for name, index in folder["children"].items():
        node, path = at(nodes, int(index), "entry"), place / name
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise DamagedError(f"it names a file {name!r}")
        if node["kind"] == FOLDER:
            yield from _files(nodes, node, content, path)
            continue
        start, size = int(node["dataRegion"]["offset"]), int(node["dataRegion"]["size"])
        if start < 0 or size < 0 or start + size > len(content):
            raise DamagedError(f"{path} is cut short")
        yield str(path), content[start : start + size]


@contextlib.contextmanager
def opened_package(path: Path, file: PteFile | None = None) -> Iterator[Path]:
    """The ML program of a `.pte` as a package on disk, while the block runs; beside it lies what
    the delegate is told of it. file: the `.pte`, where it was read before.

    `UserError`, also of what reads the package within, names the `.pte`.
    """
    block = _block(path, read_pte(path) if file is None else file)
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / PACKAGE
        try:
            for inside, data in unpacked(block).items():
                target = Path(name) / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        except (DamagedError, OSError) as error:
            raise UserError(
                f"{path}: damaged: Core ML's part of it ({error}); export it again"
            ) from None
        try:
            yield package
        except UserError as error:
            if str(package) not in str(error):
                raise
            raise UserError(str(error).replace(str(package), str(path))) from None


def _block(path: Path, file: PteFile) -> memoryview:
    calls = list(file.opaque.values())
    if [name for name, _ in calls] != [BACKEND]:
        names = ", ".join(name for name, _ in calls) or "none that isn't XNNPACK"
        raise UserError(
            f"{path}: not supported: expected one call of the delegate {BACKEND}, found {names}"
        )
    ((_, block),) = calls
    if bytes(block[:4]) == ELSEWHERE:
        raise UserError(f"{path}: not supported: several methods share its ML program")
    return block
