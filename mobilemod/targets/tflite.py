"""TFLite: LiteRT with its default delegate, XNNPACK."""

from mobilemod.targets.facts import Environment, Facts, Loading, Use

# LiteRT's predecessor, of apps that were never moved.
TFLITE_RUNTIME = Environment(
    package="tflite-runtime",
    python="3.11",
    folder=".venv-tflite-runtime",
    variable="MOBILEMOD_TFLITE_RUNTIME",
    installed_by="make tflite-runtime",
    code="tflite.older",
)

FACTS = Facts(
    name="tflite",
    suffix=".tflite",
    place=20,
    form="xnnpack",
    twin="float32",
    packages=("litert_torch", "litert_converter"),
    arithmetic="sums codes exactly, scales in float32, rounds ties to even",
    fold=False,
    channels_last=True,
    named=True,
    dynamic_int8=True,
    int8_tables=True,
    int16=True,
    npu=True,
    explorer=True,
    searched_first=True,
    answers=("scores", "classes"),
    untaken={"arg_max": "XNNPACK has no argmax over classes"},
    runtimes=(TFLITE_RUNTIME,),
    loading=(
        Loading(
            "Android: LiteRT",
            "kotlin",
            """val model = CompiledModel.create(path, CompiledModel.Options(Accelerator.CPU))
val inputs = model.createInputBuffers()
val outputs = model.createOutputBuffers()
inputs[0].writeFloat(pixels)  // normalized as manifest.json says; path: of {file}
model.run(inputs, outputs)
val scores = outputs[0].readFloat()""",
        ),
        Loading(
            "Web: LiteRT.js",
            "js",
            """import {{ loadAndCompile, loadLiteRt, Tensor }} from "@litertjs/core";
await loadLiteRt("/wasm/");
const model = await loadAndCompile("{file}", {{ accelerator: "wasm" }});
const shape = [...model.getInputDetails()[0].shape];
const [output] = await model.run(new Tensor(pixels, shape));
const scores = output.toTypedArray();""",
        ),
    ),
    uses=(
        Use(
            "android-npu",
            1,
            "LiteRT's NPU accelerator, on the file that `compile` made",
            "one partition on the NPU, all of it in whole numbers but reciprocal roots",
            "compiled on Linux, no phone ran it",
            recipe="npu16",
        ),
        Use(
            "android-dot",
            1,
            "LiteRT with XNNPACK",
            "0.41 of float's instructions on a Cortex-A76, 0.37 with int8 matrix products",
            "emulated processors, no phone",
        ),
        Use(
            "android-old",
            1,
            "LiteRT with XNNPACK",
            "0.70 of float's instructions on a Cortex-A53: int8 pays least here",
            "an emulated processor, no phone",
        ),
        Use(
            "ios-older",
            1,
            "LiteRT with XNNPACK",
            "int8 on the processor, where Core ML has none",
            "emulated processors, no phone",
        ),
        Use("ios17", 3, "LiteRT with XNNPACK", "on the processor alone", "emulated, no phone"),
        Use(
            "web",
            1,
            "LiteRT.js",
            "the one runtime of a browser that takes these files",
            "headless Chromium",
        ),
        Use(
            "x86-vnni",
            1,
            "LiteRT with XNNPACK",
            "2.0 to 2.3 times as fast as float",
            "such a machine",
            recipe="cpu-x86",
        ),
        Use(
            "x86",
            1,
            "LiteRT with XNNPACK",
            "float: int8 is 1.05 times as fast and no more; it pays in bytes, a quarter",
            "such a machine",
            int8=False,
        ),
    ),
)
