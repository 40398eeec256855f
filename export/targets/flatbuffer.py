"""Reads a flatbuffer by its schema's text (`.fbs`): every table as a dict, nothing generated.

Covers what model files use: tables, unions, enums, strings and vectors; no structs. Every offset
is checked, and what one file may make of itself is bounded: its bytes may come from anyone.
Source of the layout: FlatBuffers' "Internals" page (vtables, offsets, little-endian).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
T = TypeVar("T")


class DamagedError(ValueError):
    """The bytes contradict themselves: an offset, a length or an index that leads nowhere."""


class UnsupportedError(ValueError):
    """The bytes are whole, but of a kind that the reader doesn't know."""


def at(items: Sequence[T], index: int, what: str) -> T:
    """`items[index]`; `DamagedError` where there is none: an index of a file counts from 0."""
    if not 0 <= index < len(items):
        raise DamagedError(f"{what} {index} of {len(items)}")
    return items[index]


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

        Numeric vectors are NumPy arrays. A union's member whose table the schema leaves out is an
        empty dict. Raises `DamagedError`, or `UnsupportedError` for members of a newer schema.
        """
        try:
            return _Reading(self, data).table(_get(data, "I", 0), root)
        except RecursionError:
            raise DamagedError("tables lie within tables without end") from None


class _Reading:
    """One reading of `data`.

    Writers store a table once, seldom twice, so a file's tables, texts and numbers take no more
    than its bytes: one that shares tables to unfold into far more is refused.
    """

    def __init__(self, schema: Schema, data: bytes):
        self.schema, self.data = schema, data
        self.left = 2 * len(data) + 1024

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise DamagedError("its tables unfold into more than it has bytes for")

    def table(self, at: int, name: str) -> dict[str, Any]:
        data, schema = self.data, self.schema
        self.spend(4)
        vtable = at - _get(data, "i", at)
        size = _get(data, "H", vtable)

        def place(slot: int) -> int:
            entry = 4 + 2 * slot
            offset = _get(data, "H", vtable + entry) if entry < size else 0
            return at + offset if offset else 0

        result: dict[str, Any] = {}
        for field in schema.tables[name]:
            where = place(field.slot)
            if field.kind in schema.unions:
                tag = place(field.slot - 1)
                member = _get(data, "B", tag) if tag else 0
                result[field.name] = self.union(where, field.kind, member)
            elif field.vector:
                result[field.name] = self.vector(where, field.kind)
            else:
                result[field.name] = self.value(where, field.kind)
        return result

    def union(self, at: int, kind: str, member: int) -> tuple[str, dict] | None:
        if not member or not at:
            return None
        members = self.schema.unions[kind]
        if member > len(members):
            raise UnsupportedError(f"{kind} has no member {member} in the schema installed here")
        name, table = members[member - 1]
        if table not in self.schema.tables:
            return name, {}
        return name, self.table(at + _get(self.data, "I", at), table)

    def value(self, at: int, kind: str) -> Any:
        data = self.data
        if kind in SCALARS:
            return _get(data, SCALARS[kind], at) if at else 0
        if kind in self.schema.enums:
            code, members = self.schema.enums[kind]
            value = _get(data, code, at) if at else 0
            return members.get(value, value)
        if not at:
            return "" if kind == "string" else None
        at += _get(data, "I", at)
        if kind == "string":
            length = _get(data, "I", at)
            self.spend(length)
            if at + 4 + length > len(data):
                raise DamagedError(f"a text of {length} bytes leads beyond the end")
            return str(memoryview(data)[at + 4 : at + 4 + length], "utf-8", "replace")
        return self.table(at, kind)

    def vector(self, at: int, kind: str) -> Any:
        numeric = kind in SCALARS
        if not at:
            return np.zeros(0, f"<{SCALARS[kind]}") if numeric else []
        at += _get(self.data, "I", at)
        length = _get(self.data, "I", at)
        size = np.dtype(SCALARS[kind]).itemsize if numeric else 4
        if at + 4 + length * size > len(self.data):
            raise DamagedError(f"a vector of {length} {kind} leads beyond the end")
        if kind != "ubyte":  # constants' bytes stay where they are
            self.spend(size * length)
        if numeric:
            return np.frombuffer(self.data, f"<{SCALARS[kind]}", length, at + 4)
        return [self.value(at + 4 + 4 * i, kind) for i in range(length)]


def _get(data: bytes, code: str, at: int) -> Any:
    try:
        if at >= 0:
            return struct.unpack_from(f"<{code}", data, at)[0]
    except struct.error:
        pass
    raise DamagedError(f"an offset leads to byte {at} of {len(data)}")
