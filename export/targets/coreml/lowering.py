"""Core ML: a mobile form or its quantized program as an ML program, by coremltools.

The package takes an RGB image, height x width. A classifier gives the label, the probabilities by
label and the logits, float32 (1, K), and Xcode previews it with its labels; other networks give the
logits alone, of maps float32 (1, K, h, w), or the map of classes alone, int32 (1, h, w): an ML
program has no output of 8 bits.
The program computes in float16; int8 where the quantized program says so (iOS 17 and later).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.quiet import quiet
from export.targets.base import ModelInfo
from export.targets.coreml.evaluator import LOGITS
from export.targets.coreml.program import convert, write_package
from export.targets.coreml.reader import INPUT_NAME, PREPROCESS_KEY, WEIGHTS_FOLDER
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.runs import CLASSES, NONE
from mobilemod.files import atomic_folder

LABEL = "classLabel"


class OfPixels(nn.Module):
    """A network whose input is RGB pixels (1, 3, H, W) in 0..255.

    Core ML's own image scale is one number for all channels, so mean and std are ops here:
    subtract first, which in float16 loses least.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess):
        super().__init__()
        self.network = network
        mean, std = (
            torch.tensor(v).double()[None, :, None, None] * 255
            for v in (preprocess.mean, preprocess.std)
        )
        self.register_buffer("mean", mean.float())
        self.register_buffer("gain", (1 / std).float())

    def forward(self, image: Tensor) -> Tensor:
        return self.network((image - self.mean) * self.gain)


class ImageClassifier(OfPixels):
    """The same with probabilities (1, K) as its output."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(super().forward(image), -1)


class MapOfClasses(OfPixels):
    """The same with the class of the largest score at each pixel, int32 (1, h, w).

    Core ML's own argmax may give any of equal scores, so the lower class is sought among them.
    """

    def __init__(self, network: nn.Module, preprocess: Preprocess, classes: int):
        super().__init__(network, preprocess)
        self.register_buffer("classes", torch.arange(float(classes))[None, :, None, None])
        self.register_buffer("none", torch.full((1, 1, 1, 1), float(NONE)))

    def forward(self, image: Tensor) -> Tensor:
        scores = super().forward(image)
        largest = scores == scores.amax(1, keepdim=True)
        return torch.where(largest, self.classes, self.none).amin(1).to(torch.int32)


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write `module` as `.mlpackage`, ML program for iOS 17, float16.

    int8: `module` is a quantized program with folded weights. The same inputs give the same
    bytes. Raises `UserError` where labels and classes differ in number.
    """
    if len(info.labels) != module.num_classes:
        raise UserError(
            f"{info.name}: {len(info.labels)} labels for {module.num_classes} classes; "
            f"give one label per class"
        )
    with quiet():
        model = _converted(module, info)
        spec = model.get_spec()
        weights = Path(model.weights_dir)
    if info.classifier:
        _add_logits(spec)
    _write(spec, weights, info, path, int8)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the package at `source` to `path` with other labels and name: the same program."""
    import coremltools as ct

    with quiet():
        spec = ct.utils.load_spec(str(source))
    if info.classifier:
        names = _class_names(spec)
        if len(names) != len(info.labels):
            raise UserError(f"{info.name}: {len(info.labels)} labels for {len(names)} classes")
        for name, text in zip(names, unique_labels(info.labels), strict=True):
            name.immediateValue.tensor.strings.values[0] = text
    _write(spec, source / WEIGHTS_FOLDER, info, path, int8)


def _write(spec: Any, weights: Path, info: ModelInfo, path: Path, int8: bool) -> None:
    _describe(spec, info, int8)
    with atomic_folder(path) as folder:
        write_package(spec, weights, folder, int8)


def _class_names(spec: Any) -> Any:
    """The program's own list of class names, which `classify` reads; string values of MIL."""
    classify = next(op for op in _block(spec).operations if op.type == "classify")
    return classify.inputs["classes"].arguments[0].value.immediateValue.list.values


def _block(spec: Any) -> Any:
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    return block


def _converted(module: nn.Module, info: ModelInfo) -> Any:
    import coremltools as ct

    shape = (1, *info.preprocess.shape)
    more: dict[str, Any]
    if info.classifier:
        wrapped: nn.Module = ImageClassifier(module, info.preprocess)
        more = {"classifier_config": ct.ClassifierConfig(unique_labels(info.labels), LABEL)}
    elif info.answer == CLASSES:
        wrapped = MapOfClasses(module, info.preprocess, module.num_classes)
        more = {"outputs": [ct.TensorType(CLASSES, dtype=np.int32)]}
    else:
        wrapped = OfPixels(module, info.preprocess)
        more = {"outputs": [ct.TensorType(LOGITS, dtype=np.float32)]}
    image = ct.ImageType(INPUT_NAME, shape=shape, color_layout=ct.colorlayout.RGB)
    return convert(wrapped.eval(), shape, inputs=[image], **more)


def unique_labels(labels: tuple[str, ...]) -> list[str]:
    """The labels, a repeated one with its class index: probabilities are keyed by label."""
    count = Counter(labels)
    return [s if count[s] == 1 else f"{s} ({i})" for i, s in enumerate(labels)]


def _add_logits(spec: Any) -> None:
    """Make the softmax's input an output too: coremltools 9.0 takes no second one in a classifier.

    The probabilities reach `classify` through a cast to float32; the logits get the same cast.
    """
    block = _block(spec)
    producer = {out.name: op for op in block.operations for out in op.outputs}
    classify = next(op for op in block.operations if op.type == "classify")
    last_cast = producer[classify.inputs["probabilities"].arguments[0].name]
    softmax = producer[last_cast.inputs["x"].arguments[0].name]
    if last_cast.type != "cast" or softmax.type != "softmax":
        raise RuntimeError(f"unexpected end of the program: {softmax.type}, {last_cast.type}")
    cast = block.operations.add()
    cast.CopyFrom(last_cast)
    cast.inputs["x"].arguments[0].name = softmax.inputs["x"].arguments[0].name
    cast.outputs[0].name = LOGITS
    cast.attributes["name"].immediateValue.tensor.strings.values[0] = LOGITS
    block.outputs.append(LOGITS)
    feature = spec.description.output.add(name=LOGITS)
    array = feature.type.multiArrayType
    shape = cast.outputs[0].type.tensorType.dimensions
    array.shape.extend(d.constant.size for d in shape)
    array.dataType = array.FLOAT32


def _describe(spec: Any, info: ModelInfo, int8: bool) -> None:
    """Descriptions and metadata."""
    description = spec.description
    precision = "int8 weights and activations" if int8 else "float16"
    taken = info.preprocess
    meta = description.metadata
    meta.shortDescription = f"{info.name}: {info.kind}, {taken.pixels_text} pixels, {precision}"
    meta.versionString = info.origin.version
    meta.author, meta.license = info.origin.author, info.origin.license
    user = meta.userDefined
    if info.classifier:
        user["com.apple.coreml.model.preview.type"] = "imageClassifier"
    user[PREPROCESS_KEY] = json.dumps(taken.to_dict(), sort_keys=True)
    user["labels"] = json.dumps(list(info.labels), ensure_ascii=False)
    texts = {
        INPUT_NAME: f"RGB image; {_seen(taken)}, {taken.interpolation} to {taken.pixels_text}; "
        "normalized in the model",
        LOGITS: "Scores before the softmax, in the order of the labels",
        CLASSES: "The class of each pixel, by its place among the labels",
        LABEL: "Most likely class",
        f"{LABEL}_probs": "Probability of each class",
    }
    for feature in (*description.input, *description.output):
        feature.shortDescription = texts.get(feature.name, "")


def _seen(spec: Preprocess) -> str:
    """Which part of an image the network sees, for people."""
    square = "the shorter side" if spec.height == spec.width else "its height or width"
    fits = {"stretch": "each side, stretched", "letterbox": "both sides, bars beside it"}
    sides = fits.get(spec.fit, square)
    return f"centre crop of {spec.crop_fraction:g} of {sides}"
