"""ExecuTorch, whose files name XNNPACK as their delegate."""

from mobilemod.targets.facts import Facts, Loading, Use

FACTS = Facts(
    name="executorch",
    suffix=".pte",
    place=10,
    form="xnnpack",
    twin="float32",
    packages=("executorch",),
    arithmetic="sums codes exactly, scales in float32, rounds ties to even",
    relatives=(".ptd", ".bpte"),
    lacks={"gpu": "ExecuTorch's files are XNNPACK's here, which has no GPU"},
    channels_last=True,
    loading=(
        Loading(
            "Android: ExecuTorch",
            "kotlin",
            """val model = Module.load(path)  // of {file}
val input = Tensor.fromBlob(pixels, longArrayOf(1, 3, height, width))
val scores = model.forward(EValue.from(input))[0].toTensor().dataAsFloatArray""",
        ),
        Loading(
            "iOS: ExecuTorch",
            "swift",
            """let model = Module(filePath: path)  // of {file}
try model.load("forward")
let input = Tensor<Float>(pixels, shape: [1, 3, height, width])
let scores = try Tensor<Float>(model.forward(input)).scalars()""",
        ),
    ),
    uses=(
        Use(
            "android-dot",
            2,
            "ExecuTorch with XNNPACK",
            "0.41 of float's instructions on a Cortex-A76, 0.43 with int8 matrix products",
            "emulated processors, no phone",
        ),
        Use(
            "android-old",
            2,
            "ExecuTorch with XNNPACK",
            "0.70 of float's instructions",
            "an emulated processor, no phone",
        ),
        Use("ios-older", 2, "ExecuTorch with XNNPACK", "int8 on the processor", "no phone"),
        Use("ios17", 4, "ExecuTorch with XNNPACK", "on the processor alone", "no phone"),
        Use(
            "x86-vnni",
            2,
            "ExecuTorch with XNNPACK",
            "1.5 to 1.8 times as fast as float",
            "such a machine",
        ),
        Use(
            "x86",
            2,
            "ExecuTorch with XNNPACK",
            "float: int8 is hardly faster",
            "such a machine",
            int8=False,
        ),
    ),
    int8_tables=True,
    answers=("scores", "classes"),
    untaken={"argmax": "XNNPACK has no argmax over classes"},
)
