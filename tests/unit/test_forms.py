"""The benchmark of forms: every variant computes the published network's function."""

from __future__ import annotations

import copy

import pytest
import torch

from benchmarks.form_changes import rotate
from benchmarks.forms import TARGETS, VARIANTS, FormRow, _recipe, table
from mobilemod.forms.mobile import build_mobile
from mobilemod.forms.mobile_ops import XNNPACK_FORM, MobileNorm, Tap


@pytest.fixture(scope="module")
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@torch.no_grad()
def test_every_variant_is_exact(narrow_model, x, variant):
    form = build_mobile(copy.deepcopy(narrow_model), variant.options)
    if variant.change:
        variant.change(form)
    torch.testing.assert_close(form(x), narrow_model(x), rtol=0, atol=1e-4)


@torch.no_grad()
def test_rotated_norms_have_no_mean(narrow_model, x):
    form = build_mobile(copy.deepcopy(narrow_model), XNNPACK_FORM)
    rotate(form)
    norms = [m for m in form.modules() if isinstance(m, MobileNorm)]
    assert norms and not any(hasattr(n, "mean") for n in norms)


def test_first_is_the_exported_form_and_the_rest_differ():
    first, *others = VARIANTS
    assert first.options == XNNPACK_FORM and first.recipe == "cpu" and first.targets == TARGETS
    plain = (first.options, first.recipe, first.rules, first.change, first.lowering)
    for v in others:
        assert (v.options, v.recipe, v.rules, v.change, v.lowering) != plain
    assert len({v.name for v in VARIANTS}) == len(VARIANTS)


def test_every_rule_of_a_variant_changes_something(narrow_model):
    form = build_mobile(copy.deepcopy(narrow_model), XNNPACK_FORM)
    names = [m.tensor for m in form.modules() if isinstance(m, Tap)]
    for variant in (v for v in VARIANTS if v.rules):
        recipe, base = _recipe(variant), _recipe(VARIANTS[0])
        assert any(recipe.dtype(n, "xnnpack") != base.dtype(n, "xnnpack") for n in names)


def test_a_refused_variant_has_its_reason_in_the_table():
    from dataclasses import asdict

    good = FormRow(
        "a", "tflite", None, 1e-6, 30.0, {"partitions": 1}, 5.0, (1.0, 0.9, 1.1), 100_000_000
    )
    bad = FormRow("b", "executorch", reason="op is not supported")
    lines = table({"rows": [asdict(good), asdict(bad)]}).splitlines()
    assert "5.00 | 1.00 [0.90, 1.10] | 100.0 | 30.0 | 1e-06 | 1 |" in lines[2]
    assert "op is not supported" in lines[3]
