"""Apple's Core AI runtime as what runs an `.aimodel` here, on Linux and on macOS."""

from __future__ import annotations

import asyncio
import weakref
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.coreai.reader import PARSER, open_asset
from export.targets.coreai.toolkit import package, words
from mobilemod.errors import UserError


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; the runtime chooses its threads itself."""
    del threads
    names = open_asset(path).names
    if len(names) != 1:
        raise UserError(f"{path}: not a network with one input")
    array = package("coreai.runtime._ndarray").NDArray
    loop = asyncio.Runner()  # its calls are asynchronous, those here are not
    try:
        with quiet():
            asset = package(PARSER).AIModelAsset.load(path)
            held = asset.executable()
            model = loop.run(held.__aenter__())
            function = model.load_function(*model.function_names)
    except Exception as error:  # whatever the runtime throws
        raise UserError(f"{path}: Core AI refuses the file: {words(error)}") from None

    def run(x: np.ndarray) -> np.ndarray:
        given = {names[0]: array(np.ascontiguousarray(x, np.float32))}
        try:
            (found,) = loop.run(function(given)).values()
        except Exception as error:
            raise UserError(f"{path}: Core AI fails: {words(error)}") from None
        return found.numpy().reshape(-1).astype(np.float32)

    # What it was compiled to lies in a folder of its own, as long as it may run.
    weakref.finalize(run, _close, loop, held)
    return Runner(f"Core AI, coreai-core {metadata.version('coreai-core')}", run)


def _close(loop: asyncio.Runner, held: Any) -> None:
    with quiet():
        loop.run(held.__aexit__(None, None, None))
        loop.close()
