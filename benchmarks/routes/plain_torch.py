"""The PyTorch tools' own routes from the published form: ExecuTorch, litert-torch, its quantizer.

Every function writes one file and takes the network, the path, and the files it starts from. Each
follows its tool's documentation: static int8, weights per channel, calibrated on the same images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    # Not part of what these files are made by: a cache would lose them with each change of ours.
    from benchmarks.routes.network import CalibratedNetwork


TFLITE_ID = b"TFL3"


def executorch_float(network: CalibratedNetwork, path: Path) -> None:
    """torch.export, then the XNNPACK partitioner."""
    _write_pte(torch.export.export(network.published(), network.sample()), path)


def executorch_int8(network: CalibratedNetwork, path: Path, per_channel: bool = True) -> None:
    """XNNPACKQuantizer in PT2E, then the XNNPACK partitioner."""
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack

    config = xnnpack.get_symmetric_quantization_config(is_per_channel=per_channel)
    quantized = _pt2e(network, xnnpack.XNNPACKQuantizer().set_global(config), fold=True)
    _write_pte(torch.export.export(quantized, network.sample()), path)


def _pt2e(network: CalibratedNetwork, quantizer: object, fold: bool) -> torch.nn.Module:
    """The published form, quantized by PyTorch's own flow; fold: weights stored as int8."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = torch.export.export(network.published(), network.sample()).module()
    prepared = prepare_pt2e(graph, quantizer)
    for x in network.batches():
        prepared(x)
    return convert_pt2e(prepared, fold_quantize=fold)


def _write_pte(exported: torch.export.ExportedProgram, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    with path.open("wb") as file:
        edge.to_executorch().write_to_file(file)


def litert_float(network: CalibratedNetwork, path: Path) -> None:
    """litert_torch.convert."""
    import litert_torch

    litert_torch.convert(network.published(), network.sample()).export(str(path))


def litert_int8(network: CalibratedNetwork, path: Path) -> None:
    """litert-torch's PT2EQuantizer, then litert_torch.convert."""
    import litert_torch
    from litert_torch.quantize import pt2e_quantizer as litert
    from litert_torch.quantize.quant_config import QuantConfig

    config = litert.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    quantizer = litert.PT2EQuantizer().set_global(config)
    quantized = _pt2e(network, quantizer, fold=False)
    how = QuantConfig(pt2e_quantizer=quantizer)
    litert_torch.convert(quantized, network.sample(), quant_config=how).export(str(path))


def aeq_static(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """ai-edge-quantizer's recipe static_wi8_ai8 on litert-torch's float file."""
    from ai_edge_quantizer import recipe

    _aeq(network, path, source.read_bytes(), recipe.static_wi8_ai8())


def aeq_static_flat(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """The same on a float file whose biases are reshaped from (1, 1, 1, C) to (C).

    litert-torch fuses adds of that shape as biases, and the quantizer's per-channel scales don't
    fit them; LiteRT refuses such a file. A user would have to find that out.
    """
    from ai_edge_quantizer import recipe

    _aeq(network, path, flat_biases(source.read_bytes()), recipe.static_wi8_ai8())


def aeq_dynamic(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """ai-edge-quantizer's recipe dynamic_wi8_afp32: int8 weights, activations at run time."""
    from ai_edge_quantizer import recipe

    _aeq(network, path, source.read_bytes(), recipe.dynamic_wi8_afp32())


def _aeq(network: CalibratedNetwork, path: Path, content: bytes, recipe: list[dict]) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(bytearray(content), recipe)
    ranges = None
    if quantizer.need_calibration:
        signatures = Interpreter(model_content=content).get_signature_list()
        key, names = next(iter(signatures.items()))
        inputs = [{names["inputs"][0]: x.numpy()} for x in network.batches()]
        ranges = quantizer.calibrate({key: inputs}, num_threads=1)
    path.write_bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def flat_biases(content: bytes) -> bytes:
    """The TFLite model with every fully connected layer's bias one-dimensional."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    kinds = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    for graph in model.subgraphs:
        for op in graph.operators:
            linear = kinds[op.opcodeIndex] == schema.BuiltinOperator.FULLY_CONNECTED
            if linear and len(op.inputs) > 2 and op.inputs[2] >= 0:
                bias = graph.tensors[op.inputs[2]]
                bias.shape = np.array([np.prod(bias.shape)], np.int32)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), TFLITE_ID)
    return bytes(builder.Output())
