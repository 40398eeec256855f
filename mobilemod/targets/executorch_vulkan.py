"""ExecuTorch with Vulkan as its delegate: a `.pte` for the GPU of an Android phone."""

from mobilemod.targets.facts import Facts

_NOT_HERE = "ExecuTorch's Python package has no Vulkan delegate: these files run on a phone alone"

FACTS = Facts(
    name="executorch:vulkan",
    suffix=".vulkan.pte",
    place=60,
    form="xnnpack",
    twin="float16",
    packages=("executorch",),
    arithmetic="sums codes exactly; the rest in float16, GELU as its tanh approximation",
    lacks={
        **dict.fromkeys(("running", "check", "gpu"), _NOT_HERE),
        "taps": f"{_NOT_HERE}, so no diff of it",
        "cut": f"{_NOT_HERE}, so no profile of it",
    },
    on_request=True,
    holds=("executorch",),
)
