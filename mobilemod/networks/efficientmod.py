"""EfficientMod, the reference form: the published network with its own parameter names.

Source: Ma et al., "Efficient Modulation for Vision Networks", ICLR 2024, arXiv 2403.19963.
Tensors are channels-last, (B, H, W, C), between layers, as in the paper's implementation.
Read from top to bottom: variants, layers, blocks, network, the family's record.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.data.preprocess import Preprocess
from mobilemod.networks.drop_path import DropPath
from mobilemod.networks.family import Bundled, Family

KERNEL_SIZE = 7
NUM_HEADS = 8
MIN_HEAD_WIDTH = 32


@dataclass(frozen=True)
class Variant:
    """Shape of one variant; every tuple has one entry per stage."""

    name: str
    dims: tuple[int, ...]
    blocks: tuple[int, ...]
    attention_blocks: tuple[int, ...]
    odd_ratio: int
    attention_ratios: tuple[int, ...] = (4, 4, 4, 4)

    def modulation_ratio(self, index: int) -> int:
        """MLP ratio of modulation block `index` of a stage: 1 for even, `odd_ratio` for odd."""
        return self.odd_ratio if index % 2 else 1


VARIANTS: dict[str, Variant] = {
    "efficientmod_xxs": Variant(
        "efficientmod_xxs", (32, 64, 128, 256), (2, 2, 6, 2), (0, 0, 1, 2), 6
    ),
    "efficientmod_xs": Variant(
        "efficientmod_xs", (32, 64, 144, 288), (3, 3, 4, 2), (0, 0, 3, 3), 4
    ),
    "efficientmod_s": Variant(
        "efficientmod_s", (32, 64, 144, 312), (4, 4, 8, 4), (0, 0, 4, 4), 6, (4, 4, 4, 5)
    ),
    "efficientmod_s_conv": Variant(
        "efficientmod_s_conv", (40, 80, 160, 344), (4, 4, 12, 8), (0, 0, 0, 0), 6
    ),
}


def head_width(dim: int) -> int:
    """Width of one attention head in a stage of `dim` channels."""
    return max(dim // NUM_HEADS, MIN_HEAD_WIDTH)


class PatchEmbed(nn.Module):
    """Strided convolution and LayerNorm, the stem and every downsampling.

    Input (B, C, H, W) for the stem, (B, H, W, C) after it; output (B, H', W', C').
    """

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, channels_last: bool):
        super().__init__()
        self.channels_last = channels_last
        self.proj = nn.Conv2d(cin, cout, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(cout)

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class ContextLayer(nn.Module):
    """Context branch c = g(GELU(dwconv(f(h)))) of a modulation block, (B, H, W, C) to the same."""

    def __init__(self, dim: int):
        super().__init__()
        self.f = nn.Linear(dim, dim)
        depthwise = nn.Conv2d(dim, dim, KERNEL_SIZE, padding=KERNEL_SIZE // 2, groups=dim)
        self.context_list = nn.ModuleList([depthwise])
        self.g = nn.Linear(dim, dim)

    def forward(self, h: Tensor) -> Tensor:
        x = self.f(h).permute(0, 3, 1, 2)
        x = F.gelu(self.context_list[0](x)).permute(0, 2, 3, 1)
        return self.g(x)


class ModulationMlp(nn.Module):
    """fc2(value * context), the context repeated `ratio` times along the channels."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.ratio = ratio
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.context_layer = ContextLayer(dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, h: Tensor) -> Tensor:
        context = self.context_layer(h)
        value = self.fc1(h)
        if self.ratio > 1:
            value = F.gelu(value)
            context = context.repeat(1, 1, 1, self.ratio)
        return self.fc2(value * context)


class ModulationBlock(nn.Module):
    """x + gamma_1 * mlp(norm(x)), (B, H, W, C) to the same."""

    def __init__(self, dim: int, ratio: int, drop_path: float = 0.0):
        super().__init__()
        self.gamma_1 = nn.Parameter(torch.full((dim,), 1e-4))
        self.norm = nn.LayerNorm(dim)
        self.mlp = ModulationMlp(dim, ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.gamma_1 * self.mlp(self.norm(x)))


class Attention(nn.Module):
    """Multi-head self-attention over all H*W positions, (B, H, W, C) to the same."""

    def __init__(self, dim: int):
        super().__init__()
        self.width = head_width(dim)
        self.qkv = nn.Linear(dim, 3 * NUM_HEADS * self.width, bias=False)
        self.proj = nn.Linear(NUM_HEADS * self.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, NUM_HEADS, self.width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, h, w, NUM_HEADS * self.width))


class Mlp(nn.Module):
    """fc2(GELU(fc1(x))) over the last dimension."""

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class AttentionBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x)); no layer scale."""

    def __init__(self, dim: int, ratio: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Modulation blocks, then attention blocks, then (in all but the last stage) downsampling."""

    def __init__(self, variant: Variant, index: int, rates: list[float]):
        super().__init__()
        dim = variant.dims[index]
        count = variant.blocks[index]
        blocks: list[nn.Module] = [
            ModulationBlock(dim, variant.modulation_ratio(i), rates[i]) for i in range(count)
        ]
        blocks += [
            AttentionBlock(dim, variant.attention_ratios[index], rates[count + i])
            for i in range(variant.attention_blocks[index])
        ]
        self.blocks = nn.ModuleList(blocks)
        self.downsample = None
        if index + 1 < len(variant.dims):
            self.downsample = PatchEmbed(dim, variant.dims[index + 1], 3, 2, channels_last=True)

    def features(self, x: Tensor) -> Tensor:
        """What the blocks make, before the downsampling."""
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return x if self.downsample is None else self.downsample(x)


def make_stages(variant: Variant, drop_path: float) -> nn.ModuleList:
    """The stages, stochastic depth rising to `drop_path` from the first block to the last."""
    counts = [m + a for m, a in zip(variant.blocks, variant.attention_blocks, strict=True)]
    rates = torch.linspace(0, drop_path, sum(counts), device="cpu").tolist()
    stages = []
    for index, count in enumerate(counts):
        stages.append(Stage(variant, index, rates[:count]))
        rates = rates[count:]
    return nn.ModuleList(stages)


class EfficientMod(nn.Module):
    """The classification network.

    Input: float (B, 3, H, W), RGB, normalized; H and W multiples of 32.
    Output: float (B, num_classes), logits.
    """

    def __init__(self, variant: Variant, num_classes: int = 1000, drop_path: float = 0.0):
        super().__init__()
        self.variant = variant
        self.num_classes = num_classes
        self.patch_embed = PatchEmbed(3, variant.dims[0], KERNEL_SIZE, 4, channels_last=False)
        self.layers = make_stages(variant, drop_path)
        self.norm = nn.LayerNorm(variant.dims[-1])
        self.head = nn.Linear(variant.dims[-1], num_classes)
        self.apply(init_weights)

    def forward_features(self, x: Tensor) -> Tensor:
        """Features before the head's norm, (B, H/32, W/32, C)."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.forward_features(x)).mean((1, 2)))


def init_weights(module: nn.Module) -> None:
    """Start values of one layer."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start(model: nn.Module, scale: float) -> None:
    """The context's last bias is 1, so that a modulation block begins as its value branch."""
    for name, parameter in model.named_parameters():
        if name.endswith("context_layer.g.bias"):
            nn.init.ones_(parameter)
        elif name.endswith("gamma_1"):
            nn.init.constant_(parameter, scale)


FAMILY = Family(
    title="EfficientMod",
    variant=Variant,
    build=EfficientMod,
    preprocess=Preprocess(),
    names=r"patch_embed\.|layers\.\d+\.(?:blocks|downsample)\.",
    source="the authors' file",
    bundled={
        "efficientmod_xxs": Bundled("efficientmod_xxs.safetensors", "mobilemod", "Apache-2.0")
    },
    start=start,
)
