"""TFLite: a mobile form or its quantized program as a `.tflite`, by litert-torch.

The file takes float32 (1, H, W, 3) and gives float32 logits (1, K), of maps (1, h, w, K) or the map
of classes, uint8 (1, h, w): the layout that mobile image pipelines have, and the edges that
LiteRT.js accepts.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from export.quiet import quiet
from export.targets.base import ModelInfo, common_path
from export.targets.tflite.conversion.layouts import layouts_kept
from export.targets.tflite.conversion.marks import take_marks
from export.targets.tflite.conversion.widths import widths_marked
from export.targets.tflite.edit import TfliteModel
from export.targets.tflite.metadata import (
    METADATA_NAME,
    PREPROCESS_NAME,
    append_labels,
    model_metadata,
    preprocess_json,
)
from mobilemod.evaluation.runs import CLASSES, SCORES
from mobilemod.files import atomic_path
from mobilemod.targets.facts import MAPS

INPUT_NAME = "image"
OUTPUT_NAMES = {SCORES: "logits", CLASSES: "classes"}


class ChannelsLast(nn.Module):
    """A network whose input is (B, H, W, 3), and whose maps are (B, h, w, K)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        found = self.network(image.permute(0, 3, 1, 2))
        return found.permute(0, 2, 3, 1) if found.ndim == MAPS else found


def lower(module: nn.Module, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write `module` as `.tflite` with labels and preprocessing as its metadata.

    int8: `module` is a quantized program, with unfolded weights.
    """
    wrapped = ChannelsLast(module).eval()
    edited = TfliteModel(_convert(wrapped, info.preprocess.sides, int8))
    edited.rename(lambda name: published_module(wrapped, name))
    wide = int8 and take_marks(edited)
    if info.answer == CLASSES:
        edited.answer_classes()
    if int8:
        edited.float_edges()
        # A file with 16 bits is for NPUs, which compute what is int8 in int8.
        if not wide and edited.has_float_compute():
            edited.float_alone()
    edited.name_edges(INPUT_NAME, OUTPUT_NAMES[info.answer])
    _write(edited, info, path)


def label(source: Path, info: ModelInfo, path: Path, *, int8: bool) -> None:
    """Write the `.tflite` at `source` to `path` with other labels and name: the same program."""
    del int8
    edited = TfliteModel(source.read_bytes())
    edited.drop_metadata(METADATA_NAME, PREPROCESS_NAME)
    _write(edited, info, path)


def _write(edited: TfliteModel, info: ModelInfo, path: Path) -> None:
    edited.add_metadata(METADATA_NAME, model_metadata(info, OUTPUT_NAMES[info.answer]))
    edited.add_metadata(PREPROCESS_NAME, preprocess_json(info))
    with atomic_path(path) as temporary:
        temporary.write_bytes(append_labels(edited.pack(), info.labels))


def _convert(module: nn.Module, sides: tuple[int, int], int8: bool) -> bytes:
    """The flatbuffer that litert-torch makes of `module`, input (1, *sides, 3)."""
    with quiet():
        import litert_torch
        from litert_torch.quantize.pt2e_quantizer import (
            PT2EQuantizer,
            get_symmetric_quantization_config,
        )
        from litert_torch.quantize.quant_config import QuantConfig

        config = None
        if int8:
            # Nothing is quantized by it: it tells the converter that the graph is static q/dq.
            static = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
            config = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(static))
        sample = (torch.zeros(1, *sides, 3),)
        with torch.no_grad(), layouts_kept(), widths_marked():
            converted = litert_torch.convert(module, sample, quant_config=config)
        return converted.model_content()


def published_module(root: nn.Module, name: str) -> str:
    """The published path of the module that a converted tensor comes from, "" if unknown.

    name: the converter's, `Class/package.Class_child/…;n`, where a child in a list has the list's
    index as its name; several origins are separated by `;;`, the first counts.
    """
    module = root
    for segment in name.split(";")[0].split("/")[1:]:
        children = list(module.named_children())
        for _, child in module.named_children():
            if isinstance(child, nn.ModuleList):
                children += child.named_children()
        for child_name, child in children:
            kind = type(child)
            if segment == f"{kind.__module__}.{kind.__qualname__}_{child_name}":
                module = child
                break
        else:
            return common_path(module)
    return common_path(module)
