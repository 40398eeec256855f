"""EfficientMod with Semantic FPN: a class for every fourth pixel, the published network's names.

Sources: Ma et al., "Efficient Modulation for Vision Networks", ICLR 2024, arXiv 2403.19963,
section 4.4; the neck and head are MMSegmentation 0.19's: Lin et al., "Feature Pyramid Networks for
Object Detection", CVPR 2017, and Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019.
The backbone is `efficientmod` without its last norm and head. Read from top to bottom: variants,
backbone, neck, head, network, the family's record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.preprocess import Preprocess
from mobilemod.networks import efficientmod
from mobilemod.networks.efficientmod import (
    KERNEL_SIZE,
    PatchEmbed,
    init_weights,
    make_stages,
    start,
)
from mobilemod.networks.family import Family

NECK_WIDTH, HEAD_WIDTH = 256, 128
DROPOUT = 0.1
CLASSES = 150  # of ADE20K


@dataclass(frozen=True)
class Variant:
    """backbone: a variant of `efficientmod`."""

    name: str
    backbone: efficientmod.Variant


VARIANTS: dict[str, Variant] = {
    "efficientmod_xxs_fpn": Variant(
        "efficientmod_xxs_fpn", efficientmod.VARIANTS["efficientmod_xxs"]
    ),
    "efficientmod_xs_fpn": Variant("efficientmod_xs_fpn", efficientmod.VARIANTS["efficientmod_xs"]),
    "efficientmod_s_fpn": Variant("efficientmod_s_fpn", efficientmod.VARIANTS["efficientmod_s"]),
    "efficientmod_s_conv_fpn": Variant(
        "efficientmod_s_conv_fpn", efficientmod.VARIANTS["efficientmod_s_conv"]
    ),
}


class Backbone(nn.Module):
    """(B, 3, H, W) to the four stages' maps (B, C, H/4, W/4) … (B, C, H/32, W/32), each before it
    is made smaller for the next, without a norm."""

    def __init__(self, variant: efficientmod.Variant, drop_path: float):
        super().__init__()
        self.patch_embed = PatchEmbed(3, variant.dims[0], KERNEL_SIZE, 4, channels_last=False)
        self.layers = make_stages(variant, drop_path)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.patch_embed(x)
        maps = []
        for stage in self.layers:
            x = stage.features(x)
            maps.append(x.permute(0, 3, 1, 2))
            x = x if stage.downsample is None else stage.downsample(x)
        return maps


class Convolution(nn.Module):
    """A convolution under the name `conv`."""

    def __init__(self, cin: int, cout: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Neck(nn.Module):
    """Each map and all coarser ones, nearest neighbours repeated, as `NECK_WIDTH` channels."""

    def __init__(self, dims: Sequence[int]):
        super().__init__()
        self.lateral_convs = nn.ModuleList(Convolution(dim, NECK_WIDTH, 1) for dim in dims)
        self.fpn_convs = nn.ModuleList(Convolution(NECK_WIDTH, NECK_WIDTH, 3) for _ in dims)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sums = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for i in range(len(sums) - 1, 0, -1):
            size = sums[i - 1].shape[2:]
            sums[i - 1] = sums[i - 1] + F.interpolate(sums[i], size=size, mode="nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, sums, strict=True)]


class ConvUnit(nn.Module):
    """ReLU(batch norm(3x3 convolution))."""

    def __init__(self, cin: int):
        super().__init__()
        self.conv = nn.Conv2d(cin, HEAD_WIDTH, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(HEAD_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Upsample(nn.Module):
    """Twice the height and width, bilinear between centres of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """The neck's maps, each brought to a quarter of the image step by step, added, classified."""

    def __init__(self, levels: int, num_classes: int):
        super().__init__()
        self.conv_seg = nn.Conv2d(HEAD_WIDTH, num_classes, 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.scale_heads = nn.ModuleList(_scale_head(level) for level in range(levels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        first, *rest = (head(x) for head, x in zip(self.scale_heads, maps, strict=True))
        for x in rest:
            first = first + x
        return self.conv_seg(self.dropout(first))


def _scale_head(level: int) -> nn.Sequential:
    """Convolutions, from level 1 on with an upsampling behind each."""
    layers: list[nn.Module] = []
    for i in range(max(1, level)):
        layers.append(ConvUnit(HEAD_WIDTH if i else NECK_WIDTH))
        layers += [Upsample()] if level else []
    return nn.Sequential(*layers)


class EfficientModFpn(nn.Module):
    """The segmentation network.

    Input: float (B, 3, H, W), RGB, normalized; H and W multiples of 32.
    Output: float (B, num_classes, H/4, W/4), logits; for a map of classes they are resized to the
    image, bilinear with `align_corners=False`, before the largest is taken.
    """

    def __init__(self, variant: Variant, num_classes: int = CLASSES, drop_path: float = 0.0):
        super().__init__()
        self.variant = variant
        self.num_classes = num_classes
        dims = variant.backbone.dims
        self.backbone = Backbone(variant.backbone, drop_path)
        self.neck = Neck(dims)
        self.decode_head = Head(len(dims), num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode_head(self.neck(self.backbone(x)))


FAMILY = Family(
    title="EfficientMod with Semantic FPN",
    variant=Variant,
    build=EfficientModFpn,
    preprocess=Preprocess(512, 1.0, "bilinear", fit="stretch"),
    task="segmentation",
    head="decode_head.conv_seg",
    names=r"backbone\.|neck\.|decode_head\.",
    source="MMSegmentation's file",
    start=start,
)
