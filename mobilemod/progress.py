"""Progress bars with rate and time left, on stderr, only where it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None, unit: str) -> Iterator[T]:
    """Yield `items`, showing how far it is, the rate and the time left."""
    from tqdm import tqdm

    disable = not sys.stderr.isatty()
    yield from tqdm(items, desc=label, total=total, unit=unit, disable=disable, file=sys.stderr)
