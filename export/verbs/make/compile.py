"""`mobilemod compile` compiles a bundle for phones' NPUs, by compilers that the user has."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.verbs.options import EXIT_OK, bundle_option, emit, listed
from mobilemod.errors import UserError

SUMMARY = "compile a bundle for the NPUs of chips"
EXAMPLE = "mobilemod compile dist/efficientmod_xxs --soc SM8750,SM8650"


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    bundle_option(p)
    p.add_argument("--soc", required=True, metavar="CHIP,…",
                   help="chips by the compiler's names; 'list' shows them")  # fmt: skip
    qnn_option(p)


def qnn_option(p: argparse.ArgumentParser) -> None:
    """Where Qualcomm's compiler is."""
    p.add_argument("--qnn", type=Path, metavar="DIR",
                   help="Qualcomm's compiler: a folder that onnxruntime-qnn was installed to, or a "
                        "QAIRT one; MOBILEMOD_QNN, else this environment's")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do it; the exit code."""
    from export.npu.compile import FOLDER, compile_bundle, compiled_text
    from export.npu.qualcomm import find_compiler

    if args.soc == "list":
        chips = find_compiler(args.qnn).chips
        emit(args, {"schema": "mobilemod/chips/1", "chips": list(chips)}, " ".join(chips))
        return EXIT_OK
    chips = listed(args.soc)
    if not chips:
        raise UserError("--soc names no chip; 'list' shows them")
    records = compile_bundle(args.bundle, chips, args.qnn)
    text = f"{compiled_text(records)}\nin {args.bundle / FOLDER}"
    emit(args, {"schema": "mobilemod/npus/1", "records": records}, text)
    return EXIT_OK
