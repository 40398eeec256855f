"""Small patterns of ops that a runtime computes wrongly, and their brothers that are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.checking import check_lowered
from export.graph import FileGraph
from export.targets.base import ModelInfo
from export.targets.executorch import lowering
from export.targets.target import get_target
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.mobile_ops import XNNPACK_FORM
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe

SIZE = 32
INFO = ModelInfo("pattern", ("a", "b"), Preprocess(size=SIZE))
IMAGES = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE), np.float32)
Made = Callable[["Pattern", Tensor], Tensor]
Q = torch.ops.quantized_decomposed


class Pattern(nn.Module):
    """`made` of a convolution's result, (1, 8, 32, 32); the layers are for it to use."""

    def __init__(self, made: Made):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.one_d, self.linear, self.prelu = nn.Conv1d(8, 8, 1), nn.Linear(8, 8), nn.PReLU()
        self.norm, self.norm_one_d = nn.BatchNorm2d(8), nn.BatchNorm1d(8)
        for norm in (self.norm, self.norm_one_d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
        self.heads = nn.Parameter(torch.randn(8, 8))
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        return self.made(self, self.first(x)).reshape(1, -1)


class Whole(nn.Module):
    """A network around a body, in the place of a form."""

    image_shape = (3, SIZE, SIZE)

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def int8(x: Tensor) -> Tensor:
    codes = Q.quantize_per_tensor(x, 0.05, -10, -128, 127, torch.int8)
    return Q.dequantize_per_tensor(codes, 0.05, -10, -128, 127, torch.int8)


def shared(x: Tensor) -> Tensor:
    """SiLU as two int8 ops; the delegate's sigmoid is float."""
    return int8(x * int8(torch.sigmoid(x)))


def scores(x: Tensor) -> Tensor:
    return x @ x.transpose(2, 3)


def outside(made: Made, target: str, tmp_path) -> list[str]:
    """Lower the pattern and check the file; its ops that no delegate takes."""
    backend, module = get_target(target), Pattern(made).eval()
    path = tmp_path / f"pattern{backend.facts.suffix}"
    backend.lower(module, INFO, path, int8=False)
    backend.check(path, module, IMAGES)
    return [n.op for n in backend.read_graph(path).nodes if n.partition is None]


# Pattern -> the target whose own tools lower it to a file that is wrong, or doesn't run.
WRONG: dict[str, tuple[str, Made]] = {
    "softmax behind a convolution": ("executorch", lambda m, x: F.softmax(x, -1)),
    "talking heads": ("executorch", lambda m, x: m.conv(F.softmax(m.conv(scores(x)), -1)) @ x),
    "softmax of a permuted tensor": ("executorch", lambda m, x: F.softmax(x.transpose(1, 3), -1)),
    "tanh gelu": ("executorch", lambda m, x: F.gelu(x, approximate="tanh")),
    "a weight in two layouts": (
        "executorch",
        lambda m, x: m.conv(x) + (m.conv.weight.flatten(1) @ x.flatten(2)).view_as(x),
    ),
    "repeat behind a convolution": ("tflite", lambda m, x: x.repeat(1, 3, 1, 1)),
}
# Of those, what the lowering here mends, and the ops that it leaves to the runtime for that.
MENDED = {
    "softmax behind a convolution": [],
    "talking heads": ["expand_copy"] * 4,
    "softmax of a permuted tensor": [],
    "tanh gelu": ["gelu"],
}


@pytest.fixture
def plain(monkeypatch):
    """ExecuTorch's partitioner and layouts as they come."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    monkeypatch.setattr(lowering, "LAST_AXIS", ())
    monkeypatch.setattr(lowering, "partitioner_class", lambda: XnnpackPartitioner)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_caught(name, plain, tmp_path):
    """Where this fails a new version of the runtime has mended it: take it off the list."""
    target, made = WRONG[name]
    with pytest.raises(UserError, match="doesn't compute what its program does|can't run it"):
        outside(made, target, tmp_path)


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_is_right(name, tmp_path):
    target, made = WRONG[name]
    assert outside(made, target, tmp_path) == MENDED[name]


def test_the_first_op_that_parts_is_named(plain, tmp_path):
    """Of a file that can't be opened tensor by tensor: some of its ops are outside the delegate."""
    backend, path = get_target("executorch"), tmp_path / "pattern.pte"
    module = nn.Sequential(Pattern(WRONG["talking heads"][1]), nn.Flatten()).eval()
    whole = Whole(module)
    backend.lower(whole, INFO, path, int8=False)
    with pytest.raises(UserError) as caught:
        check_lowered(backend, INFO, path, whole, whole, IMAGES, "talking.pte")
    text = str(caught.value)
    assert text.startswith("talking.pte: the file doesn't compute what its program does: outputs")
    assert "the first tensor that parts: body.0 (softmax); compute it in another way" in text


def test_int8_that_one_partition_reads_and_hands_to_the_next_is_right(tmp_path):
    def made(m: Pattern, x: Tensor) -> Tensor:
        y = int8(x)
        return m.conv(torch.cumsum(m.conv(y) - y, 1)) + y

    assert outside(made, "executorch", tmp_path) == ["cumsum"]


RIGHT: dict[str, Made] = {
    "softmax, then a convolution": lambda m, x: m.conv(F.softmax(scores(x), -1)),
    "talking heads as a product": lambda m, x: F.softmax(
        (m.heads @ scores(x).flatten(2)).view(1, 8, SIZE, SIZE), -1
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_their_brothers_are_right(name, plain, tmp_path):
    outside(RIGHT[name], "executorch", tmp_path)


# Ops that one of the delegate's passes, or keeping them whole, is for.
TAKEN: dict[str, Made] = {
    "six pieces": lambda m, x: torch.cat([x.relu() * i for i in range(1, 7)], 1),
    "batch norm": lambda m, x: m.norm(F.relu6(m.norm(x)) + x),
    "1-D batch norm": lambda m, x: m.norm_one_d(x.flatten(2)),
    "prelu": lambda m, x: m.prelu(x),
    "1-D convolution": lambda m, x: m.one_d(x.flatten(2)),
    "linear": lambda m, x: m.linear(x.transpose(1, 3)),
    "int8 that float and int8 ops read": lambda m, x: shared(int8(x)),
    "padding in int8": lambda m, x: int8(F.pad(int8(x), (1, 2, 0, 1))),
    "pooling and resizing": lambda m, x: F.interpolate(
        F.max_pool2d(F.hardswish(x), 3, 2, 1), scale_factor=2, mode="bilinear"
    ),
    "average pooling": lambda m, x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_delegate_takes_it_and_is_right(name, tmp_path):
    assert set(outside(TAKEN[name], "executorch", tmp_path)) <= {"_to_dim_order_copy"}


class Pooled(nn.Module):
    """Average pooling between int8 convolutions, beside a float softmax."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.conv = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.first(x), 2)
        return self.last(x + self.conv(x).softmax(1)).mean((2, 3))


def lowered_in_int8(module: nn.Module, name: str, folder: Path) -> FileGraph:
    """The file's graph, checked against its program, of a network under `cpu`."""
    target, images = get_target(name), torch.from_numpy(IMAGES)
    form = canonical_form(module.eval(), (3, SIZE, SIZE)).form(XNNPACK_FORM)
    seen = Calibration("", "", len(images), observe(form, [images], 1))
    table = make_table(form, "xnnpack", load_recipe("cpu"), seen)
    path = folder / f"lowered{target.facts.suffix}"
    program = quantize(form, table, target.facts.fold)
    target.lower(program, INFO, path, int8=True)
    check_lowered(target, INFO, path, form, program, IMAGES)
    return target.read_graph(path)


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_int8_average_pooling_stays_in_the_delegate(name, tmp_path):
    graph = lowered_in_int8(Pooled(), name, tmp_path)
    assert graph.partitions == 1 and all(n.partition is not None for n in graph.nodes)


def test_a_pool_behind_the_stem_has_the_stem_s_parameters():
    """Not those of another observer: its kernels take and give codes of one scale."""
    form = canonical_form(Pooled().eval(), (3, SIZE, SIZE)).form(XNNPACK_FORM)
    images = torch.from_numpy(IMAGES)
    seen = Calibration("", "", len(images), observe(form, [images], 1))
    entries = make_table(form, "xnnpack", load_recipe("cpu"), seen).entries
    assert entries["first:pool"].scale == entries["first:out"].scale


class Normalized(Pooled):
    """A vector over its norm, which is kept from zero; hard swish between convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.hardswish(self.first(x)))
        return self.last(F.normalize(x, dim=1)).mean((2, 3))


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_bounds_and_hard_swish_stay_in_the_delegate(name, tmp_path):
    graph = lowered_in_int8(Normalized(), name, tmp_path)
    assert graph.partitions == 1 and all(n.partition is not None for n in graph.nodes)
    (bound,) = (n for n in graph.nodes if n.op in ("maximum", "clamp"))
    assert graph.tensors[bound.outputs[0]].dtype == "float32"


class Clamped(nn.Module):
    """Convolutions of both kinds with clamps behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.deep(F.relu6(self.first(x))))).mean((2, 3))


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_int8_convolutions_clamp_their_own_results(name, tmp_path):
    graph = lowered_in_int8(Clamped(), name, tmp_path)
    assert [n.op for n in graph.nodes if "relu" in n.op or "clamp" in n.op] == []
    assert sum(n.op == "quantize" for n in graph.nodes) == 1


class TwiceNormed(nn.Module):
    """The second norm's mean is of values whose mean is none: only float32's last bits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 7, 4, 3), nn.Linear(16, 2)
        self.norms = nn.Sequential(nn.LayerNorm(16), nn.LayerNorm(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norms(self.first(x).flatten(2).transpose(1, 2))).mean(1)


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_last_bits_are_not_held_against_a_file(name, tmp_path):
    lowered_in_int8(TwiceNormed(), name, tmp_path)


class OneHead(nn.Module):
    """Attention of one head, whose products the converter writes as fully connected ops."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 2)
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.first(x).flatten(2).transpose(1, 2)).chunk(3, -1)
        return self.last(F.scaled_dot_product_attention(q, k, v)).mean(1)


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_products_of_one_head_are_no_linears(name, tmp_path):
    ops = [n.op for n in lowered_in_int8(OneHead(), name, tmp_path).nodes]
    assert ops.count("matmul") == 2 and "linear" not in ops


class TokenAndMean(nn.Module):
    """A head that reads a norm's first token beside the mean of the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 4, 4), nn.Linear(32, 2)
        self.norm, self.token = nn.LayerNorm(16), nn.Parameter(torch.randn(1, 1, 16))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.first(x).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([self.token.expand(len(x), -1, -1), patches], 1))
        return self.last(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], -1))


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_a_norm_whose_piece_is_joined_is_int8_once(name, tmp_path):
    """In float, the converter to TFLite takes the piece's quantize for the whole norm's."""
    ops = [n.op for n in lowered_in_int8(TokenAndMean(), name, tmp_path).nodes]
    assert ops.count("quantize") == (2 if name == "tflite" else 3)


class Resized(nn.Module):
    """A convolution's result as an op outside the delegate reads it, and as a convolution does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        larger = self.deep(F.interpolate(x, scale_factor=1.5))
        return self.last(larger + F.interpolate(self.deep(x), larger.shape[2:])).flatten(1)


def test_a_value_is_handed_out_beside_its_codes(tmp_path):
    """Where the delegate takes the dequantize for a part of the convolution, nothing writes it."""
    graph = lowered_in_int8(Resized(), "executorch", tmp_path)
    assert [n.op for n in graph.nodes if n.partition is None] == ["upsample_nearest2d"] * 2


class Decoder(Resized):
    """Maps of three sizes, made larger by pixels repeated and bilinearly, and added."""

    def forward(self, x: Tensor) -> Tensor:
        fine = self.first(x)
        coarse = self.deep(F.max_pool2d(fine, 2))
        coarser = self.deep(F.max_pool2d(coarse, 2))
        x = self.deep(coarse + F.interpolate(coarser, scale_factor=2))
        coarser = F.interpolate(coarser, scale_factor=4, mode="bilinear")
        x = self.deep(fine + F.interpolate(x, scale_factor=2)) + coarser
        return self.last(x).flatten(1)


@pytest.mark.parametrize("name", ["executorch", "tflite"])
def test_upsampling_stays_in_the_delegate_as_codes(name, tmp_path):
    graph = lowered_in_int8(Decoder(), name, tmp_path)
    assert graph.partitions == 1 and all(n.partition is not None for n in graph.nodes)
    (resize,) = (n for n in graph.nodes if "resize" in n.op)
    tensors = [graph.tensors[t] for t in (resize.inputs[0], resize.outputs[0])]
    assert [t.dtype for t in tensors] == ["int8", "int8"]
    assert (
        tensors[0].scale == tensors[1].scale and sum(n.op == "quantize" for n in graph.nodes) == 1
    )


def in_two_layouts(m: Pattern, x: Tensor) -> Tensor:
    """An int8 tensor that a channels-first op reads first, then a convolution."""
    y = int8(m.conv(int8(x)))
    return y.flatten(2).softmax(-1).view_as(y) + m.conv(y)


def test_a_dequantized_tensor_in_two_layouts_is_right(tmp_path):
    backend, module = get_target("tflite"), Pattern(in_two_layouts).eval()
    backend.lower(module, INFO, path := tmp_path / "pattern.tflite", int8=True)
    backend.check(path, module, IMAGES)
