"""`mobilemod inspect` says what is int8 in model files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from export.verbs.make.compile import qnn_option
from export.verbs.options import (
    EXIT_OK,
    EXIT_USER,
    emit,
    fail,
    model_explorer_option,
    require_explorer,
)
from mobilemod.targets import suffixes_in_words

if TYPE_CHECKING:
    from export.graph import FileGraph

SUMMARY = f"what is int8 in a {suffixes_in_words()}"
NPU_SCHEMA = "mobilemod/npu-inspection/1"
EXAMPLE = "mobilemod inspect dist/efficientmod_xxs/efficientmod_xxs_int8.tflite"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    p.add_argument("file", type=Path, nargs="+", help="model files")
    p.add_argument("--npu", metavar="NPU",
                   help="what an NPU takes, op by op: a chip of Qualcomm's installed compiler, "
                        "or by published lists mediatek, google-tensor")  # fmt: skip
    qnn_option(p)
    model_explorer_option(p, "int8 or float and why")


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.auditing.inspecting import inspect_files
    from export.auditing.text import format_audit

    require_explorer(args, args.file)
    if args.npu:
        from export.npu.compile import inspect_npu, inspected_text, require_npu

        require_npu(args.npu)
        found = [inspect_npu(path, args.npu, args.qnn) for path in args.file]
        emit(args, {"schema": NPU_SCHEMA, "files": found}, "\n".join(map(inspected_text, found)))
        return EXIT_OK
    graphs: list[FileGraph] = []
    found = inspect_files(args.file, args.debug, graphs.append)
    if args.model_explorer and graphs:
        from export.model_explorer import write_kinds

        write_kinds(graphs[0], args.file[0], args.model_explorer)
    if found.files or args.json:
        emit(args, found.to_dict(), "\n".join(map(format_audit, found.files)))
    for _, why in found.errors:
        fail(why, debug=False)
    return EXIT_USER if found.errors else EXIT_OK
