"""What is expensive to make, made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Lazily(dict[str, T], Generic[T]):
    """Values by name; `make` makes each once."""

    def __init__(self, make: Callable[[str], T]):
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> T:
        self[name] = self.make(name)
        return self[name]
