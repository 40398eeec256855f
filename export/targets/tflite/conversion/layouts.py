"""Layouts of tensors that the converter dequantizes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def layouts_kept() -> Iterator[None]:
    """Inside the block, litert-torch's layout pass forgets nothing of a tensor that it dequantizes.

    It forgets shape and layout where it turns one for a reader: it then refuses the next that wants
    it otherwise, or takes it for turned already.
    """
    from litert_torch._convert.fx_passes import OptimizeLayoutTransposesPass as Layout

    insert = Layout.insert_t_q_dq

    def insert_and_keep(self: Any, graph: Any, dequantized: Any, *rest: Any) -> Any:
        known = dict(dequantized.meta)
        made = insert(self, graph, dequantized, *rest)
        dequantized.meta = known
        return made

    Layout.insert_t_q_dq = insert_and_keep
    try:
        yield
    finally:
        Layout.insert_t_q_dq = insert
