"""Reads a flatbuffer by its schema's text (`.fbs`): every table as a dict, nothing generated.

Covers what model files use: tables, unions, enums, strings and vectors; no structs.
Source of the layout: FlatBuffers' "Internals" page (vtables, offsets, little-endian).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

# Schema type -> struct code, which NumPy shares with a leading "<".
SCALARS = {
    "bool": "?",
    **dict.fromkeys(("byte", "int8"), "b"),
    **dict.fromkeys(("ubyte", "uint8"), "B"),
    **dict.fromkeys(("short", "int16"), "h"),
    **dict.fromkeys(("ushort", "uint16"), "H"),
    **dict.fromkeys(("int", "int32"), "i"),
    **dict.fromkeys(("uint", "uint32"), "I"),
    **dict.fromkeys(("long", "int64"), "q"),
    **dict.fromkeys(("ulong", "uint64"), "Q"),
    **dict.fromkeys(("float", "float32"), "f"),
    **dict.fromkeys(("double", "float64"), "d"),
}
_BLOCK = re.compile(r"\b(table|union|enum)\s+(\w+)\s*(?::\s*(\w+)\s*)?\{(.*?)\}", re.S)
_FIELD = re.compile(r"^(\w+)\s*:\s*(\[?)\s*(\w+)\s*\]?")


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str
    vector: bool
    slot: int


class Schema:
    """A parsed schema; `read` turns bytes into nested dicts.

    Fields that a file leaves out are 0, "", None (tables, unions) or empty (vectors).
    """

    def __init__(self, *texts: str):
        blocks = [b for t in texts for b in _BLOCK.findall(re.sub(r"//[^\n]*", "", t))]
        self.enums: dict[str, tuple[str, dict[int, str]]] = {}
        self.unions: dict[str, list[tuple[str, str]]] = {}
        self.tables: dict[str, list[_Field]] = {}
        for what, name, base, body in blocks:
            if what == "enum":
                members = re.findall(r"(\w+)\s*=\s*(-?\d+)", body)
                self.enums[name] = (SCALARS[base], {int(v): k for k, v in members})
            elif what == "union":
                found = re.findall(r"(\w+)(?:\s*:\s*(\w+))?\s*(?:,|$)", body.strip())
                self.unions[name] = [(member, table or member) for member, table in found]
        for what, name, _, body in blocks:
            if what == "table":
                self.tables[name] = self._fields(body)

    def _fields(self, body: str) -> list[_Field]:
        fields, slot = [], 0
        for line in body.split(";"):
            if match := _FIELD.match(line.strip()):
                name, bracket, kind = match.groups()
                slot += kind in self.unions  # a union's hidden type field comes first
                fields.append(_Field(name, kind, bool(bracket), slot))
                slot += 1
        return fields

    def read(self, data: bytes, root: str) -> dict[str, Any]:
        """The table `root` that `data` holds. Unions are (member, dict), enums member names.

        Numeric vectors are NumPy arrays. Raises struct.error or ValueError on damaged data.
        """
        return self._table(data, _get(data, "I", 0), root)

    def _table(self, data: bytes, at: int, name: str) -> dict[str, Any]:
        vtable = at - _get(data, "i", at)
        size = _get(data, "H", vtable)

        def place(slot: int) -> int:
            entry = 4 + 2 * slot
            offset = _get(data, "H", vtable + entry) if entry < size else 0
            return at + offset if offset else 0

        result: dict[str, Any] = {}
        for field in self.tables[name]:
            where = place(field.slot)
            if field.kind in self.unions:
                tag = place(field.slot - 1)
                member = _get(data, "B", tag) if tag else 0
                result[field.name] = self._union(data, where, field.kind, member)
            elif field.vector:
                result[field.name] = self._vector(data, where, field.kind)
            else:
                result[field.name] = self._value(data, where, field.kind)
        return result

    def _union(self, data: bytes, at: int, kind: str, member: int) -> tuple[str, dict] | None:
        if not member or not at:
            return None
        if member > len(self.unions[kind]):
            raise ValueError(f"{kind} has no member {member}")
        name, table = self.unions[kind][member - 1]
        return name, self._table(data, at + _get(data, "I", at), table)

    def _value(self, data: bytes, at: int, kind: str) -> Any:
        if kind in SCALARS:
            return _get(data, SCALARS[kind], at) if at else 0
        if kind in self.enums:
            code, members = self.enums[kind]
            value = _get(data, code, at) if at else 0
            return members.get(value, value)
        if not at:
            return "" if kind == "string" else None
        at += _get(data, "I", at)
        if kind == "string":
            length = _get(data, "I", at)
            return str(memoryview(data)[at + 4 : at + 4 + length], "utf-8")
        return self._table(data, at, kind)

    def _vector(self, data: bytes, at: int, kind: str) -> Any:
        numeric = kind in SCALARS
        if not at:
            return np.zeros(0, f"<{SCALARS[kind]}") if numeric else []
        at += _get(data, "I", at)
        length = _get(data, "I", at)
        if numeric:
            return np.frombuffer(data, f"<{SCALARS[kind]}", length, at + 4)
        if 4 * length > len(data):
            raise ValueError(f"a vector of {length} {kind} is longer than the file")
        return [self._value(data, at + 4 + 4 * i, kind) for i in range(length)]


def _get(data: bytes, code: str, at: int) -> Any:
    if at < 0:
        raise ValueError("an offset points before the data")
    return struct.unpack_from(f"<{code}", data, at)[0]
