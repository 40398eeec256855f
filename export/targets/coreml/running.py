"""Core ML itself on macOS, elsewhere the MIL evaluator, as what runs a package here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from export.targets.base import Runner
from export.targets.coreml.evaluator import LOGITS, MilProgram, compile_program
from export.targets.coreml.reader import INPUT_NAME, open_package
from mobilemod.data.preprocess import Preprocess
from mobilemod.evaluation.runs import CLASSES, NONE
from mobilemod.targets.coreml import FACTS

EVALUATOR = "MIL evaluator (not Core ML)"


def pixels_of(normalized: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """The whole pixel values float32 (N, 3, H, W), 0..255, behind normalized images."""
    mean, std = (
        np.asarray(v, np.float32)[:, None, None] for v in (preprocess.mean, preprocess.std)
    )
    return np.clip(np.rint((normalized * std + mean) * np.float32(255)), 0, 255)


def load(path: Path, threads: int = 1) -> Runner:
    """A runner of the package: Core ML itself on macOS, elsewhere the MIL evaluator.

    It takes normalized pixels; values between two 8-bit pixels become the nearer one, because
    the file takes an image. Raises `UserError` for a damaged file.
    """
    if sys.platform == "darwin":
        return Runner(*_core_ml(Path(path)))
    program = compile_program(open_package(path))

    def run(x: np.ndarray) -> np.ndarray:
        return evaluate(program, pixels_of(x, program.package.preprocess), threads)[0]

    return Runner(f"{EVALUATOR}, {versions()}", run)


def versions() -> str:
    """What the evaluator is made of, with versions."""
    return f"torch {torch.__version__}, coremltools {metadata.version('coremltools')}"


def evaluate(program: MilProgram, taken: np.ndarray, threads: int) -> np.ndarray:
    """float32 (1, K), or a map of classes uint8 (1, h, w), of one image as the program takes it;
    several at once already fall out of the processor's cache."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = program.run(torch.from_numpy(taken)).numpy()
        return map_given(found) if program.output == CLASSES else found
    finally:
        torch.set_num_threads(before)


def map_given(found: np.ndarray) -> np.ndarray:
    """uint8 of a map of classes as a program gives it, int32; `NONE` everywhere where a pixel of
    it has no largest score."""
    return np.where((found == NONE).any(), NONE, found).astype(np.uint8)


def _core_ml(path: Path) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    import platform

    import coremltools as ct
    from PIL import Image

    package = open_package(path)
    preprocess = package.preprocess
    if path.suffix == FACTS.suffix:
        model = ct.models.MLModel(str(path))
    else:  # Core ML goes by the suffix
        holder = Path(tempfile.mkdtemp()) / f"model{FACTS.suffix}"
        shutil.copytree(path, holder)
        model = ct.models.MLModel(str(holder))

    def run(x: np.ndarray) -> np.ndarray:
        pixels = np.moveaxis(pixels_of(x, preprocess)[0], 0, -1).astype(np.uint8)
        given = model.predict({INPUT_NAME: Image.fromarray(pixels)})
        if CLASSES in package.output_names:
            return map_given(np.asarray(given[CLASSES]))[0]
        return np.asarray(given[LOGITS])[0]

    return f"Core ML, macOS {platform.mac_ver()[0]}", run
