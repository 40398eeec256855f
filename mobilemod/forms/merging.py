"""Merged columns: a strided convolution over few channels as one that strides down the image alone.

A kernel over 3 channels leaves most of a dot product instruction empty; over 3 times the stride it
does not. In channels-last, which runtimes use, merging moves no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

# Of 8-bit values that a dot product instruction adds up at a time.
LANES = 4
# Merging saves steps and pads kernels with zeros. What it brought a single convolution, 3 channels
# at 224, int8, one thread, as a ratio to the plain one's time (to instructions on ARM64):
#
#   kernel, stride    computed   LiteRT x86-64   ExecuTorch x86-64   LiteRT ARM64
#   16x16, 16         0.75       0.14            0.42                0.39
#   4x4, 4            0.75       0.54            0.90                0.68
#   7x7, 4            0.86       0.41            0.80                0.63
#   7x7, 2            1.14       0.60            0.72                0.83
#   3x3, 2            1.33       0.90            0.93                0.97
#
# The last is 1.05 to 1.2 times as slow in float on x86-64, so it stays as it is.
MOST_EXTRA = 1.2


@dataclass(frozen=True)
class Merging:
    """Columns merged by `step`, the stride: column step b + i of channel c is channel C i + c of b.

    channels: C. size: columns of the published kernel. padding: columns of zeros left and right.
    """

    step: int
    channels: int
    size: int
    padding: int

    @property
    def left(self) -> int:
        """Merged columns of zeros before the image."""
        return math.ceil(self.padding / self.step)

    @property
    def start(self) -> int:
        """Where the published kernel starts in the merged one, in columns."""
        return -self.padding % self.step

    @property
    def blocks(self) -> int:
        """Merged columns of the kernel."""
        return math.ceil((self.start + self.size) / self.step)

    def width(self, columns: int) -> int:
        """How many merged columns of an image, and zeros to its right, the convolution reads."""
        outputs = (columns + 2 * self.padding - self.size) // self.step + 1
        return outputs - 1 + self.blocks - self.left

    def merged(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, step C, H, W / step)."""
        b, _, h, w = x.shape
        return x.permute(0, 2, 3, 1).reshape(b, h, w // self.step, -1).permute(0, 3, 1, 2)

    def kernel(self, weight: Tensor) -> Tensor:
        """Of a published kernel (out, C, rows, columns): (out, step C, rows, blocks)."""
        out_channels, _, rows, _ = weight.shape
        whole = weight.new_zeros(out_channels, rows, self.blocks * self.step, self.channels)
        whole[:, :, self.start : self.start + self.size] = weight.permute(0, 2, 3, 1)
        return whole.reshape(out_channels, rows, self.blocks, -1).permute(0, 3, 1, 2)

    def published(self, weight: Tensor) -> Tensor:
        """The way back from `kernel`."""
        whole = weight.permute(0, 2, 3, 1).flatten(2).unflatten(2, (-1, self.channels))
        return whole[:, :, self.start : self.start + self.size].permute(0, 3, 1, 2)


def pays(conv: nn.Conv2d) -> bool:
    """Whether a convolution can be merged and is the faster for it, by what was measured."""
    step, channels, columns = conv.stride[1], conv.in_channels, conv.kernel_size[1]
    if conv.groups > 1 or conv.dilation != (1, 1) or channels > LANES or step == 1:
        return False
    merging = Merging(step, channels, columns, conv.padding[1])
    merged = merging.blocks * math.ceil(step * channels / LANES)
    return merged <= MOST_EXTRA * columns * math.ceil(channels / LANES)
