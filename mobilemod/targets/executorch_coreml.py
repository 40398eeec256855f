"""ExecuTorch with Core ML as its delegate: a `.pte` that holds one ML program."""

from mobilemod.targets.facts import Facts

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
    },
    explicit_int8=True,
    on_request=True,
    holds=("executorch", "coreml"),
)
