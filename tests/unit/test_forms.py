"""The benchmarks of forms and of preparation: what they change, and that forms stay exact."""

from __future__ import annotations

import pytest
import torch

from benchmarks.forms import TARGETS, VARIANTS, FormRow, _recipe, table
from benchmarks.preparation import changes
from mobilemod.forms.mobile_ops import XNNPACK_FORM, Tap
from quantization.recipe import load_recipe


@pytest.fixture(scope="module")
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
@torch.no_grad()
def test_every_variant_is_exact(narrow_model, narrow_form, x, variant):
    form = narrow_form.form(variant.options)
    torch.testing.assert_close(form(x), narrow_model(x), rtol=0, atol=1e-4)


def test_first_is_the_exported_form_and_the_rest_differ():
    first, *others = VARIANTS
    assert first.options == XNNPACK_FORM and first.recipe == "cpu" and first.targets == TARGETS
    plain = (first.options, first.recipe, first.rules, first.lowering)
    for v in others:
        assert (v.options, v.recipe, v.rules, v.lowering) != plain
    assert len({v.name for v in VARIANTS}) == len(VARIANTS)


def test_every_rule_of_a_variant_changes_something(narrow_form):
    taps = [m for m in narrow_form.form(XNNPACK_FORM).modules() if isinstance(m, Tap)]
    base = _recipe(VARIANTS[0])
    for variant in (v for v in VARIANTS if v.rules):
        recipe = _recipe(variant)
        for rule in recipe.rules[len(base.rules) :]:
            ruled = [t for t in taps if rule.matches(t.tensor, "xnnpack", t.role)]
            assert any(base.dtype(t.tensor, "xnnpack", t.role) != rule.dtype for t in ruled), rule


@pytest.mark.parametrize("name", ["cpu", "npu"])
def test_every_change_of_a_preparation_changes_something(narrow_form, name):
    taps = [m for m in narrow_form.form(XNNPACK_FORM).modules() if isinstance(m, Tap)]
    base = load_recipe(name)
    recipes = [recipe for _, recipe in changes(base)]
    assert recipes[0] == base and len({repr(recipe) for recipe in recipes}) == len(recipes)
    for rule in {rule for recipe in recipes for rule in recipe.rules} - set(base.rules):
        assert any(rule.matches(t.tensor, "xnnpack", t.role) for t in taps), rule


def test_a_refused_variant_has_its_reason_in_the_table():
    from dataclasses import asdict

    good = FormRow(
        "a", "tflite", None, 1e-6, 30.0, {"partitions": 1}, 5.0, (1.0, 0.9, 1.1), 100_000_000
    )
    bad = FormRow("b", "executorch", reason="op is not supported")
    lines = table({"rows": [asdict(good), asdict(bad)]}).splitlines()
    assert "5.00 | 1.00 [0.90, 1.10] | 100.0 | 30.0 | 1e-06 | 1 |" in lines[2]
    assert "op is not supported" in lines[3]
