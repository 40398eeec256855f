"""A bundle whose two `.tflite` files make maps of classes in microseconds.

As `tests.tiny_bundle`: means over cells of 4 x 4 pixels, then one 1 x 1 convolution. The input is
no square. Weights are drawn at random, so that a class is a part of the colours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from export.targets.tflite.edit import TfliteModel
from mobilemod.data.preprocess import Preprocess
from mobilemod.files import write_text
from mobilemod.tasks import get_task
from tests.tiny_bundle import PRECISIONS, Builder, write_bundle

SIDES, CELL, CLASSES = (32, 48), 4, 5
MAP = (SIDES[0] // CELL, SIDES[1] // CELL)
IDS = tuple(f"class {c}" for c in range(CLASSES))
PREPROCESS = Preprocess(SIDES, crop_fraction=1.0, interpolation="bilinear", fit="stretch")
# (scale, zero point) of int8 activations: normalized pixels, scores.
INPUT, OUTPUT = (0.02, 0), (0.02, 0)


def network(weights: np.ndarray, int8: bool) -> bytes:
    """The file of one precision. weights: float32 (CLASSES, 3)."""
    b = Builder()
    inner, outer = (INPUT, OUTPUT) if int8 else (None, None)
    source, pooled = b.pooled(SIDES, CELL, inner)
    w = b.weights(weights.reshape(CLASSES, 1, 1, 3), int8)
    bias = np.zeros(CLASSES, np.int32 if int8 else np.float32)
    kinds = schema.TensorType
    zero = b.tensor("bias", bias.shape, kinds.INT32 if int8 else kinds.FLOAT32, None, bias)
    if int8:
        scales = schema.QuantizationParametersT()
        step = b.graph.tensors[w].quantization.scale[0] * INPUT[0]
        scales.scale, scales.zeroPoint = [step], [0]
        b.graph.tensors[zero].quantization = scales
    shape = (1, *MAP, CLASSES)
    y = b.tensor("scores", shape, kinds.INT8 if int8 else kinds.FLOAT32, outer)
    convolution = schema.Conv2DOptionsT()
    convolution.padding = schema.Padding.VALID
    convolution.strideW = convolution.strideH = 1
    convolution.dilationWFactor = convolution.dilationHFactor = 1
    options = schema.BuiltinOptions.Conv2DOptions
    b.op(schema.BuiltinOperator.CONV_2D, [pooled, w, zero], y, options, convolution)
    return b.finish(source, b.as_float(y, shape) if int8 else y)


def of_classes(content: bytes) -> bytes:
    """The file that answers with the map of the classes, as an export writes it."""
    edited = TfliteModel(content)
    edited.answer_classes()
    return edited.pack()


def make_maps_bundle(folder: Path, seed: int = 0, answer: str = "scores") -> Path:
    """A whole bundle in `folder`, which is returned. Another seed is another network."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.5, (CLASSES, 3)).astype(np.float32)
    files = {precision: network(weights, precision == "int8") for precision in PRECISIONS}
    if answer == "classes":
        files = {precision: of_classes(content) for precision, content in files.items()}
    pixels = np.stack([scene(rng) for _ in range(2)])
    task = get_task("segmentation")
    return write_bundle(
        folder, "maps", files, IDS, PREPROCESS, pixels, task.golden, task=task.name,
        map=list(MAP), answer=answer,
    )  # fmt: skip


def scene(rng: np.random.Generator, sides: tuple[int, int] = SIDES) -> np.ndarray:
    """uint8 (H, W, 3): a few coloured rectangles with some noise."""
    found = np.full((*sides, 3), rng.integers(0, 256, 3), np.int64)
    for _ in range(6):
        top, left = (int(rng.integers(0, side)) for side in sides)
        height, width = (int(rng.integers(side // 4, side)) for side in sides)
        found[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return (found + rng.integers(-20, 21, found.shape)).clip(0, 255).astype(np.uint8)


def draw_scenes(root: Path, count: int) -> Path:
    """A data folder for the bundle: `count` scenes of several sizes with drawn labels."""
    rng = np.random.default_rng(1)
    for part in ("images", "labels"):
        (root / "val" / part).mkdir(parents=True)
    for i in range(count):
        sides = (40 + 3 * i, 70 - 2 * i)
        Image.fromarray(scene(rng, sides)).save(root / "val/images" / f"{i}.png")
        labels = np.full(sides, i % CLASSES, np.uint8)
        labels[: sides[0] // 2, : sides[1] // 3] = (i + 2) % CLASSES
        labels[-3:] = 255
        Image.fromarray(labels).save(root / "val/labels" / f"{i}.png")
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in IDS))
    return root
