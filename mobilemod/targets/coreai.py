"""Core AI: Apple's runtime beside Core ML since iOS 27 and macOS 27; it runs on Linux too."""

from mobilemod.targets.facts import Facts, Use

FACTS = Facts(
    name="coreai",
    suffix=".aimodel",
    place=40,
    form="coreml",
    twin="float32",
    packages=("coreai", "coreai_torch"),
    installed_by="make coreai",
    arithmetic="computes in float32 on codes that were read back",
    more_floats=("float16",),
    half_arithmetic="rounds to float16 but within norms, as its weights and biases are",
    relatives=(".aimodelc", ".aimodelx"),
    lacks={
        "cut": "no profile of Core AI files here: its runtime on this system is no phone's",
        "gpu": "Core AI files run on a Mac's and an iPhone's GPU alone",
    },
    named=True,
    explicit_int8=True,
    uses=(
        Use(
            "ios27",
            1,
            "Core AI",
            "Apple's newer runtime, with the same int8 table",
            "Apple's own runtime on Linux, no phone",
        ),
    ),
)
