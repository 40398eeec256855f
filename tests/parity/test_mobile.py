"""The mobile form computes the reference form's function, for every variant, size and runtime."""

from __future__ import annotations

import pytest
import torch

from mobilemod.forms.mobile import build_mobile
from mobilemod.forms.mobile_ops import (
    COREML_FORM,
    GRID_SPLIT,
    XNNPACK_FORM,
    MergedColumns,
    NamedConv2d,
    Tap,
)
from mobilemod.networks.efficientmod import VARIANTS, EfficientMod

FORMS = {"xnnpack": XNNPACK_FORM, "coreml": COREML_FORM}
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network(golden_state):
    built = {}

    def get(name):
        if name not in built:
            model = EfficientMod(VARIANTS[name])
            model.load_state_dict(golden_state(name))
            built[name] = model.eval()
        return built[name]

    return get


@pytest.mark.parametrize("size", [192, 224, 256])
@pytest.mark.parametrize("name", list(VARIANTS))
@torch.no_grad()
def test_equals_reference(network, golden_input, name, size):
    model = network(name)
    x = golden_input(size)[:1]
    expected = model(x)
    for form, options in FORMS.items():
        difference = float((build_mobile(model, options)(x) - expected).abs().max())
        assert difference <= TOLERANCE, form


@pytest.mark.parametrize(
    "module,attribute",
    [("layers.1.depthwise.convs.2", "weight"), ("layers.1.norm.variance", "bias"),
     ("layers.1.f", "bias"), ("head", "weight")],
)  # fmt: skip
@torch.no_grad()
def test_comparison_catches_a_change(narrow_model, module, attribute):
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    form = build_mobile(narrow_model, XNNPACK_FORM)
    expected = narrow_model(x)
    assert float((form(x) - expected).abs().max()) <= TOLERANCE
    values = getattr(form.get_submodule(module), attribute)
    values.view(-1)[0] += 1.0
    assert float((form(x) - expected).abs().max()) > TOLERANCE


def test_split_covers_every_tap_once():
    taps = [(r, c) for piece in GRID_SPLIT for r in piece.rows for c in piece.columns]
    assert sorted(taps) == [(r, c) for r in range(7) for c in range(7)]
    # XNNPACK's kernels have 9 or 25 taps.
    assert sorted(len(p.rows) * len(p.columns) for p in GRID_SPLIT) == [8, 20, 21]


def test_split_is_evenly_spaced_around_the_centre():
    for piece in GRID_SPLIT:
        for taps in (piece.rows, piece.columns):
            steps = {b - a for a, b in zip(taps, taps[1:], strict=False)}
            assert len(steps) == 1 and taps[0] + taps[-1] == 6


@pytest.mark.parametrize("size", [32, 96, 224])
@torch.no_grad()
def test_merged_columns_equal_the_stem(size):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 8, 7, stride=4, padding=3)
    x = torch.randn(2, 3, size, size)
    merged = MergedColumns("patch_embed.proj", conv)
    assert merged.conv.weight.shape == (8, 12, 7, 2)
    torch.testing.assert_close(merged(x), conv(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", list(FORMS))
def test_names_are_unique_and_of_the_published_network(narrow_model, form):
    mobile = build_mobile(narrow_model, FORMS[form])
    names = [m.tensor for m in mobile.modules() if isinstance(m, Tap | NamedConv2d)]
    assert len(names) == len(set(names))
    modules = {name for name, _ in narrow_model.named_modules()}
    for conv in (m for m in mobile.modules() if isinstance(m, NamedConv2d)):
        assert conv.module in modules
    for tap in (m for m in mobile.modules() if isinstance(m, Tap)):
        path = tap.tensor.partition(":")[0]
        while path and path not in modules:
            path = path.rpartition(".")[0]
        assert path, tap.tensor


def test_the_forms_differ_only_where_stated(narrow_model):
    names = {
        form: {m.tensor for m in build_mobile(narrow_model, o).modules() if isinstance(m, Tap)}
        for form, o in FORMS.items()
    }
    assert names["coreml"] < names["xnnpack"]
    assert all(
        ".part" in n or ".sum" in n or ":merged" in n for n in names["xnnpack"] - names["coreml"]
    )
