"""Images made larger: pixels repeated by joins, sums before the resize instead of behind it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobilemod.forms.canonical import canonical_form
from mobilemod.forms.copies.pixels import Pixels
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, Tap
from mobilemod.forms.ops import Call
from quantization.calibration import Calibration, observe
from quantization.program import make_table, quantize
from quantization.recipe import load_recipe
from tests.unit.forms.exact import assert_exact, assert_exact_alone
from tests.unit.forms.graphs import Lambda

CONVS = {"a": nn.Conv2d(4, 6, 1), "b": nn.Conv2d(4, 6, 3, 2, 1), "c": nn.Conv2d(4, 6, 3, 2, 1)}
NAME = "images resized alike added before"
FACTORS = [(2, 2), (3, 1), (1, 4), (5, 7), (12, 2)]


def nearest(rows, columns):
    return lambda m, x: F.interpolate(x, scale_factor=(rows, columns))


def larger(x, mode="bilinear", size=(8, 12)):
    return F.interpolate(x, size, mode=mode)


@pytest.mark.parametrize("shape", [(4, 8, 12), (1, 5, 3), (3, 1, 7)], ids=str)
def test_repeated_pixels_are_those_of_torch_to_the_bit(shape):
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    for rows, columns in FACTORS:
        form = canonical_form(Lambda(nearest(rows, columns)), shape).form(XNNPACK_FORM)
        assert any(isinstance(m, Pixels) for m in form.modules())
        assert torch.equal(form(x), F.interpolate(x, scale_factor=(rows, columns)))


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (lambda m, x: F.interpolate(x, (12, 18)), XNNPACK_FORM),
        (lambda m, x: F.interpolate(x, (4, 24)), XNNPACK_FORM),
        (nearest(2, 2), COREML_FORM),
    ],
    ids=["by a half", "smaller", "where the runtime has the op"],
)
def test_other_resizes_stay_ops(function, options):
    form = canonical_form(Lambda(function), (4, 8, 12)).form(options)
    assert [m.kind for m in form.modules() if isinstance(m, Call)] == ["upsample_nearest2d"]


def twice(m, x):
    """The maps of a decoder: sums whose names differ in a number alone."""
    y = F.gelu(m.b(x)) + F.gelu(m.c(x))
    return larger(F.gelu(m.a(x)) + larger(y, "nearest"), "nearest", (16, 24))


def test_repeated_pixels_are_the_codes_of_what_they_repeat():
    form = canonical_form(Lambda(twice, **CONVS), (4, 8, 12)).form(XNNPACK_FORM)
    names = [m.tensor for m in form.modules() if isinstance(m, Tap)]
    assert len(set(names)) == len(names)
    images = torch.randn(4, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    seen = Calibration("", "", 4, observe(form, [images], 1))
    table = make_table(form, "xnnpack", load_recipe("cpu"), seen)
    moved = [e for e in table.entries.values() if e.source == "network:sum2"]
    assert len(moved) > 4 and {e.scale for e in moved} == {table.entries["network:sum2"].scale}
    made = quantize(form, table, True)(images)
    assert torch.equal(made, larger(made[:, :, ::2, ::2], "nearest", (16, 24)))
    codes = made / moved[0].scale[0]
    assert float((codes - codes.round()).abs().max()) < 1e-4


SUMS = {
    "two": (1, lambda m, x: larger(m.b(x)) + larger(m.c(x))),
    "behind another": (1, lambda m, x: (m.a(x) + larger(m.b(x))) + larger(m.c(x))),
    "on the right": (1, lambda m, x: larger(m.b(x)) + (larger(m.c(x)) + m.a(x))),
    "three": (2, lambda m, x: larger(m.b(x)) + larger(m.c(x)) + larger(m.b(x + 1)) + m.a(x)),
    "nearest": (1, lambda m, x: larger(m.b(x), "nearest") + larger(m.c(x), "nearest")),
    "bicubic": (1, lambda m, x: larger(m.b(x), "bicubic") + larger(m.c(x), "bicubic")),
}
APART = {
    "one alone": lambda m, x: m.a(x) + larger(m.b(x)),
    "other modes": lambda m, x: larger(m.b(x)) + larger(m.c(x), "nearest"),
    "other sizes": lambda m, x: larger(m.b(x)) + larger(F.avg_pool2d(m.c(x), 2)),
    "another corner": lambda m, x: (
        larger(m.b(x)) + F.interpolate(m.c(x), (8, 12), mode="bilinear", align_corners=True)
    ),
    "read elsewhere": lambda m, x: (lambda y: torch.cat([y, y.square() + larger(m.c(x)) + y], 1))(
        larger(m.b(x))
    ),
    "spread": lambda m, x: larger(m.b(x)) + larger(m.c(x)).mean(1, keepdim=True),
    "a difference": lambda m, x: larger(m.b(x)) - larger(m.c(x)),
    "maxima": lambda m, x: F.adaptive_max_pool2d(m.b(x), 2) + F.adaptive_max_pool2d(m.c(x), 2),
    "the same": lambda m, x: (lambda y: y + y)(larger(m.b(x))),
}


@pytest.mark.parametrize("name", SUMS)
def test_images_resized_alike_are_added_first(name):
    count, function = SUMS[name]
    made = assert_exact_alone(function, **CONVS)
    assert made.rewrites[NAME] == count
    resizes = [n for n in made.graph.of(Call) if n.op.kind.startswith("upsample")]
    assert len(resizes) == 1


def test_others_are_added_where_they_are():
    assert assert_exact(APART, **CONVS).rewrites[NAME] == 0
