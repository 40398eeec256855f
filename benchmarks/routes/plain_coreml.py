"""coremltools' own int8 weights and activations, from the published form.

Its activation quantization runs the float model on the calibration images, which needs Core ML
and so macOS. Here the interpreter of `mil_network` answers in Core ML's place; all else, what is
quantized and how ranges become scales, is coremltools' own code. coremltools 9.0 keeps the range
of the last image only (apple/coremltools issue 2704): the route is there as it comes, and with
the range of all images.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure.mil_network import MilNetwork
from benchmarks.routes.network import CalibratedNetwork

INPUT = "image"


def coreml_float(network: CalibratedNetwork, path: Path) -> None:
    """torch.export, then ct.convert to an ML program for iOS 17 in float16."""
    import coremltools as ct

    module = network.published()
    with torch.no_grad():
        exported = torch.export.export(module, network.sample()).run_decompositions({})
    model = ct.convert(
        exported,
        inputs=[ct.TensorType(INPUT, shape=network.sample()[0].shape)],
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    model.save(str(path))


def coreml_int8(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """linear_quantize_activations, then linear_quantize_weights, as documented for W8A8."""
    _quantize(network, path, source)


def coreml_int8_all_images(network: CalibratedNetwork, path: Path, source: Path) -> None:
    """The same with every range taken over all calibration images."""
    with _ranges_of_all_images():
        _quantize(network, path, source)


def _quantize(network: CalibratedNetwork, path: Path, source: Path) -> None:
    import coremltools as ct
    import coremltools.optimize as cto

    config = cto.coreml.OptimizationConfig(
        global_config=cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric")
    )
    samples = [{INPUT: x.numpy()} for x in network.batches()]
    model = ct.models.MLModel(str(source), skip_model_load=True)
    with _interpreter_for_core_ml():
        model = cto.coreml.linear_quantize_activations(model, config, samples)
    cto.coreml.linear_quantize_weights(model, config).save(str(path))


@contextlib.contextmanager
def _interpreter_for_core_ml() -> Iterator[None]:
    """Within it, coremltools' calibration asks `MilNetwork` for a model's inner values."""
    from coremltools.optimize.coreml.experimental._model_debugger import ModelDebugger

    loaded: dict[int, MilNetwork] = {}

    def answer(self: Any, inputs: dict[str, np.ndarray], names: list[str], *_: Any) -> Any:
        if id(self) not in loaded:
            loaded[id(self)] = _open(self)
        (x,) = inputs.values()
        return loaded[id(self)].run(x, names)

    with _replaced(ModelDebugger, "predict_intermediate_outputs", answer):
        yield


def _open(debugger: Any) -> MilNetwork:
    """The model that a debugger was made of."""
    import coremltools as ct

    model = ct.models.MLModel(
        debugger.model_info.spec, weights_dir=debugger.weights_dir, skip_model_load=True
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        model.save(str(path))
        return MilNetwork(path)


@contextlib.contextmanager
def _ranges_of_all_images() -> Iterator[None]:
    """Within it, a range that coremltools notes is joined with those noted before."""
    from coremltools.optimize.coreml.experimental import _post_training_quantization as ptq
    from coremltools.optimize.coreml.experimental._model_debugger import ModelDebugger

    def note(name: str, value: Any, stats: dict[str, dict[str, float]]) -> None:
        low, high = np.min(np.asarray(value)), np.max(np.asarray(value))
        old = stats[name]
        old["rmin"] = min(low, old.get("rmin", low))
        old["rmax"] = max(high, old.get("rmax", high))

    def record(value: Any, name: str, stats: dict[str, dict[str, float]]) -> None:
        note(name, value, stats)

    with (
        _replaced(ptq, "_update_tensor_range", note),
        _replaced(ModelDebugger, "record_intermediate_output", staticmethod(record)),
    ):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = owner.__dict__[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
