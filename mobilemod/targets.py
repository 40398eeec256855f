"""The runtimes that files are lowered to: what is known of each without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One runtime.

    form: the mobile form that it is lowered from. twin: the precision of its float file. packages:
    what writes its files; not every machine has a build of them. profiled: its files can be taken
    apart and timed here. checked: a lowered file is compared with its program, op by op.
    """

    name: str
    suffix: str
    form: str
    twin: str
    packages: tuple[str, ...]
    profiled: bool = True
    checked: bool = False


TARGETS = {
    t.name: t
    for t in (
        Target("executorch", ".pte", "xnnpack", "float32", ("executorch",)),
        Target("tflite", ".tflite", "xnnpack", "float32", ("litert_torch", "litert_converter")),
        Target("coreml", ".mlpackage", "coreml", "float16", ("coremltools",), False, True),
    )
}
SUFFIXES = tuple(t.suffix for t in TARGETS.values())


def target_of(path: Path) -> Target | None:
    """The target whose suffix a file has, None where none has it."""
    return next((t for t in TARGETS.values() if t.suffix == path.suffix), None)
