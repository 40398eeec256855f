"""What a `.pte` says of itself: the method "metadata", which returns labels and preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

from export.quiet import quiet
from export.targets.base import ModelInfo
from mobilemod.files import atomic_path

METADATA_METHOD = "metadata"


def notes(info: ModelInfo) -> str:
    """What the method returns, as JSON."""
    values = {
        "name": info.name,
        "labels": list(info.labels),
        "preprocess": info.preprocess.to_dict(),
    }
    return json.dumps(values, sort_keys=True)


def relabel(source: Path, info: ModelInfo, path: Path) -> None:
    """Write the `.pte` at `source` to `path` with other labels and name: the same program."""
    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

        file = deserialize_pte_binary(source.read_bytes())
        plan = next(p for p in file.program.execution_plan if p.name == METADATA_METHOD)
        plan.values[0].val.string_val = notes(info)
        content = bytes(serialize_pte_binary(file, extract_delegate_segments=True))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
