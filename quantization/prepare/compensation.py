"""Compensated rounding: what rounding one weight costs is made good in the weights after it.

A layer's output error is that of its weights seen through the inputs' second moments. Where inputs
go together, as after a ReLU, an error in one column can be taken back in the others (Hassibi and
Stork, "Second order derivatives for network pruning", NeurIPS 1992; Frantar et al., "GPTQ:
Accurate post-training quantization for generative pre-trained transformers", ICLR 2023). Here the
bias is the last column: it is not rounded and takes the mean of what is left.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.form import CANONICAL_WEIGHTS, Form
from mobilemod.forms.mobile_ops import MergedColumns, MobileDepthwise, NamedConv2d
from mobilemod.progress import progress
from quantization.calibration import FORM, CalibrationImages
from quantization.hooks import forward_hooks
from quantization.params import WEIGHT_MAX, ParameterTable, weight_params
from quantization.program import quantize

# Above this, in dB of the network's output, rounding of weights is drowned by that of activations.
ENOUGH = 40.0
JUDGED = 16  # images
POSITIONS = 2048  # of a batch that count, drawn
DAMPING = 0.01  # of the mean second moment, as in GPTQ


@torch.no_grad()
def compensate(form: Form, int8: Collection[str], images: CalibrationImages) -> dict[str, Tensor]:
    """Weights and biases by canonical name, float32, of which nearest rounding makes a better
    network than of `form`'s; none where rounding costs little, or nothing is won.

    int8: the tensors whose weights are rounded. Kernels that forms cut in different ways stay.
    """
    x = images.first(JUDGED)
    expected = form(x).numpy()
    before = sqnr_db(expected, _rounded(form, int8)(x).numpy())
    if before >= ENOUGH:
        return {}
    convs = _whole(form, int8)
    moments = second_moments(form, convs, images)
    state = {}
    for conv in progress(convs, "compensated rounding", len(convs), "layer"):
        weight, bias = compensated(conv, moments.pop(conv.module))
        state |= {f"{conv.module}.weight": weight, f"{conv.module}.bias": bias}
    changed = copy.deepcopy(form)
    for conv in _whole(changed, int8):
        conv.weight = nn.Parameter(state[f"{conv.module}.weight"], False)
        conv.bias = nn.Parameter(state[f"{conv.module}.bias"], False)
    after = sqnr_db(expected, _rounded(changed, int8)(x).numpy())
    return state if after > before else {}


@torch.no_grad()
def second_moments(
    form: Form, convs: Collection[NamedConv2d], images: CalibrationImages
) -> dict[str, Tensor]:
    """Of what each output of a convolution sums, and of a last 1 for its bias: the mean of x xᵀ.

    float64 (groups, inputs + 1, inputs + 1) by module, inputs being those of a group times taps.
    """
    found: dict[str, Tensor] = {}
    drawn = torch.Generator().manual_seed(0)

    def add(conv: NamedConv2d, args: tuple[Tensor, ...], out: Tensor) -> None:
        x = _columns(conv, args[0])
        if x.shape[2] > POSITIONS:
            x = x[:, :, torch.randperm(x.shape[2], generator=drawn)[:POSITIONS]]
        x = F.pad(x, (0, 0, 0, 1), value=1.0)
        moment = (x @ x.mT).double() / (x.shape[2] * images.steps)
        found[conv.module] = found.get(conv.module, 0) + moment

    with forward_hooks(list(convs), add):
        for batch in progress(images.batches(), "second moments", images.steps, "batch"):
            form(batch)
    return found


@torch.no_grad()
def compensated(conv: NamedConv2d, moments: Tensor) -> tuple[Tensor, Tensor]:
    """The weight on its int8 grid (O, I, H, W), and the bias (O,), float32.

    moments: as `second_moments` has them. The grid stays: a weight that decides it keeps its code.
    """
    weight = conv.weight.detach()
    rows, groups = len(weight), conv.groups
    params = weight_params(conv.tensor, weight.numpy())
    scale = torch.tensor(params.scale, dtype=torch.float64).reshape(groups, -1, 1)
    w = weight.double().reshape(groups, rows // groups, -1)
    bias = torch.zeros(rows) if conv.bias is None else conv.bias.detach()
    w = torch.cat([w, bias.double().reshape(groups, -1, 1)], 2)
    inputs = w.shape[2] - 1
    order, upper = _inverse_root(moments)
    w = w.gather(2, order[:, None].expand_as(w))
    nearest = (w / scale).round()
    for i in range(inputs):  # the column that matters most first
        codes = (w[:, :, i : i + 1] / scale).round().clamp(-WEIGHT_MAX, WEIGHT_MAX)
        first = nearest[:, :, i : i + 1]
        rounded = torch.where(first.abs() >= WEIGHT_MAX, first, codes) * scale
        error = (w[:, :, i : i + 1] - rounded) / upper[:, None, i : i + 1, i]
        w[:, :, i:] -= error * upper[:, None, i, i:]
        w[:, :, i : i + 1] = rounded
    w = torch.empty_like(w).scatter_(2, order[:, None].expand_as(w), w)
    return w[:, :, :inputs].reshape(weight.shape).float(), w[:, :, inputs].reshape(rows).float()


def _inverse_root(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Columns by falling second moment, the bias last, (groups, n); of the inverse of `moments` in
    that order the upper Cholesky factor, (groups, n, n)."""
    power = moments.diagonal(dim1=1, dim2=2)[:, :-1]
    order = F.pad(power.argsort(1, descending=True), (0, 1), value=power.shape[1])
    damping = (DAMPING * power.mean(1, keepdim=True)).clamp(min=1e-12).expand_as(power)
    h = moments + torch.diag_embed(F.pad(damping, (0, 1)))
    h = h.gather(1, order[:, :, None].expand_as(h)).gather(2, order[:, None].expand_as(h))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return order, torch.linalg.cholesky(inverse, upper=True)


def _columns(conv: NamedConv2d, x: Tensor) -> Tensor:
    """What each output sums, (groups, inputs of a group times taps, positions)."""
    unfolded = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    return unfolded.transpose(0, 1).reshape(conv.groups, unfolded.shape[1] // conv.groups, -1)


def _whole(form: Form, int8: Collection[str]) -> list[NamedConv2d]:
    """The convolutions whose kernel every form has in one piece."""
    kinds = (m for m in form.modules() if isinstance(m, MobileDepthwise | MergedColumns))
    cut = (m for m in kinds if isinstance(m, MergedColumns) or m.split)
    inside = {m for module in cut for m in module.modules()}
    return [m for m in _convolutions(form, int8) if m not in inside]


def _convolutions(form: Form, int8: Collection[str]) -> list[NamedConv2d]:
    convs = (m for m in form.modules() if isinstance(m, NamedConv2d) and m.tensor in int8)
    return [m for m in convs if m.role in CANONICAL_WEIGHTS]


def _rounded(form: Form, int8: Collection[str]) -> nn.Module:
    """A copy with the weights of `int8` on their grids, all else float."""
    convs = _convolutions(form, int8)
    weights = {c.tensor: weight_params(c.tensor, c.weight.detach().numpy()) for c in convs}
    return quantize(form, ParameterTable(FORM, "", weights), fold=True)
