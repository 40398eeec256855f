"""What is in the part of a `.pte` that Vulkan's delegate is given: a flatbuffer behind a header.

The schema comes with the executorch package; constants lie among the file's named data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.targets.executorch.reader import packaged_schema
from export.targets.flatbuffer import DamagedError, at

BACKEND = "VulkanBackend"
SCHEMA = "backends/vulkan/serialization/schema.fbs"
MAGIC, MAGIC_AT, PLACE_AT = b"VH00", 4, 10
Value = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class VulkanGraph:
    """calls: (op, indices of its values, what it writes last), in order. values: (kind, fields);
    inputs, outputs: their indices. constants: the bytes of a tensor by its `constant_id`, None for
    what lies outside the file."""

    calls: tuple[tuple[str, tuple[int, ...]], ...]
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[memoryview | None, ...]

    def value(self, index: int) -> Value:
        """A value; `DamagedError` where there is none."""
        return at(self.values, index, "value")

    def setting(self, index: int) -> Any:
        """A value that is no tensor, as a number, a text, a list of numbers or None."""
        kind, fields = self.value(index)
        if kind == "Null":
            return None
        (found,) = fields.values() if len(fields) == 1 else (None,)
        return found.tolist() if isinstance(found, np.ndarray) else found


def read_vulkan(block: memoryview, named: dict[str, memoryview]) -> VulkanGraph:
    """The graph in a delegate's bytes; `DamagedError` where they contradict themselves."""
    if bytes(block[MAGIC_AT : MAGIC_AT + len(MAGIC)]) != MAGIC or len(block) < PLACE_AT + 20:
        raise DamagedError("Vulkan's part of it has no header")
    place, size, data_at, data_size = struct.unpack_from("<IIIQ", block, PLACE_AT)
    if place + size > len(block) or data_at + data_size > len(block):
        raise DamagedError("Vulkan's part of it is cut short")
    graph = packaged_schema(SCHEMA).read(block[place : place + size], "VkGraph")
    inline = block[data_at : data_at + data_size]
    return VulkanGraph(
        tuple((c["name"], tuple(map(int, c["args"]))) for c in graph["chain"]),
        tuple(v["value"] or ("Null", {}) for v in graph["values"]),
        tuple(map(int, graph["input_ids"])),
        tuple(map(int, graph["output_ids"])),
        tuple(_bytes(c, inline, named) for c in graph["constants"]),
    )


def _bytes(
    constant: dict[str, Any], inline: memoryview, named: dict[str, memoryview]
) -> memoryview | None:
    if constant["named_key"]:
        return named.get(constant["named_key"])
    start, length = int(constant["offset"]), int(constant["length"])
    if start + length > len(inline):
        raise DamagedError("a constant of Vulkan's lies outside its part")
    return inline[start : start + length]
