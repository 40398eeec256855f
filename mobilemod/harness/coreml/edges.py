"""A Core ML program with tensors at its edges instead of an image and a class label.

coremltools' app for phones (its ModelRunner) feeds arrays only and takes arrays only; our packages
take an image and return a label.
"""

from __future__ import annotations

from typing import Any


def tensor_edges(spec: Any) -> Any:
    """A copy of an ML program's `Model` message: float32 input (1, 3, H, W), array outputs only.

    The input holds pixel values 0…255, as Core ML makes them from an image. The op that turns
    probabilities into a label goes, everything else stays.
    """
    copy = type(spec)()
    copy.CopyFrom(spec)
    description = copy.description
    (function,) = copy.mlProgram.functions.values()
    shapes = {
        value.name: [d.constant.size for d in value.type.tensorType.dimensions]
        for value in function.inputs
    }
    for feature in description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            array = feature.type.multiArrayType  # replaces the image type
            array.shape.extend(shapes[feature.name])
            array.dataType = array.FLOAT32
    arrays = [f for f in description.output if f.type.WhichOneof("Type") == "multiArrayType"]
    kept = [type(f).FromString(f.SerializeToString()) for f in arrays]
    del description.output[:]
    description.output.extend(kept)
    description.ClearField("predictedFeatureName")
    description.ClearField("predictedProbabilitiesName")
    block = function.block_specializations[function.opset]
    for i in reversed(range(len(block.operations))):
        if block.operations[i].type == "classify":
            del block.operations[i]
    block.outputs[:] = [f.name for f in kept]
    return copy
