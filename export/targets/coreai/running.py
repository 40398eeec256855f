"""Apple's Core AI runtime as what runs an `.aimodel` here, on Linux and on macOS."""

from __future__ import annotations

import weakref
from importlib import metadata
from pathlib import Path

import numpy as np

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.coreai.reader import PARSER, open_asset
from export.targets.coreai.toolkit import Loop, package
from mobilemod.errors import UserError


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; the runtime chooses its threads itself."""
    del threads
    names = open_asset(path).names
    if len(names) != 1:
        raise UserError(f"{path}: not a network with one input")
    array = package("coreai.runtime._ndarray").NDArray
    loop = Loop()
    try:
        with quiet():
            asset = package(PARSER).AIModelAsset.load(path)
            held = asset.executable()
            model = loop(held.__aenter__())
            function = model.load_function(*model.function_names)
    except Exception as error:  # whatever the runtime throws
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: Core AI refuses the file: {reason}") from None

    def run(x: np.ndarray) -> np.ndarray:
        given = {names[0]: array(np.ascontiguousarray(x, np.float32))}
        try:
            (found,) = loop(function(given)).values()
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{path}: Core AI fails: {reason}") from None
        return found.numpy().reshape(-1).astype(np.float32)

    # What it was compiled to lies in a folder of its own, as long as it may run.
    weakref.finalize(run, _close, loop, held)
    return Runner(f"Core AI, coreai-core {metadata.version('coreai-core')}", run)


def _close(loop: Loop, held: object) -> None:
    with quiet():
        loop(held.__aexit__(None, None, None))
        loop.loop.close()
