"""The toy target's row. Tests put it into `mobilemod/targets` under the target's name."""

from mobilemod.targets.facts import Facts

FACTS = Facts(
    name="toy",
    suffix=".toy",
    place=90,
    form="xnnpack",
    twin="float32",
    packages=("torch",),
    arithmetic="computes in float32",
    lacks={
        "taps": "no tensors of toy files can be read",
        "cut": "no profile of toy files",
        "check": "toy files aren't checked op by op",
        "gpu": "toy files run on no GPU",
    },
    explicit_int8=True,
)
