"""TFLite Metadata: the standard `TFLITE_METADATA` flatbuffer and the label file behind the model.

Written with flatbuffers' builder against the field numbers of the published schema
(metadata_schema.fbs of TFLite Support, file identifier M001), because the package that writes it
needs old versions of protobuf and NumPy.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np

from export.targets.base import ModelInfo
from mobilemod.evaluation.runs import CLASSES

METADATA_NAME = "TFLITE_METADATA"
PREPROCESS_NAME = "MOBILEMOD_PREPROCESS"
LABELS_FILE = "labels.txt"
FILE_IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
# Members of the schema's enumerations and unions.
TENSOR_AXIS_LABELS, COLOR_RGB = 2, 1
FEATURE_PROPERTIES, IMAGE_PROPERTIES = 1, 2
NORMALIZATION_OPTIONS = 1


def _table(builder: flatbuffers.Builder, fields: Mapping[int, int | np.uint8 | np.uint32]) -> int:
    """Write a table: by its fields' numbers, offsets or values of their NumPy type."""
    builder.StartObject(max(fields, default=-1) + 1)
    for number, value in fields.items():
        if isinstance(value, np.uint8):
            builder.PrependUint8Slot(number, int(value), 0)
        elif isinstance(value, np.uint32):
            builder.PrependUint32Slot(number, int(value), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return builder.EndObject()


def _offsets(builder: flatbuffers.Builder, items: Sequence[int]) -> int:
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    return builder.CreateNumpyVector(np.array(values, np.float32))


def model_metadata(info: ModelInfo, output_name: str) -> bytes:
    """The `ModelMetadata` flatbuffer: image input with mean and std, output with its labels.

    Mean and std speak of pixel values 0..255, as the schema's readers apply them.
    """
    b = flatbuffers.Builder(1024)
    spec = info.preprocess
    mean = _floats(b, [255 * m for m in spec.mean])
    std = _floats(b, [255 * s for s in spec.std])
    options = _table(b, {0: mean, 1: std})
    units = _offsets(b, [_table(b, {0: np.uint8(NORMALIZATION_OPTIONS), 1: options})])
    size = _table(b, {0: np.uint32(spec.width), 1: np.uint32(spec.height)})
    image = _table(b, {0: np.uint8(COLOR_RGB), 1: size})
    content = _table(b, {0: np.uint8(IMAGE_PROPERTIES), 1: image})
    highest = _floats(b, [(1 - m) / s for m, s in zip(spec.mean, spec.std, strict=True)])
    lowest = _floats(b, [-m / s for m, s in zip(spec.mean, spec.std, strict=True)])
    stats = _table(b, {0: highest, 1: lowest})
    name = b.CreateString("image")
    text = b.CreateString(
        f"float32 (1, {spec.height}, {spec.width}, 3), NHWC, {spec.color}: "
        f"(pixel / 255 - mean) / std; "
        f"resizing and cropping as in the metadata buffer {PREPROCESS_NAME}"
    )
    tensor_in = _table(b, {0: name, 1: text, 3: content, 4: units, 5: stats})
    content = _table(b, {0: np.uint8(FEATURE_PROPERTIES), 1: _table(b, {})})
    file_name = b.CreateString(LABELS_FILE)
    text = b.CreateString("one label per line, in the order of the classes")
    labels = _table(b, {0: file_name, 1: text, 2: np.uint8(TENSOR_AXIS_LABELS)})
    files = _offsets(b, [labels])
    name = b.CreateString(output_name)
    shape = "(1, classes)" if info.classifier else "(1, height, width, classes), NHWC"
    classes = "uint8 (1, height, width), the class of each pixel"
    given = classes if info.answer == CLASSES else f"float32 {shape}, logits before softmax"
    text = b.CreateString(given)
    tensor_out = _table(b, {0: name, 1: text, 3: content, 6: files})
    inputs, outputs = _offsets(b, [tensor_in]), _offsets(b, [tensor_out])
    subgraphs = _offsets(b, [_table(b, {2: inputs, 3: outputs})])
    name = b.CreateString(info.name)
    text = b.CreateString(info.kind)
    origin = (info.origin.version, info.origin.author, info.origin.license)
    version, author, license_ = (b.CreateString(said) for said in origin)
    parser = b.CreateString(MIN_PARSER_VERSION)
    root = _table(
        b, {0: name, 1: text, 2: version, 3: subgraphs, 4: author, 5: license_, 7: parser}
    )
    b.Finish(root, FILE_IDENTIFIER)
    return bytes(b.Output())


def preprocess_json(info: ModelInfo) -> bytes:
    """The exact preprocessing as JSON; `layout` is the file's."""
    values = {**info.preprocess.to_dict(), "layout": "NHWC"}
    return json.dumps(values, sort_keys=True).encode()


def append_labels(model: bytes, labels: Sequence[str]) -> bytes:
    """`model` with a zip archive of `labels.txt` behind it; readers of the model ignore it."""
    lines = "".join(" ".join(label.split()) + "\n" for label in labels)
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        # A fixed time, so that the same labels give the same bytes.
        entry = zipfile.ZipInfo(LABELS_FILE, (1980, 1, 1, 0, 0, 0))
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, lines)
    return file.getvalue()
