"""EfficientFormerV2, the reference form: the published network with the authors' parameter names.

Source: Li et al., "Rethinking Vision Transformers for MobileNet Size and Speed", ICCV 2023,
arXiv 2212.08059. Tensors are channels-first, (B, C, H, W). Read from top to bottom: variants,
layers, attention, blocks, network, other names in checkpoints, the family's record.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.networks.drop_path import DropPath
from mobilemod.networks.family import Family

NUM_HEADS = 8
LAYER_SCALE = 1e-5
INDEX, TABLE = "attention_bias_idxs", "network.5.attn.attention_biases"
LARGEST_SIDE = 128  # of a grid whose table is believed: images of 2,048 pixels


@dataclass(frozen=True)
class Variant:
    """Shape of one variant; every tuple has one entry per stage.

    ratios: the MLP's, block by block. attention_blocks: how many blocks, the last ones of a stage,
    have attention. size: side of the images in pixels, which the tables of biases are made for.
    """

    name: str
    dims: tuple[int, ...]
    ratios: tuple[tuple[int, ...], ...]
    attention_blocks: tuple[int, ...]
    size: int = 224


def _variant(
    name: str, dims: tuple[int, ...], attention: int, early: int, third: str, fourth: str
) -> Variant:
    """early: blocks of each of the first two stages, of ratio 4. third, fourth: a digit a block."""
    ratios = ((4,) * early, (4,) * early, tuple(map(int, third)), tuple(map(int, fourth)))
    return Variant(name, dims, ratios, (0, 0, attention, attention))


VARIANTS: dict[str, Variant] = {
    "efficientformerv2_s0": _variant(
        "efficientformerv2_s0", (32, 48, 96, 176), 2, 2, "433344", "4334"
    ),
    "efficientformerv2_s1": _variant(
        "efficientformerv2_s1", (32, 48, 120, 224), 2, 3, "443333444", "443344"
    ),
    "efficientformerv2_s2": _variant(
        "efficientformerv2_s2", (32, 64, 144, 288), 4, 4, "443333334444", "44333344"
    ),
    "efficientformerv2_l": _variant(
        "efficientformerv2_l", (40, 80, 192, 384), 6, 5, "444433333334444", "4443333444"
    ),
}


def _conv_norm(
    cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution with bias, `0`, and its batch norm, `1`."""
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


def _projection(cin: int, cout: int) -> nn.Sequential:
    """GELU, a 1x1 convolution, `1`, and its batch norm, `2`."""
    return nn.Sequential(nn.GELU(), *_conv_norm(cin, cout))


class Mlp(nn.Module):
    """Two 1x1 convolutions with a depthwise 3x3 between, each with its batch norm."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        hidden = ratio * dim
        self.fc1, self.norm1 = _conv_norm(dim, hidden)
        self.mid, self.mid_norm = _conv_norm(hidden, hidden, 3, groups=hidden)
        self.fc2, self.norm2 = _conv_norm(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(self.fc1(x)))
        x = F.gelu(self.mid_norm(self.mid(x)))
        return self.norm2(self.fc2(x))


def bias_index(side: int, stride: int = 1) -> Tensor:
    """Where the bias of each query (row) and key (column) stands in a table, int64 (M, N).

    Keys are the N = side * side positions of a grid, row by row, queries every `stride`-th of a
    row and of a column. A table has a place for each distance in rows and columns.
    """
    keys = torch.arange(side)
    apart = (keys[::stride, None] - keys).abs()
    index = apart[:, None, :, None] * side + apart[None, :, None, :]
    return index.reshape(len(apart) ** 2, side * side)


class BiasedAttention(nn.Module):
    """What both attentions have in common: keys, values, the table of biases.

    The table is read in every pass, so that weights which are loaded later count.
    """

    def __init__(self, dim: int, width: int, value_width: int, side: int, stride: int):
        super().__init__()
        self.scale = width**-0.5
        values = NUM_HEADS * value_width
        self.k = _conv_norm(dim, NUM_HEADS * width)
        self.v = _conv_norm(dim, values)
        self.v_local = _conv_norm(values, values, 3, stride, groups=values)
        self.attention_biases = nn.Parameter(torch.zeros(NUM_HEADS, side * side))
        # A function of the size alone: in the authors' files, but no weight.
        self.register_buffer(INDEX, bias_index(side, stride), persistent=False)

    def mix(self, scores: Tensor) -> Tensor:
        """Attention (B, heads, M, N) of scores of that shape."""
        return scores.softmax(-1)

    def attend(self, q: Tensor, x: Tensor) -> Tensor:
        """Values of `x` seen from `q` (B, heads * width, h, w), and `v_local`: (B, C, h, w)."""
        v = self.v(x)
        queries, keys, values = (
            t.reshape(len(x), NUM_HEADS, -1, t.shape[2] * t.shape[3]) for t in (q, self.k(x), v)
        )
        scores = (queries * self.scale).transpose(2, 3) @ keys
        attention = self.mix(scores + self.attention_biases[:, self.attention_bias_idxs])
        out = values @ attention.transpose(2, 3)
        return out.reshape(len(x), -1, *q.shape[2:]) + self.v_local(v)


class Attention(BiasedAttention):
    """Attention of a block, with talking heads, (B, C, H, W) to the same.

    strided: it is on a grid of half the rows and columns, and its output brought up again.
    """

    def __init__(self, dim: int, side: int, strided: bool):
        super().__init__(dim, 32, 128, side // 2 if strided else side, 1)
        self.stride_conv = _conv_norm(dim, dim, 3, 2, groups=dim) if strided else None
        self.q = _conv_norm(dim, NUM_HEADS * 32)
        self.talking_head1 = nn.Conv2d(NUM_HEADS, NUM_HEADS, 1)
        self.talking_head2 = nn.Conv2d(NUM_HEADS, NUM_HEADS, 1)
        self.proj = _projection(NUM_HEADS * 128, dim)

    def mix(self, scores: Tensor) -> Tensor:
        return self.talking_head2(self.talking_head1(scores).softmax(-1))

    def forward(self, x: Tensor) -> Tensor:
        if self.stride_conv is not None:
            x = self.stride_conv(x)
        x = self.attend(self.q(x), x)
        if self.stride_conv is not None:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.proj(x)


class HalvedQuery(nn.Module):
    """Queries of every second row and column, and of a strided depthwise 3x3."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(dim, dim, 3, 2, 1, groups=dim))
        self.proj = _conv_norm(dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.local(x) + x[:, :, ::2, ::2])


class AttentionDownsample(BiasedAttention):
    """Attention with queries on half the rows and columns, (B, C, H, W) to (B, C', H/2, W/2)."""

    def __init__(self, cin: int, cout: int, side: int):
        super().__init__(cin, 16, 64, side, 2)
        self.q = HalvedQuery(cin, NUM_HEADS * 16)
        self.proj = _projection(NUM_HEADS * 64, cout)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.attend(self.q(x), x))


class Downsample(nn.Module):
    """A strided convolution and its batch norm."""

    def __init__(self, cin: int, cout: int):
        super().__init__()
        self.proj, self.norm = _conv_norm(cin, cout, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class TwoPathDownsample(nn.Module):
    """The same, plus an attention downsampling of the same input."""

    def __init__(self, cin: int, cout: int, side: int):
        super().__init__()
        self.conv, self.bn = _conv_norm(cin, cout, 3, 2)
        self.attn = AttentionDownsample(cin, cout, side)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)) + self.attn(x)


class Block(nn.Module):
    """x + layer_scale_1 * token_mixer(x), where there is one, then x + layer_scale_2 * mlp(x)."""

    def __init__(self, dim: int, ratio: int, drop_path: float, mixer: Attention | None):
        super().__init__()
        self.token_mixer = mixer
        if mixer is not None:
            self.layer_scale_1 = nn.Parameter(torch.full((dim, 1, 1), LAYER_SCALE))
        self.mlp = Mlp(dim, ratio)
        self.layer_scale_2 = nn.Parameter(torch.full((dim, 1, 1), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None:
            x = x + self.drop_path(self.layer_scale_1 * self.token_mixer(x))
        return x + self.drop_path(self.layer_scale_2 * self.mlp(x))


class EfficientFormerV2(nn.Module):
    """The classification network.

    Input: float (B, 3, S, S), RGB, normalized; S is the variant's size, a multiple of 32;
    `UserError` for another one. Output: float (B, num_classes), logits: the mean of both heads, in
    training too. (The authors train the second head on another network's answers.)
    """

    def __init__(self, variant: Variant, num_classes: int = 1000, drop_path: float = 0.0):
        super().__init__()
        self.variant = variant
        self.num_classes = num_classes
        dims = variant.dims
        first, last = dims[0], dims[-1]
        self.patch_embed = nn.Sequential(
            *_conv_norm(3, first // 2, 3, 2), nn.GELU(),
            *_conv_norm(first // 2, first, 3, 2), nn.GELU(),
        )  # fmt: skip
        count = sum(map(len, variant.ratios))
        rates = iter(torch.linspace(0, drop_path, count, device="cpu").tolist())
        layers: list[nn.Module] = []
        for stage, dim in enumerate(dims):
            layers.append(nn.Sequential(*_blocks(variant, stage, rates)))
            if stage == 2:
                layers.append(TwoPathDownsample(dim, last, variant.size // 16))
            elif stage < 2:
                layers.append(Downsample(dim, dims[stage + 1]))
        self.network = nn.ModuleList(layers)
        self.norm = nn.BatchNorm2d(last)
        self.head = nn.Linear(last, num_classes)
        self.dist_head = nn.Linear(last, num_classes)
        for head in (self.head, self.dist_head):
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Features before the head's norm, (B, C, S/32, S/32)."""
        x = self.patch_embed(x)
        for layer in self.network:
            x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        size = self.variant.size
        if tuple(x.shape[2:]) != (size, size):
            raise UserError(
                f"{self.variant.name} is made for images of {size} x {size} pixels, not "
                f"{' x '.join(map(str, x.shape[2:]))}: give images of that size, or make it for "
                "another one, by create_model's size"
            )
        x = self.norm(self.forward_features(x)).mean((2, 3))
        return (self.head(x) + self.dist_head(x)) / 2


def _blocks(variant: Variant, stage: int, rates: Iterator[float]) -> Iterator[Block]:
    """Those of a stage, the third's attention on the fourth's grid."""
    dim, ratios = variant.dims[stage], variant.ratios[stage]
    side = variant.size // (4 << stage)
    first = len(ratios) - variant.attention_blocks[stage]
    for i, ratio in enumerate(ratios):
        mixer = Attention(dim, side, stage == 2) if i >= first else None
        yield Block(dim, ratio, next(rates), mixer)


# The names in timm's files -> the authors', one rule after the other.
_RENAMED = [
    (r"^stem\.conv1\.conv\.", "patch_embed.0."),
    (r"^stem\.conv1\.bn\.", "patch_embed.1."),
    (r"^stem\.conv2\.conv\.", "patch_embed.3."),
    (r"^stem\.conv2\.bn\.", "patch_embed.4."),
    (r"^stages\.(\d)\.blocks\.", lambda found: f"network.{2 * int(found[1])}."),
    (r"^stages\.1\.downsample\.conv\.", "network.1."),
    (r"^stages\.2\.downsample\.conv\.", "network.3."),
    (r"^stages\.3\.downsample\.(?:conv\.)?", "network.5."),
    (r"^(network\.[13])\.conv\.", r"\1.proj."),
    (r"^(network\.[13])\.bn\.", r"\1.norm."),
    (r"\.ls([12])\.gamma$", r".layer_scale_\1"),
    (r"\.mlp\.(fc1|mid|fc2)\.conv\.", r".mlp.\1."),
    (r"\.mlp\.fc([12])\.bn\.", r".mlp.norm\1."),
    (r"\.mlp\.mid\.bn\.", ".mlp.mid_norm."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.conv\.", r".\1.0."),
    (r"\.(q|k|v|v_local|stride_conv|q\.proj)\.bn\.", r".\1.1."),
    (r"\.q\.local\.", ".q.local.0."),
    (r"\.proj\.conv\.", ".proj.1."),
    (r"\.proj\.bn\.", ".proj.2."),
    (r"^head_dist\.", "dist_head."),
]


def _adapt(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """By the authors' names, of timm's; without the index of biases where it is the right one."""
    adapted = {}
    for name, value in tensors.items():
        renamed = name
        if name.startswith(("stem.", "stages.", "head_dist.")):
            for pattern, replacement in _RENAMED:
                renamed = re.sub(pattern, replacement, renamed)
            if ".layer_scale_" in renamed and isinstance(value, Tensor) and value.ndim == 1:
                value = value[:, None, None]
        if not (name.endswith(f".{INDEX}") and _is_index(value)):
            adapted[name if renamed in tensors else renamed] = value
    return adapted


def _is_index(value: Any) -> bool:
    """Whether it says what `bias_index` does, for queries on every position or every second."""
    if not (side := _side(value)):
        return False
    index = bias_index(side, 1 if len(value) == side * side else 2)
    return value.shape == index.shape and bool((value.to("cpu").to_dense() == index).all())


def _size_of(tensors: Mapping[str, Any]) -> int | None:
    """The attention downsampling has a place for each distance on a grid of a 16th of the image."""
    side = _side(tensors.get(TABLE))
    return 16 * side if side and side % 2 == 0 else None


def _side(table: Any) -> int:
    """Side of the grid of keys that a table or an index of two dimensions is for; 0 for others."""
    if not isinstance(table, Tensor) or table.ndim != 2 or table.is_meta:
        return 0
    side = math.isqrt(table.shape[1])
    return side if side * side == table.shape[1] and side <= LARGEST_SIDE else 0


def _start(model: nn.Module, scale: float) -> None:
    """Layer scales at `scale`; the second head as the first."""
    for name, parameter in model.named_parameters():
        if ".layer_scale_" in name:
            nn.init.constant_(parameter, scale)
    nn.init.trunc_normal_(model.dist_head.weight, std=0.02)


FAMILY = Family(
    title="EfficientFormerV2",
    variant=Variant,
    build=EfficientFormerV2,
    preprocess=Preprocess(crop_fraction=0.875),
    names=r"patch_embed\.|network\.\d+\.(?:\d+|proj|norm|conv|bn|attn)\."
    r"|stem\.conv\d\.|stages\.\d+\.(?:blocks|downsample)\.",
    adapt=_adapt,
    published_key="model",
    unread={INDEX: "it numbers distances otherwise than this network; give the authors' own file"},
    size_of=_size_of,
    source="the authors' or timm's file",
    start=_start,
)
