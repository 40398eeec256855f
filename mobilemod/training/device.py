"""What a run trains on, and in which precision."""

from __future__ import annotations

import torch

from mobilemod.errors import UserError


def choose_device(device: str | None) -> str:
    """`device`, or the GPU where there is one; `UserError` for a GPU that isn't there."""
    available = torch.cuda.is_available()
    device = device or ("cuda" if available else "cpu")
    if device.startswith("cuda") and not available:
        raise UserError(f"--device {device}: this PyTorch sees no GPU; give --device cpu")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """ "auto" as "bf16" where the device computes it itself, else "fp32".

    A processor without bf16 instructions runs it too, many times slower than fp32.
    """
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    can = torch.cpu.get_capabilities()
    return "bf16" if any(can.get(k) for k in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"
