"""`python -m mobilemod.harness.worker JOBFOLDER`: lines go to standard output.

Exit codes: 0 done, 2 the job can't be run here (a fatal `error` line says why).
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from functools import partial
from pathlib import Path

from mobilemod.harness.protocol.lines import Writer
from mobilemod.harness.worker.execute import Refused, execute


def main() -> int:
    parser = argparse.ArgumentParser(prog="mobilemod.harness.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", default="host", help="what `hello` says the device is")
    parser.add_argument(
        "--stream",
        type=Path,
        help="also append the lines to this file; what stands there is not run again",
    )
    args = parser.parse_args()
    # Runtimes print to standard output: keep it for the lines, send theirs to standard error.
    out = os.dup(1)
    os.dup2(2, 1)
    held = args.stream.read_bytes() if args.stream and args.stream.is_file() else b""
    stream = args.stream.open("ab", buffering=0) if args.stream else None
    # A line that a killed run left cut off must not swallow the next one.
    if stream is not None and held and not held.endswith(b"\n"):
        stream.write(b"\n")

    def send(data: bytes) -> None:
        if stream is not None:
            _write(stream.fileno(), data)
        _write(out, data)

    try:
        execute(args.folder, send, args.kind, held)
    except Refused:
        return 2
    except BrokenPipeError:
        return 0  # nobody listens any more
    except OSError as error:
        # Seen when the device's disk is full: say so where it can still be said.
        what = "no space left on the device" if error.errno == errno.ENOSPC else str(error)
        _last_words(args.folder, partial(_write, out), what)
        return 2
    return 0


def _last_words(folder: Path, send, message: str) -> None:
    from mobilemod.errors import UserError
    from mobilemod.harness.protocol.job_folder import load_job

    try:
        job = load_job(folder, verify=False).job
    except UserError:
        return
    Writer(job.id, send).line("error", where="stream", message=message, fatal=True)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


if __name__ == "__main__":
    sys.exit(main())
