"""Recipe, observers, parameter table and quantized program."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mobilemod.data.imagefolder import read_folder
from mobilemod.data.preprocess import Preprocess
from mobilemod.errors import UserError
from mobilemod.evaluation.agreement import sqnr_db
from mobilemod.forms.form import CANONICAL_WEIGHTS
from mobilemod.forms.mobile_ops import COREML_FORM, XNNPACK_FORM, NamedConv2d, Tap
from quantization.calibration import (
    Calibration,
    Observed,
    calibrate,
    load_calibration,
    observe,
)
from quantization.observers import OBSERVERS, entropy_range, mse_range, percentile_range, ranges
from quantization.params import ParameterTable, activation_params, weight_params
from quantization.placement import int8_modules
from quantization.program import QuantizedConv2d, make_table, quantize
from quantization.recipe import Rule, bundled_recipes, load_recipe, parse_recipe

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}


@pytest.fixture(scope="module")
def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 64, 64, generator=generator) for _ in range(2)]


@pytest.fixture(scope="module")
def narrow(narrow_form, batches):
    """The narrow network's forms and its calibration."""
    forms = {name: narrow_form.form(options) for name, options in FORMS.items()}
    observed = observe(forms["xnnpack"], batches, 2)
    return forms, Calibration("w", "i", 4, observed)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0, 1))
def test_activation_params_hold_zero_and_the_range(a, b, share):
    p = activation_params("t", min(a, b), max(a, b))
    scale, zero = p.scale[0], p.zero_point[0]
    assert scale == float(np.float32(scale)) and -128 <= zero <= 127
    x = p.low + share * (p.high - p.low)
    code = np.clip(round(x / scale) + zero, -128, 127)
    assert abs((code - zero) * scale - x) <= scale * (1 + 1e-3)
    assert (zero - zero) * scale == 0


def test_weight_params_are_per_channel_and_symmetric():
    weight = (
        np.random.default_rng(0).standard_normal((4, 3, 1, 1))
        * np.array([1, 10, 0.1, 0])[:, None, None, None]
    )
    p = weight_params("w", weight.astype(np.float32))
    assert p.axis == 0 and set(p.zero_point) == {0} and p.quant_min == -127
    assert np.allclose(np.array(p.scale[:3]) * 127, np.abs(weight[:3]).max((1, 2, 3)), rtol=1e-6)
    assert p.scale[3] > 0


def test_small_weights_have_scales_that_float16_holds():
    largest = np.array([127 * 2.0**-15, 1e-3, 3.1e-4, 1.3e-4])
    scales = np.array(weight_params("w", largest[:, None, None, None]).scale)
    assert (scales == scales.astype(np.float16)).all()
    steps = largest / scales
    assert (steps <= 127).all() and (steps > 127 / (1 + 1 / 16)).all()


def test_mse_range_cuts_a_lonely_outlier_and_keeps_a_flat_range():
    centres = np.linspace(-1, 100, 2048)
    peaked = np.where(centres < 2, 1e6, 0.0)
    peaked[-1] = 1
    low, high = mse_range(peaked, -1, 100)
    assert high < 60
    flat = np.ones(2048)
    assert mse_range(flat, -1, 1) == pytest.approx((-1, 1), rel=0.05)


def test_every_observer_cuts_what_it_should():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(200_000).astype(np.float32)
    values[:10] = 400.0
    found = ranges(values, float(values.min()), 400.0, 2048)
    assert list(found) == list(OBSERVERS) and found["minmax"][1] == 400.0
    assert all(3 < found[name][1] <= 400 for name in found)
    # Ten of 200,000 values lie outside any percentile of 99.99; entropy cuts as far as it may.
    assert found["percentile"][1] < 10 and found["entropy"][1] == pytest.approx(160)
    assert ranges(values[:10], 400.0, 400.0, 2048) == dict.fromkeys(OBSERVERS, (400.0, 400.0))


@pytest.mark.parametrize("find", [mse_range, percentile_range, entropy_range])
def test_a_flat_range_is_kept(find):
    assert find(np.ones(2048), -1, 1) == pytest.approx((-1, 1), rel=0.05)


def test_a_rule_may_name_its_observer(narrow):
    forms, calibration = narrow
    base = load_recipe("cpu")
    rule = Rule("int8", "*.f:out", observer="minmax")
    recipe = dataclasses.replace(base, rules=(*base.rules, rule))
    tables = [make_table(forms["xnnpack"], "xnnpack", r, calibration) for r in (base, recipe)]
    name = "layers.0.blocks.0.mlp.context_layer.f:out"
    seen = calibration.observed[name]
    assert (tables[1].entries[name].low, tables[1].entries[name].high) == seen.range("minmax")
    changed = {t for t in tables[0].entries if tables[0].entries[t] != tables[1].entries[t]}
    assert changed and all(t.endswith(".f:out") for t in changed)
    assert recipe.observer_of("layers.0.blocks.0.mlp.fc1:out", "xnnpack", "conv") == base.observer


@pytest.mark.parametrize("name", ["cpu", "npu"])
def test_bundled_recipes_parse_and_round_trip(name):
    recipe = load_recipe(name)
    assert parse_recipe(json.loads(json.dumps(recipe.to_dict())), "x") == recipe
    assert name in bundled_recipes()


@pytest.mark.parametrize(
    "change,says",
    [
        ({"observr": "mse"}, "unknown key 'observr'"),
        ({"observer": "max"}, "observer 'max'"),
        ({"rules": []}, "at least one rule"),
        ({"rules": [{"tensor": "*", "dtype": "int8"}]}, "unknown key 'tensor'"),
        ({"rules": [{"tensors": "*", "dtype": "int4"}]}, "dtype 'int4'"),
        ({"rules": [{"tensors": "*", "dtype": "int8", "forms": ["onnx"]}]}, "form 'onnx'"),
        ({"rules": [{"tensors": "*", "dtype": "int8", "observer": "max"}]}, "observer 'max'"),
        ({"calibration_images": 0}, "calibration_images"),
        ({"equalization": "yes"}, "equalization must be true or false"),
        ({"rounding": "up"}, "rounding 'up'"),
        ({"schema": "other"}, "schema"),
    ],
)
def test_a_wrong_recipe_is_named(change, says, tmp_path):
    values = {**load_recipe("cpu").to_dict(), **change}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=says) as error:
        load_recipe(str(path))
    assert "mine.json" in str(error.value) and "\n" not in str(error.value)


def test_later_rules_win_and_forms_are_heeded():
    recipe = load_recipe("cpu-x86")
    assert recipe.dtype("a:out", "coreml", "depthwise") == "int8"
    assert recipe.dtype("a:out", "xnnpack", "depthwise") == "float"
    assert recipe.dtype("norm:out", "xnnpack", "norm.out") == "int8"
    assert recipe.dtype("norm:rstd", "xnnpack", "norm.rstd") == "float"
    assert recipe.dtype("a:residual", "xnnpack", "residual") == "float"
    one = dataclasses.replace(recipe, rules=(*recipe.rules, Rule("int8", "a:*", "residual")))
    assert one.dtype("a:residual", "xnnpack", "residual") == "int8"
    assert one.dtype("b:residual", "xnnpack", "residual") == "float"


def test_the_x86_recipe_differs_from_cpu_in_the_depthwise_alone(narrow):
    forms, _ = narrow
    cpu, x86 = load_recipe("cpu"), load_recipe("cpu-x86")
    held = [{m.tensor for m in int8_modules(forms["xnnpack"], "xnnpack", r)} for r in (cpu, x86)]
    # Its input and what goes on to the next convolution stay int8.
    whole = {n for n in held[0] if ".context_list.0" in n and not n.endswith(":gelu")}
    assert held[0] - held[1] == whole and held[1] < held[0] and len(whole) > 20
    assert cpu.min_int8_share == 0.99 and x86.min_int8_share == 0.95
    assert [r for r in x86.rules if r.role != "depthwise*"] == list(cpu.rules)


@pytest.mark.parametrize("recipe", ["cpu", "npu"])
@pytest.mark.parametrize("form", list(FORMS))
def test_table_holds_every_weight(narrow, recipe, form):
    forms, calibration = narrow
    table = make_table(forms[form], form, load_recipe(recipe), calibration)
    for conv in (m for m in forms[form].modules() if isinstance(m, NamedConv2d)):
        own = conv.role in CANONICAL_WEIGHTS
        assert (conv.tensor in table.entries) == (recipe == "npu" or own)
    if recipe == "npu":
        taps = {m.tensor: m.role for m in forms[form].modules() if isinstance(m, Tap)}
        # What a convolution reads is int8 already.
        left = {role for t, role in taps.items() if t not in table.entries} - {"in"}
        # Inside Core ML's float16 norm, squares would overflow: its taps stay float there. A
        # repeated tensor is quantized already.
        inside = {f"norm.{p}" for p in ("mean", "centered", "square", "variance", "rstd")}
        assert left == ({*inside, "repeat"} if form == "coreml" else set())
    again = ParameterTable.from_dict(json.loads(json.dumps(table.to_dict())))
    assert again == table


def test_shared_tensors_share_parameters(narrow):
    forms, calibration = narrow
    table = make_table(forms["xnnpack"], "xnnpack", load_recipe("npu"), calibration)
    shared = [e for e in table.entries.values() if e.source]
    assert shared
    for entry in shared:
        source = table.entries[entry.source]
        assert (entry.scale, entry.zero_point) == (source.scale, source.zero_point)


def test_one_calibration_serves_both_forms(narrow):
    forms, calibration = narrow
    tables = [make_table(forms[f], f, load_recipe("cpu"), calibration) for f in FORMS]
    common = set(tables[0].entries) & set(tables[1].entries)
    assert len(common) > 80
    for name in common:
        here, there = (dataclasses.replace(t.entries[name], note="") for t in tables)
        assert here == there
    assert all("float16" in e.note for e in tables[1].entries.values())


@pytest.mark.parametrize("recipe,least", [("cpu", 24), ("npu", 20)])
@pytest.mark.parametrize("form", list(FORMS))
@torch.no_grad()
def test_program_is_near_the_network(narrow, narrow_model, batches, form, recipe, least):
    forms, calibration = narrow
    table = make_table(forms[form], form, load_recipe(recipe), calibration)
    expected = narrow_model(batches[0]).numpy()
    folded = quantize(forms[form], table, True)(batches[0])
    assert torch.equal(folded, quantize(forms[form], table, False)(batches[0]))
    good = sqnr_db(expected, folded.numpy())
    assert good > least
    name = "layers.0.blocks.1.mlp:product"
    wrong = dataclasses.replace(table.entries[name], scale=(table.entries[name].scale[0] * 1.5,))
    broken = ParameterTable(table.form, table.recipe, {**table.entries, name: wrong})
    # The codes saturate at another value, so the product's large values are off.
    moved = quantize(forms[form], broken, True)(batches[0])
    assert not torch.equal(moved, folded)


def test_weights_are_held_as_codes(narrow):
    forms, calibration = narrow
    table = make_table(forms["xnnpack"], "xnnpack", load_recipe("cpu"), calibration)
    program = quantize(forms["xnnpack"], table, True)
    convs = [m for m in program.modules() if isinstance(m, QuantizedConv2d)]
    assert len(convs) > 30
    assert all(c.weight.dtype == torch.int8 and int(c.weight.min()) >= -127 for c in convs)


def test_calibration_is_cached_and_deterministic(narrow_form, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "a"))
    folder = read_folder(data_dir / "train")
    first = calibrate(narrow_form, folder, Preprocess(size=64), 8)
    cached = list((tmp_path / "a").glob("calibration-*.json"))
    assert len(cached) == 1 and load_calibration(cached[0]) == first
    monkeypatch.setenv("MOBILEMOD_CACHE", str(tmp_path / "b"))
    assert calibrate(narrow_form, folder, Preprocess(size=64), 8) == first
    calibrate(narrow_form, folder, Preprocess(size=64), 9)
    assert len(list((tmp_path / "b").glob("calibration-*.json"))) == 2


def test_a_table_without_a_tensor_says_which(narrow):
    forms, calibration = narrow
    observed = dict(calibration.observed)
    del observed["layers.0.blocks.0.norm:out"]
    short = dataclasses.replace(calibration, observed=observed)
    with pytest.raises(UserError, match=r"layers\.0\.blocks\.0\.norm:out"):
        make_table(forms["xnnpack"], "xnnpack", load_recipe("cpu"), short)


@torch.no_grad()
@pytest.mark.parametrize("form", list(FORMS))
def test_biases_are_whole_steps_of_their_input(narrow, form):
    forms, calibration = narrow
    table = make_table(forms[form], form, load_recipe("cpu"), calibration)
    convs = [
        m for m in quantize(forms[form], table, True).modules() if isinstance(m, QuantizedConv2d)
    ]
    by_name = {c.tensor: c for c in convs}
    for weight, source in [
        ("patch_embed.proj:weight", "network:input"),
        ("layers.0.blocks.1.mlp.fc2:weight", "layers.0.blocks.1.mlp:product"),
        ("layers.2.blocks.2.attn.proj:weight", "layers.2.blocks.2.attn:moved"),
        ("head:weight", "norm:pooled"),
    ]:
        conv = by_name[weight]
        codes = conv.bias.double() / (conv.scales.double() * table.entries[source].scale[0])
        assert float((codes - codes.round()).abs().max()) < 1e-2
        assert float(codes.abs().max()) > 1


def test_a_piece_of_nothing_gets_a_scale_that_can_be_added(narrow):
    """At small images the outer taps see padding alone: their range is zero."""
    forms, calibration = narrow
    name = "layers.3.blocks.0.mlp.context_layer.context_list.0"
    observed = dict(calibration.observed)
    for tensor in (f"{name}.part0:out", f"{name}.sum0:out", f"{name}.part2:out"):
        observed[tensor] = Observed.fixed(0.0, 0.0)
    observed[f"{name}:out"] = Observed.fixed(-50.0, 50.0)
    empty = dataclasses.replace(calibration, observed=observed)
    before = make_table(forms["xnnpack"], "xnnpack", load_recipe("cpu"), calibration).entries
    after = make_table(forms["xnnpack"], "xnnpack", load_recipe("cpu"), empty).entries
    out = after[f"{name}:out"].scale[0]
    assert after[f"{name}.part2:out"].scale[0] == after[f"{name}.sum0:out"].scale[0] == out / 512
    assert after[f"{name}.part0:out"].zero_point == (-128,)
    changed = {t for t in before if before[t] != after[t]}
    assert changed == {f"{name}.{t}:out" for t in ("part0", "sum0", "part2")} | {f"{name}:out"}
