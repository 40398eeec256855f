"""Silence for frameworks that write to the terminal from Python and from C++."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what the block writes to stdout and stderr, warnings and log records included.

    Works on the file descriptors, so C++ libraries are silenced too; exceptions pass through.
    Not for use from several threads at once: descriptors belong to the whole process.
    """
    disabled = logging.root.manager.disable
    _flush()
    saved = [os.dup(1), os.dup(2)]
    try:
        with open(os.devnull, "w") as sink, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            # Python's own streams may have been replaced and not lead to the descriptors.
            with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
                yield
    finally:
        _flush()
        for number, copy in enumerate(saved, 1):
            os.dup2(copy, number)
            os.close(copy)
        logging.disable(disabled)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(Exception):
                stream.flush()
