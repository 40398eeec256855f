"""The command line: `mobilemod VERB …`; every make target is one of these."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from export.verbs.options import EXIT_INTERNAL, EXIT_OK, fail
from export.verbs.parser import Parser
from mobilemod import __version__
from mobilemod.errors import NOT_EVERYWHERE, UserError, os_error, shown
from mobilemod.files import irregular, require_writable
from mobilemod.interrupts import SAID, exit_code, raised_signals
from mobilemod.progress import working

# A module each, in the order of the help.
VERBS = (
    "make.data", "make.train", "make.export", "make.compile", "measure.validate", "measure.harness",
    "make.apps", "measure.stress", "look.predict", "look.inspect", "look.profile", "look.diff",
    "measure.sensitivity", "measure.search", "look.report", "look.advise", "look.card",
    "look.compare", "measure.arm64", "measure.gpu", "measure.bench",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code.

    0 done, 1 a gate failed, 2 bad input or environment, 3 an error of mobilemod's own, 4 no gate
    failed but one is undecided, 130 and 143 stopped by SIGINT and SIGTERM.
    """
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stopped:  # argparse's way to end, after its line or the help
        return int(stopped.code or EXIT_OK)
    try:
        _refuse_pipes(args)
        _require_writable(args)
        with raised_signals(), working(f"mobilemod {args.verb}"):
            return args.run(args)
    except UserError as error:
        return fail(str(error), args.debug)
    except BrokenPipeError:
        # Whoever read the output has enough (`| head`); nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:
        return fail(os_error(error), args.debug)
    except KeyboardInterrupt as error:
        return fail(SAID, args.debug, exit_code(error))
    except ModuleNotFoundError as error:
        message = f"{error.name} isn't installed here: run 'make setup'; {NOT_EVERYWHERE}"
        return fail(message, args.debug)
    except MemoryError:
        return fail("not enough memory; close other programs, or take fewer images", args.debug)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        message = f"internal error, {type(error).__name__}: {first}"
        return fail(f"{message} (--debug shows where)", args.debug, EXIT_INTERNAL)


def _require_writable(args: argparse.Namespace) -> None:
    """What can't be written is said before the work, not after it."""
    if getattr(args, "out", None) is not None:
        require_writable(args.out, "--out", folder=True)
    for option in ("json", "record", "model_explorer"):
        path = getattr(args, option, None)
        if path is not None and str(path) != "-":
            require_writable(Path(path), f"--{option.replace('_', '-')}")


def _refuse_pipes(args: argparse.Namespace) -> None:
    """Name what is given as a file and would hang or mislead whoever opens it."""
    given = [
        v for value in vars(args).values() for v in (value if isinstance(value, list) else [value])
    ]
    for path in (v for v in given if isinstance(v, Path)):
        with contextlib.suppress(OSError):
            kind = irregular(path.stat().st_mode)
            if kind and not path.is_relative_to("/dev"):
                raise UserError(f"{shown(path)} is a {kind}, not a file; give the file itself")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; imports no heavy package."""
    parser = Parser(
        prog="mobilemod",
        description="A vision network from a PyTorch checkpoint to int8 on a phone, measured.",
    )
    parser.add_argument("--version", action="version", version=f"mobilemod {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name in VERBS:
        verb = importlib.import_module(f"export.verbs.{name}")
        summary = verb.SUMMARY
        p = verbs.add_parser(
            name.rpartition(".")[2],
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example: {verb.EXAMPLE}",
        )
        p.add_argument("--json", metavar="FILE", help="write the result as JSON (- for stdout)")
        p.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb.add_options(p)
        p.set_defaults(run=verb.run)
    return parser
