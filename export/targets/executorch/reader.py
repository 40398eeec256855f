"""What is in a `.pte`, read from the file alone: the program and XNNPACK's graphs inside it.

Layout: the program is a flatbuffer, delegates and constants lie in segments behind it. The schemas
come with the executorch package.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import re
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.graph import FileGraph, FileNode, FileTensor, fill_of, shape_text
from export.targets.executorch.work import portable_node
from export.targets.executorch.xnnpack.reader import (
    STORED,
    Content,
    add_xnnpack_graph,
    read_xnnpack_graph,
)
from export.targets.flatbuffer import DamagedError, Schema, UnsupportedError, at
from mobilemod.errors import UserError
from mobilemod.targets.executorch import FACTS

XNNPACK = "XnnpackBackend"
PROGRAM_SCHEMA = "exir/_serialize/program.fbs", "exir/_serialize/scalar_type.fbs"
XNNPACK_SCHEMA = "backends/xnnpack/serialization/schema.fbs"
MODULE_FRAME = "module"  # the file name of a frame that holds a network's module
SCALAR_TYPES = {"BYTE": "uint8", "CHAR": "int8", "HALF": "float16", "FLOAT": "float32"} | {
    name.upper(): name for name in ("uint16", "uint32", "uint64", "bool", "bfloat16")
} | {"SHORT": "int16", "INT": "int32", "LONG": "int64", "DOUBLE": "float64"}  # fmt: skip


@dataclass
class PteFile:
    """A `.pte`'s content.

    constants: name of a constant tensor of `graph` -> its values as stored (int8 codes, float32).
    methods: what can be run, in the file's order. varying: whether input shapes do; branches:
    whether it has any; elsewhere: whether weights lie in another file. opaque: partition of a
    delegate that isn't looked into -> its name and its bytes; named: what those may point at.
    """

    graph: FileGraph
    constants: dict[str, np.ndarray]
    methods: tuple[str, ...]
    varying: bool = False
    branches: bool = False
    elsewhere: bool = False
    opaque: dict[int, tuple[str, memoryview]] = field(default_factory=dict)
    named: dict[str, memoryview] = field(default_factory=dict)


def read_pte(path: Path) -> PteFile:
    """The content of a `.pte`. Raises `UserError` where the file is missing, cut or damaged.

    Constants of a delegate are stored under the sha256 of their bytes, which is checked.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); export it again") from None
    if data[4:6] == b"BP":
        raise UserError(f"{path}: not supported: a bundled program; give the .pte that is in it")
    if data[4:6] != b"ET":
        raise UserError(f"{path}: no ExecuTorch program (its identifier is missing)")
    try:
        return _Program(data).read()
    except UnsupportedError as error:
        raise UserError(f"{path}: not supported: {error}") from None
    except DamagedError as error:
        raise UserError(f"{path}: damaged or cut off ({error}); export it again") from None


class _Program:
    """One `.pte` while it is read."""

    def __init__(self, data: bytes):
        self.size = len(data)
        length, base = self.size, 0
        if data[8:12] == b"eh00" and len(data) >= 40:
            length, base, size = struct.unpack_from("<QQQ", data, 16)
            if self.size < max(length, base + size):
                raise DamagedError(f"{self.size} bytes of {max(length, base + size)}")
        # Views, so that segments that overlap take no memory.
        view = memoryview(data)
        self.program = packaged_schema(*PROGRAM_SCHEMA).read(view[:length], "Program")
        self.segments: list[memoryview] = []
        for s in self.program["segments"]:
            start, stop = base + s["offset"], base + s["offset"] + s["size"]
            if stop > self.size:
                raise DamagedError(f"{self.size} bytes of {stop}")
            self.segments.append(view[start:stop])
        self.named = self._named()
        self.content = Content(self.named)
        self.delegates: dict[tuple[str, int], tuple[dict, memoryview]] = {}
        self.calls = 0
        self.opaque: dict[int, tuple[str, memoryview]] = {}
        self.notes: list[str] = []
        self.varying = self.branches = False

    def _named(self) -> dict[str, memoryview]:
        digests: dict[int, str] = {}
        named = {}
        for entry in self.program["named_data"]:
            key, index = entry["key"], entry["segment_index"]
            named[key] = at(self.segments, index, "segment")
            digest = key.removeprefix("scale_")
            if not re.fullmatch("[0-9a-f]{64}", digest):
                continue
            if index not in digests:
                digests[index] = hashlib.sha256(named[key]).hexdigest()
            if digests[index] != digest:
                raise DamagedError("a constant's bytes don't match its checksum")
        return named

    def read(self) -> PteFile:
        plans = self.program["execution_plan"]
        if not plans:
            raise DamagedError("it has no method")
        # Methods without instructions return a constant: notes to a runner, no network.
        running = [p for p in plans if any(c["instructions"] for c in p["chains"])] or plans[:1]
        edges: dict[str, list[str]] = {"inputs": [], "outputs": []}
        for plan in running:
            method = plan["name"] if len(running) > 1 else ""
            prefix = method and f"{method}/"
            self._read_plan(plan, prefix, method)
            for side, names in edges.items():
                names += [f"{prefix}t{i}" for i in plan[side]]
        content = self.content
        if content.elsewhere:
            count = len(content.elsewhere)
            self.notes.append(f"{count} constants lie outside the file, in a .ptd")
        graph = FileGraph(
            FACTS.name,
            content.tensors,
            tuple(content.nodes),
            tuple(edges["inputs"]),
            tuple(edges["outputs"]),
            self.calls,
            dict(Counter(name for name, _ in self.opaque.values())),
            tuple(self.notes),
        )
        names = tuple(p["name"] for p in running)
        return PteFile(
            graph, content.constants, names, self.varying, self.branches, bool(content.elsewhere),
            self.opaque, self.named,
        )  # fmt: skip

    def _read_plan(self, plan: dict[str, Any], prefix: str, method: str) -> None:
        """Adds the plan's tensors and instructions."""
        values = [v["val"] for v in plan["values"]]
        tensors, nodes = self.content.tensors, self.content.nodes
        start = len(nodes)
        for i, value in enumerate(values):
            if value is not None and value[0] == "Tensor":
                name = f"{prefix}t{i}"
                tensor = _tensor(name, value[1])
                tensors[name] = replace(tensor, fill=self._fill(value[1], tensor))
                if _is_external(value[1]):
                    self.content.elsewhere.add(
                        value[1]["extra_tensor_info"]["fully_qualified_name"]
                    )
        for chain in plan["chains"]:
            told = [_module_of(frames) for frames in chain["stacktrace"]]
            for i, instruction in enumerate(chain["instructions"]):
                self._read_instruction(plan, values, instruction, prefix, "".join(told[i : i + 1]))
                if len(nodes) > self.size:
                    raise DamagedError("it calls its delegates more often than it has bytes")
        batch = self._batch(plan, values)
        for i in range(start, len(nodes)):
            nodes[i] = replace(self._of_one(nodes[i], batch), method=method)

    def _fill(self, value: dict[str, Any], tensor: FileTensor) -> float | None:
        """The one value of a constant of the program itself, in its segment of constants."""
        place, number = self.program["constant_segment"], value["data_buffer_idx"]
        known = place is not None and number < len(place["offsets"]) and tensor.dtype in STORED
        if not tensor.constant or _is_external(value) or not known:
            return None
        start = int(place["offsets"][number])
        length = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        data = at(self.segments, place["segment_index"], "segment")[start : start + length]
        return fill_of(np.frombuffer(data, tensor.dtype)) if len(data) == length else None

    def _read_instruction(
        self, plan: dict[str, Any], values: list[Any], instruction: dict[str, Any], prefix: str,
        module: str,
    ) -> None:  # fmt: skip
        kind, call = instruction["instr_args"] or ("nothing", {})
        if kind == "KernelCall":
            operator = at(plan["operators"], call["op_index"], "operator")
            args = [int(i) for i in call["args"]]
            tensors = self.content.tensors
            node = portable_node(operator["name"], args, values, prefix, tensors)
            self.content.nodes.append(replace(node, module=module))
        elif kind == "DelegateCall":
            delegate = at(plan["delegates"], call["delegate_index"], "delegate")
            args = [f"{prefix}t{i}" for i in call["args"]]
            if delegate["id"] == XNNPACK:
                graph, constants = self._xnnpack(delegate)
                inner = f"{prefix}p{self.calls}."
                add_xnnpack_graph(self.content, graph, constants, args, inner, self.calls)
            else:
                known = tuple(a for a in args if a in self.content.tensors)
                node = FileNode("delegate", known, (), partition=self.calls, known=False)
                self.content.nodes.append(node)
                self.opaque[self.calls] = delegate["id"], self._blob(delegate)
            self.calls += 1
        elif kind == "JumpFalseCall":
            note = "branches and loops: the work is of each branch and one turn of a loop"
            self.notes += [] if self.branches else [note]
            self.branches = True

    def _xnnpack(self, delegate: dict[str, Any]) -> tuple[dict[str, Any], memoryview]:
        """The delegate's graph, read once however often it is called."""
        place = delegate["processed"]
        blob = self._blob(delegate)
        key = place["location"], place["index"]
        if key not in self.delegates:
            self.delegates[key] = read_xnnpack_graph(blob, packaged_schema(XNNPACK_SCHEMA))
        return self.delegates[key]

    def _blob(self, delegate: dict[str, Any]) -> memoryview:
        """The delegate's own bytes."""
        place = delegate["processed"]
        if place is None:
            raise DamagedError("a delegate has no data")
        if place["location"] == "SEGMENT":
            return at(self.segments, place["index"], "segment")
        inline = at(self.program["backend_delegate_data"], place["index"], "delegate data")
        return memoryview(inline["data"])

    def _batch(self, plan: dict[str, Any], values: list[Any]) -> int:
        """How many images the figures of a plan with variable shapes are of; says so in a note."""
        inputs = [at(values, int(i), "value") for i in plan["inputs"]]
        tensors = [v[1] for v in inputs if v and v[0] == "Tensor"]
        varying = [t for t in tensors if t["shape_dynamism"] != "STATIC"]
        if not varying:
            return 1
        self.varying = True
        shapes = [t["sizes"].tolist() for t in varying]
        bound = ", ".join(map(shape_text, shapes))
        leading = {s[0] for s in shapes if len(s) > 1}
        batch = leading.pop() if len(leading) == 1 else 1
        told = f"of one of up to {batch} in a batch" if batch > 1 else "of the largest"
        if any(t["shape_dynamism"] == "DYNAMIC_UNBOUND" for t in varying):
            told = f"{told}, by shapes that have no bound"
        self.notes.append(f"input shapes vary up to {bound}: the work is {told}")
        return max(batch, 1)

    def _of_one(self, node: FileNode, batch: int) -> FileNode:
        """The node with the work of one image, where its result is one row for each."""
        shape = self.content.tensors[node.outputs[0]].shape if node.outputs else ()
        if batch == 1 or not shape or shape[0] % batch:
            return node
        return replace(node, macs=node.macs // batch)


def _tensor(name: str, t: dict[str, Any]) -> FileTensor:
    dtype = SCALAR_TYPES.get(t["scalar_type"], str(t["scalar_type"]).lower())
    constant = t["allocation_info"] is None and t["data_buffer_idx"] > 0
    shape = tuple(t["sizes"].tolist())
    return FileTensor(name, shape, dtype, constant=constant or _is_external(t))


def _module_of(frames: dict[str, Any]) -> str:
    """The module that an instruction of a file of ours is of."""
    names = [f["name"] or "" for f in frames["items"] if f["filename"] == MODULE_FRAME]
    return "".join(names[:1])


def _is_external(tensor: dict[str, Any]) -> bool:
    extra = tensor["extra_tensor_info"]
    return extra is not None and extra["location"] == "EXTERNAL"


@functools.cache
def packaged_schema(*paths: str) -> Schema:
    """The schema in these files of the installed executorch package."""
    spec = importlib.util.find_spec("executorch")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("reading a .pte needs the package 'executorch'; install it with pip")
    root = Path(next(iter(spec.submodule_search_locations)))
    return Schema(*((root / p).read_text("utf-8") for p in paths))
