"""What reading a package needs of coremltools, without the rest of it: its import takes seconds."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from mobilemod.errors import UserError

# The protobuf modules import each other by relative names alone, so any package name will do; the
# message classes are the same ones under both.
PROTO = "coremltools_proto"
# An operation of MIL itself; those with a namespace are dialects.
OPERATION = re.compile(r"^@register_op(?![^\n]*namespace)[^\n]*\n(?:@[^\n]*\n)*class (\w+)", re.M)


def model_type() -> Any:
    """The protobuf class of a specification, `Model`."""
    if PROTO not in sys.modules:
        folder = _folder() / "proto"
        spec = importlib.util.spec_from_file_location(
            PROTO, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        sys.modules[PROTO] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PROTO])
    return importlib.import_module(f"{PROTO}.Model_pb2").Model


@functools.cache
def known_ops() -> frozenset[str]:
    """The operations that coremltools documents; a custom one may do anything."""
    sources = (_folder() / "converters/mil/mil/ops/defs").rglob("*.py")
    names = (OPERATION.findall(path.read_text("utf-8")) for path in sources)
    return frozenset(name for found in names for name in found) | {"write_state"}


def _folder() -> Path:
    spec = importlib.util.find_spec("coremltools")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("reading a Core ML package needs 'coremltools'; install it with pip")
    return Path(next(iter(spec.submodule_search_locations)))
