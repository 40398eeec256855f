"""`mobilemod inspect` says what is int8 in model files."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.make.compile import qnn_option
from export.verbs.options import EXIT_OK, EXIT_USER, emit, fail, os_error
from mobilemod.errors import UserError
from mobilemod.targets import suffixes_in_words

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


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.auditing.audit import SCHEMA, inspect_file
    from export.auditing.text import format_audit

    if args.npu:
        from export.npu.compile import inspect_npu, inspected_text, require_npu

        require_npu(args.npu)
        found = [inspect_npu(path, args.npu, args.qnn) for path in args.file]
        emit(args, {"schema": NPU_SCHEMA, "files": found}, "\n".join(map(inspected_text, found)))
        return EXIT_OK
    audits, errors = [], []
    for path in args.file:
        try:
            audits.append(inspect_file(path))
        except (UserError, OSError) as error:
            if args.debug:
                raise
            told = os_error(error) if isinstance(error, OSError) else str(error)
            errors.append({"file": str(path), "error": told})
    record = {"schema": SCHEMA, "files": [a.to_dict() for a in audits], "errors": errors}
    if audits or args.json:
        emit(args, record, "\n".join(format_audit(a) for a in audits))
    for error in errors:
        fail(error["error"], debug=False)
    return EXIT_USER if errors else EXIT_OK
