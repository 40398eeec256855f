"""Apple's Core AI runtime as what runs an `.aimodel` here, on Linux and on macOS."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from export.quiet import quiet
from export.targets.base import Runner
from export.targets.coreai.reader import PARSER, open_asset
from export.targets.coreai.toolkit import package, words
from mobilemod.errors import UserError

# Inputs by name, contiguous and of the file's number formats -> outputs by name.
Function = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def load(path: Path, threads: int = 1) -> Runner:
    """A `Runner` of the file; the runtime chooses its threads itself."""
    del threads
    names = open_asset(path).names
    if len(names) != 1:
        raise UserError(f"{path}: not a network with one input")
    function = start(path, path)

    def run(x: np.ndarray) -> np.ndarray:
        (found,) = function({names[0]: np.ascontiguousarray(x, np.float32)}).values()
        return found.reshape(-1).astype(np.float32)

    return Runner(described(), run)


def described() -> str:
    """What runs the files here, with version."""
    return f"Core AI, coreai-core {metadata.version('coreai-core')}"


def start(path: Path, shown: Path) -> Function:
    """The one function of the asset at `path`, compiled; errors call it `shown`."""
    array = package("coreai.runtime._ndarray").NDArray
    loop = asyncio.Runner()  # its calls are asynchronous, those here are not
    try:
        with quiet():
            asset = package(PARSER).AIModelAsset.load(path)
            held = asset.executable()
            model = loop.run(held.__aenter__())
            function = model.load_function(*model.function_names)
    except Exception as error:  # whatever the runtime throws
        raise UserError(f"{shown}: Core AI refuses the file: {words(error)}") from None

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = loop.run(function({name: array(x) for name, x in inputs.items()}))
        except Exception as error:
            raise UserError(f"{shown}: Core AI fails: {words(error)}") from None
        return {name: value.numpy() for name, value in found.items()}

    # What it was compiled to lies in a folder of its own, as long as it may run.
    weakref.finalize(run, _close, loop, held)
    return run


def _close(loop: asyncio.Runner, held: Any) -> None:
    with quiet():
        loop.run(held.__aexit__(None, None, None))
        loop.close()
