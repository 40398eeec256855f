"""Hugging Face's image processors as `Preprocess`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobilemod.data.preprocess import INTERPOLATIONS, Preprocess

# Those whose arithmetic is written out here.
KNOWN = (
    "Beit", "Bit", "CLIP", "ConvNext", "DeiT", "EfficientNet", "Levit", "MobileNetV1",
    "MobileNetV2", "MobileViT", "PoolFormer", "Pvt", "Segformer", "Siglip", "TextNet", "ViT",
)  # fmt: skip


@dataclass(frozen=True)
class Processed:
    """What a processor does; without `preprocess`, what it does isn't asked.

    reversed: it gives blue, green, red. notes: in what `preprocess` is another, for people.
    """

    preprocess: Preprocess | None = None
    reversed: bool = False
    notes: tuple[str, ...] = ()


def processed(kind: str, values: Mapping[str, Any]) -> Processed:
    """What a processor of `kind` (its class without "ImageProcessor") with these values does.

    values: its settings, complete. Pixels are those of Pillow's resizing, as the processor's own
    without torchvision; the longer side may be one pixel more, since it is rounded here and cut off
    there. ValueError says what can't be had.
    """
    if kind not in KNOWN:
        raise ValueError(f"{kind}ImageProcessor isn't known (known: {', '.join(KNOWN)})")
    if not values.get("do_resize") or values.get("do_pad"):
        raise ValueError("an image that isn't resized, or is padded, isn't supported")
    names = {int(number): name for name, number in INTERPOLATIONS.items()}
    if values.get("resample") not in names:
        raise ValueError(
            f"resample {values.get('resample')} isn't supported; one of "
            f"{', '.join(f'{number} ({name})' for number, name in sorted(names.items()))} is"
        )
    short, size, stretched = _sides(kind, values)
    if size > short:
        raise ValueError(f"it crops {size} of {short} pixels, which pads; not supported")
    notes = ()
    if stretched:
        notes = (
            f"its processor stretches images to {short} x {short}; here the shorter side is resized"
            " to that and the centre cropped, which gives another picture where sides differ",
        )
    elif not values.get("do_center_crop") and kind != "ConvNext":
        notes = ("its processor leaves the longer side; here the centre is cropped to a square",)
    mean, std = _statistics(kind, values)
    preprocess = Preprocess(size, size / short, names[values["resample"]], mean, std)
    return Processed(preprocess, bool(values.get("do_flip_channel_order")), notes)


def _sides(kind: str, values: Mapping[str, Any]) -> tuple[int, int, bool]:
    """The shorter side after resizing, the crop's, whether all images are stretched to squares."""
    told = {k: v for k, v in dict(values["size"]).items() if v is not None}
    stretched = set(told) == {"height", "width"}
    if set(told) != {"shortest_edge"} and not stretched:
        raise ValueError(f"size {told} isn't supported; shortest_edge or height and width are")
    side = _square(told) if stretched else int(told["shortest_edge"])
    crop = _square(values["crop_size"]) if values.get("do_center_crop") else None
    part = values.get("crop_pct")
    if kind == "ConvNext":
        stretched = side >= 384
        short = side if stretched else int(side / part)
        return short, crop or side, stretched
    if kind == "PoolFormer" and part is not None:
        side, stretched = int(side / part), False
    if kind == "TextNet":
        side += -side % int(values["size_divisor"])
    if kind == "Levit" and not stretched:
        side = int(256 / 224 * side)
    return side, crop or side, stretched


def _square(size: Mapping[str, int]) -> int:
    height, width = size["height"], size["width"]
    if height != width:
        raise ValueError(f"{height} x {width}: rectangular preprocessing is not supported yet")
    return int(height)


def _statistics(
    kind: str, values: Mapping[str, Any]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of values from 0 to 1, whatever range the processor brings them into."""
    range_ = 255 * values["rescale_factor"] if values.get("do_rescale") else 255.0
    own = [_three(values[key]) for key in ("image_mean", "image_std")]
    does = values.get("do_normalize") and kind != "MobileViT"  # which takes no notice of it
    mean, std = own if does else ((0.0,) * 3, (1.0,) * 3)
    if kind == "EfficientNet" and values.get("rescale_offset") and values.get("do_rescale"):
        mean = tuple(m + 1 for m in mean)
    if kind == "EfficientNet" and values.get("include_top"):
        std = tuple(s * again for s, again in zip(std, own[1], strict=True))
    return tuple(m / range_ for m in mean), tuple(s / range_ for s in std)


def _three(value: Any) -> tuple[float, float, float]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * 3 if len(values) == 1 else values
