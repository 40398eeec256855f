"""A bundle whose two `.tflite` files run in microseconds: averages over an 8 x 8 grid, one layer.

For tests of what is around a network, on any device that LiteRT runs on; the int8 file is int8
within. Weights are drawn at random, labels are Imagenette's first ten ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from mobilemod.data.imagefolder import ImageFolder, read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.files import write_text
from mobilemod.harness.worker.runtimes import load_tflite
from mobilemod.manifest import seal_bundle
from tests.manifests import manifest_values, model_entry

SIZE, CELL, CLASSES = 32, 4, 10
FEATURES = (SIZE // CELL) ** 2 * 3
IDS = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079",
    "n03394916", "n03417042", "n03425413", "n03445777", "n03888257",
)  # fmt: skip
PREPROCESS = Preprocess(size=SIZE)
PRECISIONS = ("int8", "float32")
# (scale, zero point) of int8 activations: normalized pixels, logits.
INPUT, OUTPUT = (0.02, 0), (0.05, 0)


class Builder:
    """A flatbuffer model under construction, one subgraph."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: int,
        scale: tuple[float, int] | None = None,
        data: np.ndarray | None = None,
    ) -> int:
        """Add one; its index."""
        t = schema.TensorT()
        t.name, t.shape, t.type, t.buffer = name, list(shape), kind, 0
        if scale is not None:
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale, t.quantization.zeroPoint = [scale[0]], [scale[1]]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            t.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def op(
        self, code: int, inputs: list[int], output: int, kind: int = 0, options: Any = None
    ) -> None:
        """Add one, of the first version of its kind that takes int8."""
        c = schema.OperatorCodeT()
        c.builtinCode, c.deprecatedBuiltinCode = code, min(code, 127)
        c.version = 1
        o = schema.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = len(self.model.operatorCodes), inputs, [output]
        o.builtinOptionsType, o.builtinOptions = kind, options
        self.model.operatorCodes.append(c)
        self.graph.operators.append(o)

    def pooled(
        self, sides: tuple[int, int], cell: int, scale: tuple[float, int] | None
    ) -> tuple[int, int]:
        """The image, float32 (1, H, W, 3), and its means over cells; with a scale in int8."""
        ops, options = schema.BuiltinOperator, schema.BuiltinOptions
        kind = schema.TensorType.FLOAT32 if scale is None else schema.TensorType.INT8
        source = x = self.tensor("image", (1, *sides, 3), schema.TensorType.FLOAT32)
        if scale is not None:
            x = self.tensor("codes", (1, *sides, 3), kind, scale)
            self.op(ops.QUANTIZE, [source], x, options.QuantizeOptions, schema.QuantizeOptionsT())
        pooled = self.tensor("pooled", (1, *(side // cell for side in sides), 3), kind, scale)
        pool = schema.Pool2DOptionsT()
        pool.padding = schema.Padding.VALID
        pool.strideW = pool.strideH = pool.filterWidth = pool.filterHeight = cell
        self.op(ops.AVERAGE_POOL_2D, [x], pooled, options.Pool2DOptions, pool)
        return source, pooled

    def weights(self, values: np.ndarray, int8: bool) -> int:
        """A constant of float32 values; int8 with one scale."""
        if not int8:
            return self.tensor("weights", values.shape, schema.TensorType.FLOAT32, None, values)
        scale = float(np.abs(values).max() / 127)
        codes = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        return self.tensor("weights", values.shape, schema.TensorType.INT8, (scale, 0), codes)

    def as_float(self, codes: int, shape: tuple[int, ...]) -> int:
        """The numbers of an int8 tensor."""
        y = self.tensor("out", shape, schema.TensorType.FLOAT32)
        ops, options = schema.BuiltinOperator, schema.BuiltinOptions
        self.op(ops.DEQUANTIZE, [codes], y, options.DequantizeOptions, schema.DequantizeOptionsT())
        return y

    def finish(self, source: int, target: int) -> bytes:
        """The file."""
        self.graph.inputs, self.graph.outputs = [source], [target]
        self.model.subgraphs = [self.graph]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def network(weights: np.ndarray, int8: bool) -> bytes:
    """The file of one precision. weights: float32 (CLASSES, FEATURES)."""
    b = Builder()
    kind = schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32
    ops, options = schema.BuiltinOperator, schema.BuiltinOptions
    inner, outer = (INPUT, OUTPUT) if int8 else (None, None)
    source, pooled = b.pooled((SIZE, SIZE), CELL, inner)
    flat = b.tensor("flat", (1, FEATURES), kind, inner)
    shape = b.tensor("shape", (2,), schema.TensorType.INT32, None, np.array([1, FEATURES], "<i4"))
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, FEATURES]
    b.op(ops.RESHAPE, [pooled, shape], flat, options.ReshapeOptions, reshape)
    w = b.weights(weights, int8)
    y = b.tensor("logits", (1, CLASSES), kind, outer)
    dense = schema.FullyConnectedOptionsT()
    b.op(ops.FULLY_CONNECTED, [flat, w, -1], y, options.FullyConnectedOptions, dense)
    return b.finish(source, b.as_float(y, (1, CLASSES)) if int8 else y)


def make_bundle(folder: Path, seed: int = 0) -> Path:
    """A whole bundle in `folder`, which is returned. Another seed is another network."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.1, (CLASSES, FEATURES)).astype(np.float32)
    pixels = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    files = {precision: network(weights, precision == "int8") for precision in PRECISIONS}
    return write_bundle(folder, "tiny", files, IDS, PREPROCESS, pixels)


def write_bundle(
    folder: Path,
    name: str,
    files: Mapping[str, bytes],
    ids: Sequence[str],
    preprocess: Preprocess,
    pixels: np.ndarray,
    golden: Callable[[dict[str, np.ndarray]], dict[str, Any]] = lambda outputs: {
        "logits": {file: found.tolist() for file, found in outputs.items()}
    },
    **more: Any,
) -> Path:
    """A bundle of `.tflite` files by their precision, in `folder`, which is returned.

    pixels: of the golden images, uint8 (N, H, W, 3); golden: what the manifest has of the files'
    outputs on one of them; more: other values of the manifest.
    """
    (folder / "golden").mkdir(parents=True)
    entries, outputs = [], [{} for _ in pixels]
    for precision, content in files.items():
        path = folder / f"{name}_{precision}.tflite"
        path.write_bytes(content)
        loaded = load_tflite(path)
        for found, image in zip(outputs, pixels, strict=True):
            found[path.name] = loaded.infer(loaded.prepare(preprocess.normalize(image[None])))
        entries.append(model_entry(path, "tflite", precision))
    images = []
    for i, (image, found) in enumerate(zip(pixels, outputs, strict=True)):
        path = f"golden/{i}.png"
        Image.fromarray(image).save(folder / path)
        images.append({"image": path, "origin": "drawn", "target": None, **golden(found)})
    write_text(folder / "labels.txt", "".join(f"{i}\n" for i in ids))
    labels = [{"id": i, "label": i} for i in ids]
    values = manifest_values(
        name, labels, preprocess.to_dict(), files=entries, golden=images, **more
    )
    seal_bundle(folder, values)
    return folder


def draw_data(root: Path, count: int) -> Path:
    """A data folder for the bundle: `count` drawn images of each class, some darker."""
    rng = np.random.default_rng(1)
    for i, wnid in enumerate(IDS):
        folder = root / "val" / wnid
        folder.mkdir(parents=True)
        for j in range(count):
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) // (1 + (i + j) % 3)
            Image.fromarray(pixels).save(folder / f"{j}.png")
    return root


# What a shell would take for commands, and what some file systems would not take.
HOSTILE_NAMES = (
    "it's", 'a "b" c', "$(touch x)", "`id`; rm -rf .", "-rf", "é 漢", "a&b|c>d", "\\ *",
)  # fmt: skip


def draw_images(root: Path, count: int) -> ImageFolder:
    """`count` drawn JPEG files in three classes, names and folders hostile."""
    rng = np.random.default_rng(3)
    for i in range(count):
        folder = root / f"class {i % 3}; $(id)"
        folder.mkdir(exist_ok=True)
        small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((256, 192), Image.Resampling.BICUBIC)
        name = HOSTILE_NAMES[i % len(HOSTILE_NAMES)]
        image.save(folder / f"{name} {i}.jpg", quality=90)
    return read_folder(root)
