"""ExecuTorch with Core ML as its delegate: a `.pte` that holds one ML program."""

from mobilemod.targets.facts import Facts, Use

FACTS = Facts(
    name="executorch:coreml",
    suffix=".coreml.pte",
    place=50,
    form="coreml",
    twin="float16",
    packages=("executorch", "coremltools"),
    arithmetic="rounds every op's result to float16, as its scales, weights and biases are",
    lacks={
        "cut": "no profile of Core ML's part of a file here",
        "gpu": "Core ML's part of a file has no GPU here",
    },
    explicit_int8=True,
    float16_scales=True,
    on_request=True,
    holds=("executorch", "coreml"),
    uses=(
        Use(
            "ios17",
            2,
            "ExecuTorch with Core ML's delegate",
            "the same ML program, for apps that run ExecuTorch",
            "our evaluator on Linux, no phone",
        ),
    ),
)
