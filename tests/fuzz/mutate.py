"""Mutations of model files: what storms, transfers and ill will do to bytes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

WORDS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """`data` after one to four changes; `others` are files that pieces are taken from."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(CHANGES)(bytearray(data), rng, others)
    return data


def _flip(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    for _ in range(rng.choice((1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _word(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    """A length, an offset or an index becomes another: these lie at multiples of their size."""
    size = rng.choice((2, 4, 4, 4, 8))
    at = rng.randrange(max(1, len(data) // size)) * size
    value = rng.choice(
        (*WORDS, len(data), len(data) - at, rng.randrange(1 << 16), rng.getrandbits(64))
    )
    data[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, "little")
    return bytes(data)


def _near(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    """A small whole number becomes its neighbour: still in range, but not what was meant."""
    at = rng.randrange(max(1, len(data) // 4)) * 4
    if at < len(data):
        data[at] = (data[at] + rng.choice((-4, -1, 1, 4))) % 256
    return bytes(data)


def _cut(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    return bytes(data[: rng.randrange(len(data) + 1)])


def _splice(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    source = rng.choice(others)
    length = min(rng.choice((4, 16, 64, 512)), len(source), len(data))
    start, at = rng.randrange(len(source) - length + 1), rng.randrange(len(data) - length + 1)
    data[at : at + length] = source[start : start + length]
    return bytes(data)


def _move(data: bytearray, rng: random.Random, others: list[bytes]) -> bytes:
    """Bytes are lost or come twice, so that all behind them stands elsewhere."""
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 4, 16, 256))
    data[at : at + rng.choice((0, length))] = data[at : at + rng.choice((0, length))]
    if rng.random() < 0.5:
        del data[at : at + length]
    return bytes(data)


CHANGES = (_flip, _flip, _word, _word, _near, _cut, _splice, _move)


def mutate_package(source: Path, made: Path, rng: random.Random, others: list[bytes]) -> None:
    """Write a changed copy of an `.mlpackage`: protobuf (bytes or fields), weights, manifest."""
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(source, made)
    files = sorted(p for p in made.rglob("*") if p.is_file())
    model = next(p for p in files if p.suffix == ".mlmodel")
    choice = rng.random()
    if choice < 0.5:
        model.write_bytes(_change_fields(model.read_bytes(), rng))
        return
    file = model if choice < 0.7 else rng.choice(files)
    if rng.random() < 0.03:
        file.unlink()
    else:
        file.write_bytes(mutate(file.read_bytes(), rng, others))


def _change_fields(data: bytes, rng: random.Random) -> bytes:
    """The protobuf with some of its fields changed, each still of its type."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        message = spec
        for _ in range(40):
            inner = _messages(message)
            if not inner or (message is not spec and rng.random() < 0.12):
                break
            message = rng.choice(inner)
        _change_field(message, rng)
    return spec.SerializeToString()


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _messages(message: Any) -> list[Any]:
    found: list[Any] = []
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            found += [v for v in value.values() if hasattr(v, "ListFields")]
        elif hasattr(value, "ListFields"):
            found.append(value)
        else:
            found += list(value)
    return found


def _change_field(message: Any, rng: random.Random) -> None:
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    name = field.name
    if _is_map(field):
        keys = list(value)
        if keys:
            del value[rng.choice(keys)]
    elif hasattr(value, "ListFields"):
        message.ClearField(name)
    elif hasattr(value, "append") or hasattr(value, "add"):
        at = rng.randrange(len(value))
        if rng.random() < 0.4 or field.message_type is None:
            del value[at]
        else:
            value.add().CopyFrom(value[at])
    elif isinstance(value, bool):
        setattr(message, name, not value)
    elif isinstance(value, int):
        for number in rng.sample((0, 1, -1, value + 1, 2**31 - 1, 2**40, 2**63 - 1, 77), 8):
            try:
                setattr(message, name, number)
                return
            except ValueError:  # beyond the field's range
                continue
    elif isinstance(value, str):
        setattr(
            message, name, rng.choice(("", "x" * 2000, value[:-1], "\x1b[2J", "../../w", "main"))
        )
    elif isinstance(value, bytes):
        setattr(message, name, value[: len(value) // 2])
    elif isinstance(value, float):
        setattr(message, name, rng.choice((float("nan"), float("inf"), -1.0, 0.0)))
