"""Java class files (JVM specification, chapter 4): writes declarations, reads references."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAGIC, JAVA_8 = 0xCAFEBABE, 52
PUBLIC, STATIC, FINAL, VARARGS, NATIVE = 0x1, 0x8, 0x10, 0x80, 0x100
INTERFACE, ABSTRACT, SUPER = 0x200, 0x400, 0x20
ENUM = 0x4000

# Operand bytes of each opcode from 0 to 201; the switches (170, 171) and `wide` (196) are apart.
OPERANDS = [0] * 202
for _codes, _size in (
    ((16, 18, 188, *range(21, 26), *range(54, 59), 169), 1),
    ((17, 19, 20, 132, *range(153, 169), 198, 199, *range(178, 185), 187, 189, 192, 193), 2),
    ((197,), 3),
    ((185, 186, 200, 201), 4),
):
    for _code in _codes:
        OPERANDS[_code] = _size
TABLESWITCH, LOOKUPSWITCH, WIDE, IINC, LDC = 170, 171, 196, 132, 18
FIELD_OPS, METHOD_OPS = range(178, 182), range(182, 186)
STATIC_OPS = (178, 179, 184)


@dataclass
class Member:
    """A field or method to declare; `signature` is the generic one, empty where there is none."""

    name: str
    descriptor: str
    access: int = PUBLIC
    signature: str = ""
    nullable: bool = False


@dataclass
class Declared:
    """A class to declare, by internal name (`android/view/View$OnClickListener`)."""

    name: str
    superclass: str = "java/lang/Object"
    interfaces: list[str] = field(default_factory=list)
    access: int = PUBLIC | SUPER
    signature: str = ""
    fields: list[Member] = field(default_factory=list)
    methods: list[Member] = field(default_factory=list)
    nested: list[tuple[str, int]] = field(default_factory=list)


class _Pool:
    def __init__(self) -> None:
        self.items: dict[tuple, int] = {}
        self.data = bytearray()

    def _add(self, key: tuple, data: bytes) -> int:
        if key not in self.items:
            self.items[key] = len(self.items) + 1
            self.data += data
        return self.items[key]

    def utf8(self, text: str) -> int:
        raw = text.encode()
        return self._add(("u", text), struct.pack(">BH", 1, len(raw)) + raw)

    def cls(self, name: str) -> int:
        index = self.utf8(name)
        return self._add(("c", name), struct.pack(">BH", 7, index))


def write(declared: Declared) -> bytes:
    """The class file of a declaration: no method has code."""
    pool = _Pool()

    def attribute(name: str, data: bytes) -> bytes:
        return struct.pack(">HI", pool.utf8(name), len(data)) + data

    def member(one: Member) -> bytes:
        attributes = []
        if one.signature:
            attributes.append(attribute("Signature", struct.pack(">H", pool.utf8(one.signature))))
        if one.nullable:
            kind = pool.utf8("Lorg/jetbrains/annotations/Nullable;")
            data = struct.pack(">HHH", 1, kind, 0)
            attributes.append(attribute("RuntimeInvisibleAnnotations", data))
        head = struct.pack(
            ">HHHH", one.access, pool.utf8(one.name), pool.utf8(one.descriptor), len(attributes)
        )
        return head + b"".join(attributes)

    interfaces = b"".join(struct.pack(">H", pool.cls(name)) for name in declared.interfaces)
    body = struct.pack(
        ">HHHH",
        declared.access,
        pool.cls(declared.name),
        pool.cls(declared.superclass),
        len(declared.interfaces),
    )
    body += interfaces
    for members in (declared.fields, declared.methods):
        body += struct.pack(">H", len(members)) + b"".join(member(one) for one in members)
    attributes = []
    if declared.signature:
        attributes.append(attribute("Signature", struct.pack(">H", pool.utf8(declared.signature))))
    if declared.nested:
        data = struct.pack(">H", len(declared.nested))
        for name, access in declared.nested:
            outer, inner = name.rsplit("$", 1)
            data += struct.pack(
                ">HHHH", pool.cls(name), pool.cls(outer), pool.utf8(inner), access & ~SUPER | STATIC
            )
        attributes.append(attribute("InnerClasses", data))
    body += struct.pack(">H", len(attributes)) + b"".join(attributes)
    head = struct.pack(">IHHH", MAGIC, 0, JAVA_8, len(pool.items) + 1)
    return head + bytes(pool.data) + body


@dataclass(frozen=True)
class Reference:
    """What an instruction names: `owner` is an internal class name."""

    owner: str
    name: str
    descriptor: str
    is_method: bool
    is_static: bool


@dataclass
class Method:
    """A method of a compiled class and what its code names; `requires_api` from its annotation."""

    name: str
    descriptor: str
    references: list[Reference]
    classes: set[str]
    requires_api: int = 0


@dataclass
class Compiled:
    """A class file as it was read."""

    name: str
    superclass: str
    interfaces: list[str]
    methods: list[Method]
    requires_api: int = 0


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values

    def one(self, form: str) -> int:
        return self.take(form)[0]

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


def read(data: bytes) -> Compiled:
    """Names and references of a class file; raises ValueError for anything else."""
    reader = _Reader(data)
    if reader.one("I") != MAGIC:
        raise ValueError("no class file")
    reader.take("HH")
    pool = _read_pool(reader)
    text = pool.__getitem__

    def cls(index: int) -> str:
        return text(pool[index][1]) if index else ""

    _, this, parent, count = reader.take("HHHH")
    interfaces = [cls(reader.one("H")) for _ in range(count)]
    for _ in range(reader.one("H")):
        reader.take("HHH")
        _attributes(reader, pool)
    methods = []
    for _ in range(reader.one("H")):
        _, name, descriptor = reader.take("HHH")
        attributes = _attributes(reader, pool)
        references, classes = [], set()
        if "Code" in attributes:
            for opcode, index in _operands(attributes["Code"]):
                if not isinstance(pool[index], tuple):
                    continue  # a long or double
                kind, *rest = pool[index]
                if kind == 7:
                    classes.add(text(rest[0]))
                elif opcode in FIELD_OPS or (opcode in METHOD_OPS and kind in (10, 11)):
                    owner, pair = rest
                    member, shape = pool[pair][1:]
                    references.append(
                        Reference(cls(owner), text(member), text(shape), opcode in METHOD_OPS,
                                  opcode in STATIC_OPS)
                    )  # fmt: skip
        methods.append(
            Method(text(name), text(descriptor), references, classes, _requires(attributes, pool))
        )
    return Compiled(
        cls(this), cls(parent), interfaces, methods, _requires(_attributes(reader, pool), pool)
    )


def _read_pool(reader: _Reader) -> list:
    pool: list = [None] * reader.one("H")
    index = 1
    while index < len(pool):
        tag = reader.one("B")
        if tag == 1:
            pool[index] = reader.bytes(reader.one("H")).decode("utf-8", "replace")
        elif tag in (3, 4):
            pool[index] = (tag, reader.one("i"))
        elif tag in (5, 6):
            reader.take("q")
            index += 1
        elif tag in (7, 8, 16, 19, 20):
            pool[index] = (tag, reader.one("H"))
        elif tag in (9, 10, 11, 12, 17, 18):
            pool[index] = (tag, *reader.take("HH"))
        elif tag == 15:
            pool[index] = (tag, *reader.take("BH"))
        else:
            raise ValueError(f"constant of kind {tag}")
        index += 1
    return pool


def _attributes(reader: _Reader, pool: list) -> dict[str, bytes]:
    found = {}
    for _ in range(reader.one("H")):
        name, size = reader.take("HI")
        found[pool[name]] = reader.bytes(size)
    return found


def _operands(code: bytes) -> Iterator[tuple[int, int]]:
    """(opcode, constant index) of every instruction of a Code attribute that names a constant."""
    size = struct.unpack_from(">I", code, 4)[0]
    code = code[8 : 8 + size]
    at = 0
    while at < size:
        opcode = code[at]
        if opcode in (TABLESWITCH, LOOKUPSWITCH):
            base = at + 4 - at % 4
            low, high = struct.unpack_from(">ii", code, base + 4)
            cases = high - low + 1 if opcode == TABLESWITCH else 0
            at = base + 12 + 4 * cases if opcode == TABLESWITCH else base + 8 + 8 * low
            continue
        if opcode == WIDE:
            at += 6 if code[at + 1] == IINC else 4
            continue
        if opcode in FIELD_OPS or opcode in METHOD_OPS or opcode in (187, 189, 192, 193, 197, 19):
            yield opcode, struct.unpack_from(">H", code, at + 1)[0]
        elif opcode == LDC:
            yield opcode, code[at + 1]
        at += 1 + OPERANDS[opcode]


def _requires(attributes: dict[str, bytes], pool: list) -> int:
    """N of a `@RequiresApi(N)`, else 0."""
    data = attributes.get("RuntimeInvisibleAnnotations")
    if data is None:
        return 0
    reader = _Reader(data)
    for _ in range(reader.one("H")):
        kind, pairs = reader.take("HH")
        for _ in range(pairs):
            reader.take("H")
            tag = chr(reader.one("B"))
            if pool[kind] == "Landroidx/annotation/RequiresApi;" and tag == "I":
                return pool[reader.one("H")][1]
            if tag not in "BCDFIJSZsc":
                return 0  # other annotations with nested values: none of ours
            reader.take("H")
    return 0
