"""16 bits in recipes, tables and where they aren't held."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from export.bundle import require_widths
from mobilemod.errors import UserError
from mobilemod.targets import DEFAULTS, TARGETS
from mobilemod.targets.tflite import FACTS
from quantization.params import activation_params, unit_params, widened_params
from quantization.placement import coded_modules, int8_modules
from quantization.qat.run import train_prepared
from quantization.recipe import Rule, load_recipe
from tests.parity.small import SIZE, small_form, small_table

IMAGES = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE), np.float32)
RECIPE = load_recipe("npu16")


@pytest.fixture(scope="module")
def form():
    torch.set_num_threads(1)
    return small_form(FACTS)


def test_what_recipe_cpu_leaves_float_has_16_bits(form):
    """And nothing stays float but what no kernel computes in whole numbers."""
    cpu, wide = (
        {m.tensor: d for m, d in coded_modules(form, "xnnpack", load_recipe(r))}
        for r in ("cpu", "npu16")
    )
    weights = {name for name in wide if name.endswith(":weight")}
    assert {n for n, d in wide.items() if d == "int8"} - weights == cpu.keys() - weights
    assert {"norm:square", "network:softmax", "network:context"} <= wide.keys() - cpu.keys()
    assert {wide[n] for n in weights} == {"int8"}
    assert {"norm.mean:weight", "norm.variance:weight"} <= weights - cpu.keys()


def test_what_is_moved_has_its_source_s_width(form):
    """Whatever a rule says of the moved copy."""
    rules = (*RECIPE.rules, Rule("int16", role="activation"), Rule("int8", role="pool"))
    found = coded_modules(form, "xnnpack", dataclasses.replace(RECIPE, rules=rules))
    dtypes = {m.tensor: d for m, d in found}
    assert dtypes["deep:gelu"] == dtypes["deep:pool"] == "int16"


def test_int8_modules_are_those_of_8_bits(form):
    eight = {m.tensor for m in int8_modules(form, "xnnpack", RECIPE)}
    assert "norm:out" in eight and "norm:centered" not in eight


def test_the_table_s_parameters(form):
    table = small_table(form, FACTS, IMAGES, "npu16")
    entry = table.entries["norm:centered"]
    assert (entry.dtype, entry.zero_point) == ("int16", (0,))
    top = max(-entry.low, entry.high)
    assert entry.scale == (float(np.float32(top / 32767)),)
    assert table.entries["network:softmax"].scale == (2.0**-15,)
    copied = table.entries["qkv.0:matrix"]
    assert copied.scale[0] == table.entries["qkv.0:out"].scale[0] / 128
    assert set(table.int8().entries) == {n for n, e in table.entries.items() if e.dtype == "int8"}


def test_16_bit_ranges_clip_nothing():
    assert RECIPE.observer == "mse"
    assert RECIPE.observer_of("a", "xnnpack", "residual") == "minmax"
    assert RECIPE.observer_of("a", "xnnpack", "conv") == "mse"
    chosen = dataclasses.replace(RECIPE, rules=(Rule("int16", observer="percentile"),))
    assert chosen.observer_of("a", "xnnpack") == "percentile"


@pytest.mark.parametrize("low, high", [(0.0, 0.0), (-3.0, 1.0), (0.0, 7.5)])
def test_parameters_hold_the_range(low, high):
    entry = activation_params("a", low, high, dtype="int16")
    assert entry.zero_point == (0,) and entry.scale[0] > 0
    assert entry.quant_max * entry.scale[0] * (1 + 1e-6) >= max(-low, high)


def test_widened_parameters_hold_every_code():
    narrow = activation_params("a", -1.0, 3.0)
    wide = widened_params("b", narrow)
    codes = np.arange(-128, 128) - narrow.zero_point[0]
    steps = codes * narrow.scale[0] / wide.scale[0]
    assert np.array_equal(steps, np.rint(steps)) and np.abs(steps).max() <= 32767
    assert wide.source == "a"


def test_unit_values_are_as_the_specification_has_them():
    entry = unit_params("a", dtype="int16")
    assert (entry.scale, entry.zero_point, entry.dtype) == ((2.0**-15,), (0,), "int16")


def test_targets_that_hold_none_are_named():
    require_widths(RECIPE, ("tflite",))
    require_widths(load_recipe("cpu"), tuple(TARGETS))
    with pytest.raises(UserError, match="executorch, coreml; give --targets tflite"):
        require_widths(RECIPE, DEFAULTS)


def test_training_is_for_8_bits(tmp_path):
    job = SimpleNamespace(recipe="npu16", source=None, config=None, out=tmp_path)
    with pytest.raises(UserError, match="recipe npu16: training is for 8 bits"):
        train_prepared(job)
