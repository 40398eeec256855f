"""Mutants of a manifest: of its values and of its bytes, each by a number alone."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from mobilemod.sealed import sealed

# What JSON can hold, and what it can't but Python's parser takes.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -0.0, 0.5, 2**53 + 1, 2**64, -(2**70), 10**30, 10**400, 1e308,
    -1e308, 5e-324, float("nan"), float("inf"), float("-inf"), "", " ", "0", "224", "null", "NaN",
    "..", ".", "/", "/etc/passwd", "../../x", "a/../../x", "a//b", "a\\..\\b", "C:\\x", "~", "-rf",
    "a\0b", "a\nb", "\x1b[31m", "\u202e", "\u2028", "\ud800", "\U0001f600", "ﷺ" * 50, "é 漢",
    "x" * 300, "y" * 100_000, "f" * 64, "F" * 64, "0" * 63, "manifest.json", "MANIFEST.JSON",
    "labels.txt", "golden/0.png", "tiny_int8.tflite", "tiny_int8.tflite/x", "golden",
    "mobilemod/manifest/1", "mobilemod/manifest/2", "<script>alert(1)</script>", "%s%n{0}",
    [], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}}, [0.1], [0.1] * 3, ["a"] * 3,
    [1] * 10, [10**400] * 10, list(range(5000)), {str(i): i for i in range(2000)},
    {"\ud800": 1}, {"a\nb": 1}, {"__proto__": {}}, {"schema": 1},
)  # fmt: skip
KEYS = (
    "", "schema", "Schema", "digest", "file", "files", "sha256", "bytes", "x", "audit", "\ud800",
    "a\nb", "y" * 10_000, "size", "mean", "__class__", "model_config", "accuracy", "labels ",
)  # fmt: skip
# JSON's grammar as text, where a value is no value that Python could write.
TEXTS = (
    "[" * 300 + "]" * 300, "[" * 100_000, '{"a":' * 150 + "1" + "}" * 150, "1e999", "-1e999",
    "9" * 5000, "01", "+1", ".5", "1.", "0x10", "nul", "'a'", '"\\ud800"', '"\\u0000"', '"\\x"',
    "1 2", "[1,]", '{"a":1,}', '{"a":1,"a":2}', "// x\n1", "", "-", "\ufeff1",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037")


def mutant(values: dict[str, Any], seed: int, number: int) -> bytes:
    """The bytes of one `manifest.json`; the same for the same numbers."""
    rng = random.Random(f"{seed} {number}")
    if rng.random() < 0.2:
        return _of_bytes(json.dumps(values, indent=1, ensure_ascii=False).encode(), rng)
    changed = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        changed = _of_values(changed, rng)
    if isinstance(changed, dict) and rng.random() < 0.8:
        changed = sealed(changed)
    text = json.dumps(changed)
    if rng.random() < 0.15:
        text = _of_text(text, rng)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value below."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            _places(inner, found)
    return found


def _of_values(values: Any, rng: random.Random) -> Any:
    places = _places(values, []) if isinstance(values, dict | list) else []
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    top = [(container, key) for container, key in places if container is values]
    # Logits are most of the places and the least of the schema.
    short = [p for p in places if not (isinstance(p[0], list) and len(p[0]) > 3)]
    container, key = rng.choice(rng.choice((top, short or top, places)))
    how = rng.randrange(7)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[rng.choice(KEYS)] = container.pop(key)
    elif how == 2:
        if isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        else:
            container[rng.choice(KEYS)] = copy.deepcopy(container[key])
    elif how == 3:
        other, place = rng.choice(places)
        container[key] = copy.deepcopy(other[place])
    elif how == 4:
        container[key] = _near(container[key], rng)
    elif how == 5:
        container[key] = [container[key]] if rng.random() < 0.5 else {"x": container[key]}
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))
    return values


def _near(value: Any, rng: random.Random) -> Any:
    """A value of the same kind, or its text."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int) and abs(value) > 2**1000:
        return -value
    if isinstance(value, int | float):
        return rng.choice((value + 1, -value, value * 1000, float(value), str(value), value / 3))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice(("", "x", "/", "..", "é", "\0", " ")) + value[at + 1 :]
    if isinstance(value, list):
        return rng.choice((value * 2, value[:-1], value[::-1], [value, value], value[:1]))
    return list(value.values())


def _of_text(text: str, rng: random.Random) -> str:
    """A value, or a spot, of the text replaced by what no writer writes."""
    marks = [i for i, c in enumerate(text) if c in ":,["]
    at = rng.choice(marks) + 1 if marks else 0
    end = min((i for i in (text.find(c, at) for c in ",]}") if i > 0), default=at)
    return text[:at] + rng.choice(TEXTS) + text[end if rng.random() < 0.7 else at :]


def _of_bytes(data: bytes, rng: random.Random) -> bytes:
    how = rng.randrange(6)
    if how == 0:
        return data[: rng.randrange(len(data))]
    if how == 1:
        return data.decode().encode(rng.choice(ENCODINGS))
    if how == 2:
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if how == 3:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 20)):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(changed)
    if how == 4:
        key = rng.choice(("schema", "files", "digest", "model")).encode()
        return data.replace(b"{", b'{"' + key + b'": ' + rng.choice((b"null", b'"x"')) + b",", 1)
    return rng.choice((b"", b"{", b"\0" * 100, data * 2, data + b"\0", rng.randbytes(500)))
