"""ExecuTorch, whose files name XNNPACK as their delegate."""

from mobilemod.targets.facts import Facts

FACTS = Facts(
    name="executorch",
    suffix=".pte",
    place=10,
    form="xnnpack",
    twin="float32",
    packages=("executorch",),
    arithmetic="sums codes exactly, scales in float32, rounds ties to even",
    relatives=(".ptd", ".bpte"),
    channels_last=True,
    int8_tables=True,
)
