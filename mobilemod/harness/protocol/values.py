"""JSON that came from outside, read key by key; what is wrong is said in one line.

Needs the standard library and `mobilemod.errors`: this file also runs on devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mobilemod.errors import UserError

_PART = re.compile(r"[A-Za-z0-9._-]{1,255}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")  # what UTF-8 can't hold
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


def check_path(text: Any, where: str = "job.json") -> str:
    """A relative path of safe parts, as it is; `UserError` for any other."""
    parts = text.split("/") if isinstance(text, str) else [""]
    if len(parts) > 16 or any(p in (".", "..") or not _PART.match(p) for p in parts):
        raise UserError(
            f"{where}: the path {short(text)} isn't allowed; only relative ones of "
            "letters, digits, '.', '_' and '-'"
        )
    return text


def short(value: Any) -> str:
    """A value as a message may show it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


class Values:
    """A JSON object that is read key by key; a wrong one is a `UserError` naming it."""

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise UserError(f"{where} is no JSON object")
        self._values, self._where = values, where

    def fail(self, key: str, expected: str) -> UserError:
        return UserError(
            f"{self._where}: {key} is {short(self._values.get(key))}, expected {expected}"
        )

    def text(self, key: str, allowed: tuple[str, ...] | None = None, most: int = 4096) -> str:
        value = self._values.get(key)
        if not isinstance(value, str) or len(value) > most or _SURROGATE.search(value):
            raise self.fail(key, "text")
        if allowed is not None and value not in allowed:
            raise self.fail(key, f"one of {', '.join(allowed)}")
        return value

    def digest(self, key: str = "sha256") -> str:
        value = self._values.get(key)
        if not isinstance(value, str) or not _HEX64.match(value):
            raise self.fail(key, "64 hex digits")
        return value

    def path(self, key: str = "path") -> str:
        return check_path(self._values.get(key), self._where)

    def whole(self, key: str, least: int = 0, most: int = 2**53) -> int:
        value = self._values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fail(key, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, most: float = 1e6) -> float:
        value = self._values.get(key)
        ok = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
        if not ok:
            raise self.fail(key, f"a number from 0 to {most:g}")
        return value

    def flag(self, key: str) -> bool:
        if not isinstance(self._values.get(key), bool):
            raise self.fail(key, "true or false")
        return self._values[key]

    def items(self, key: str, most: int, read: Callable[[Values], Any]) -> tuple[Any, ...]:
        value = self._values.get(key)
        if not isinstance(value, list) or len(value) > most:
            raise self.fail(key, f"a list of at most {most}")
        return tuple(read(Values(v, f"{self._where}: {key} {i}")) for i, v in enumerate(value))

    def maybe(self, key: str, read: Callable[[str], Any]) -> Any:
        return None if self._values.get(key) is None else read(key)

    def object(self, key: str) -> Values:
        return Values(self._values.get(key), f"{self._where}: {key}")

    def raw(self, key: str) -> Any:
        return self._values.get(key)
