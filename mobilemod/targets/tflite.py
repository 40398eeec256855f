"""TFLite: LiteRT with its default delegate, XNNPACK."""

from mobilemod.targets.facts import Facts

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
    searched_first=True,
)
