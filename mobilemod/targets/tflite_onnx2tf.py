"""TFLite by onnx2tf: the other way to a `.tflite`, through ONNX and TensorFlow."""

from mobilemod.targets.facts import Environment, Facts
from mobilemod.targets.tflite import TFLITE_RUNTIME

FACTS = Facts(
    name="tflite:onnx2tf",
    suffix=".onnx2tf.tflite",
    place=70,
    form="xnnpack",
    twin="float32",
    more_floats=("float16",),
    packages=("onnx", "onnxscript"),
    installed_by="make onnx2tf",
    arithmetic="sums codes exactly, scales in float32, rounds ties to even",
    lacks={
        "taps": "onnx2tf names tensors in its own way: no diff of its files",
        "gpu": "onnx2tf's files are run on the processor alone",
    },
    channels_last=True,
    dynamic_int8=True,
    int8_tables=True,
    int16=True,
    holds=("tflite",),
    environment=Environment(
        package="onnx2tf",
        python="3.11",
        folder=".venv-onnx2tf",
        variable="MOBILEMOD_ONNX2TF",
        installed_by="make onnx2tf",
        code="tflite_onnx2tf",
    ),
    own_ranges=True,
    runtimes=(TFLITE_RUNTIME,),
)
