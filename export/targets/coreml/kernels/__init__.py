"""What each op of a MIL program computes, in torch, on values of the shapes that the file says.

Arithmetic inside an op is float32. Source of the semantics: the MIL op reference of coremltools.
"""

from __future__ import annotations

from export.targets.coreml.kernels import arithmetic, images, moves, norms
from export.targets.coreml.kernels.given import Kernel

# Ops whose result holds the input's values or codes: nothing to round.
MOVES = frozenset({*moves.KERNELS, "identity", "quantize"})
KERNELS: dict[str, Kernel] = {
    **arithmetic.KERNELS,
    **images.KERNELS,
    **norms.KERNELS,
    **moves.KERNELS,
}
