"""Depthwise kernels in pieces that add up to them, each of as few taps as a runtime is fast at.

XNNPACK's depthwise kernels compute 9 or 25 taps, used or not; a larger kernel falls back to a path
that is several times slower. A piece is placed by dilation and by equal padding on both sides, so
that no slice or pad is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

COSTS = (9, 25)
LARGEST = 31  # rows or columns: beyond, the search takes seconds
Taps = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """A part of a kernel: the taps at `rows` x `columns`, evenly spaced around the centre."""

    rows: Taps
    columns: Taps

    @property
    def taps(self) -> int:
        """How many."""
        return len(self.rows) * len(self.columns)

    @property
    def dilation(self) -> tuple[int, int]:
        """Distance between taps."""
        return _step(self.rows), _step(self.columns)

    def padding(self, whole: Sequence[int]) -> tuple[int, int]:
        """Rows above and below, columns left and right, where the whole kernel has `whole`.

        Below zero: so many are to be cut off.
        """
        return whole[0] - self.rows[0], whole[1] - self.columns[0]


def _step(taps: Taps) -> int:
    return taps[1] - taps[0] if len(taps) > 1 else 1


@cache
def split(kernel: tuple[int, int], most_taps: int) -> tuple[Piece, ...]:
    """Pieces of at most `most_taps` taps for a kernel of (rows, columns); most taps first.

    One piece, all of it, where the kernel has no more, where it is beyond `LARGEST`, or where
    `most_taps` is 0 for no limit; a limit is at least 4, as the corners are one piece. Else the
    split of least cost, then of fewest pieces, among those that cut rows first or columns first:
    for 7x7, 9x9 and 11x11 no other split costs less, for 13x13 the best costs 193 instead of 202.
    """
    rows, columns = kernel
    if not most_taps or rows * columns <= most_taps or max(kernel) > LARGEST:
        return (Piece(tuple(range(rows)), tuple(range(columns))),)
    by_rows = _cut(rows, columns, most_taps)
    by_columns = [Piece(p.columns, p.rows) for p in _cut(columns, rows, most_taps)]
    best = min(by_rows, by_columns, key=lambda pieces: _cost(p.taps for p in pieces))
    return tuple(sorted(best, key=lambda p: (-p.taps, p.rows, p.columns)))


def _cut(rows: int, columns: int, most: int) -> list[Piece]:
    """The rows in groups, then the columns of each group."""
    groups: dict[int, tuple[Taps, ...]] = {}
    for count in range(1, min(rows, most) + 1):
        fitting = [g for g in _groupings(columns) if max(map(len, g)) * count <= most]
        if fitting:
            groups[count] = min(fitting, key=lambda g: _cost(count * len(c) for c in g))
    fitting = [g for g in _groupings(rows) if all(len(r) in groups for r in g)]
    pieces = ([Piece(r, c) for r in g for c in groups[len(r)]] for g in fitting)
    return min(pieces, key=lambda found: _cost(p.taps for p in found))


def _cost(taps: Iterator[int]) -> tuple[int, int]:
    """(taps computed, pieces)."""
    computed = [next((c for c in COSTS if n <= c), n) for n in taps]
    return sum(computed), len(computed)


@cache
def _groupings(size: int) -> tuple[tuple[Taps, ...], ...]:
    """Every way to divide 0 … size - 1 into evenly spaced taps around the centre."""
    spaced = [
        tuple(range(first, size - first, step))
        for first in range((size + 1) // 2)
        for step in range(1, max(size - 2 * first, 2))
        if (size - 1 - 2 * first) % step == 0
    ]

    def divide(left: frozenset[int]) -> Iterator[tuple[Taps, ...]]:
        if not left:
            yield ()
            return
        for taps in spaced:
            if min(left) in taps and left.issuperset(taps):
                yield from ((taps, *rest) for rest in divide(left - set(taps)))

    return tuple(divide(frozenset(range(size))))


def whole_kernel(pieces: Sequence[Piece], parts: Sequence[Tensor]) -> Tensor:
    """The kernel, (C, 1, rows, columns), of its pieces; a part (C, 1, 1, 1) fills its piece."""
    size = (1 + max(max(taps) for taps in axis)
            for axis in zip(*((p.rows, p.columns) for p in pieces), strict=True))  # fmt: skip
    kernel = parts[0].new_zeros(len(parts[0]), 1, *size)
    for piece, part in zip(pieces, parts, strict=True):
        rows, columns = torch.tensor(piece.rows), torch.tensor(piece.columns)
        kernel[:, :, rows[:, None], columns] = part
    return kernel
