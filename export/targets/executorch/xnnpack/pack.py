"""An XNNPACK graph's flatbuffer as JSON values and back, by the `flatc` that executorch brings."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

JSON_WORDS = {"inf": "Infinity", "nan": "NaN"}
UNBOUNDED = re.compile(r"(?<=[\s:\[,+-])(inf|nan)(?=[\s,\]}])")


def graph_from_bytes(flatbuffer: bytes) -> dict[str, Any]:
    """An XNNPACK graph's flatbuffer as JSON values."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as serialize
    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    with tempfile.TemporaryDirectory() as folder:
        schema, data = Path(folder, "schema.fbs"), Path(folder, "graph.bin")
        schema.write_bytes(serialize._get_schema_bytes())
        data.write_bytes(flatbuffer)
        _flatc_decompile(folder, str(schema), str(data))
        text = Path(folder, "graph.json").read_text()
    return json.loads(UNBOUNDED.sub(lambda m: JSON_WORDS[m[0]], text))


def pack_delegate(graph: dict[str, Any], constants: bytes) -> bytes:
    """A delegate's bytes: header, graph, constants."""
    from executorch.backends.xnnpack.serialization import xnnpack_graph_serialize as serialize
    from executorch.exir._serialize._flatbuffer import _flatc_compile

    with tempfile.TemporaryDirectory() as folder:
        schema, data = Path(folder, "schema.fbs"), Path(folder, "graph.json")
        schema.write_bytes(serialize._get_schema_bytes())
        text = json.dumps(graph)
        for word, ours in JSON_WORDS.items():
            text = re.sub(rf"(?<=[\s:\[,-]){ours}(?=[\s,\]}}])", word, text)
        data.write_text(text)
        _flatc_compile(folder, str(schema), str(data))
        flatbuffer = Path(folder, "graph.bin").read_bytes()
    alignment = serialize.CONSTANT_TENSOR_ALIGNMENT
    header = serialize._aligned_size(serialize.XNNHeader.EXPECTED_LENGTH, alignment)
    body = serialize._aligned_size(len(flatbuffer), alignment)
    head = serialize.XNNHeader(header, len(flatbuffer), header + body, len(constants)).to_bytes()
    return head.ljust(header, b"\0") + flatbuffer.ljust(body, b"\0") + constants
